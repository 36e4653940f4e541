"""Releases whose tensors are a hole in the file: of any size, and none on the disk."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path

from colorjax.release import sums

WHOLE = (100_000, 100_000)  # float32, 40 GB
UNKNOWN = "0" * 64  # a digest: told only if the file is read as a whole


def write(
    directory: Path, part: str, leaves: Mapping[str, tuple[int, ...]], *, is_sound: bool = False
) -> None:
    """Adds a part to a release, or replaces its part, by default with a digest of no file."""
    header, end = {}, 0
    for name, shape in leaves.items():
        size = 4
        for side in shape:
            size *= side
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    path = directory / f"{part}.safetensors"
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    assert path.stat().st_blocks * 512 < 2**20
    listed = directory / sums.CHECKSUMS
    digests = sums.read(directory) if listed.is_file() else {}
    listed.unlink(missing_ok=True)
    sums.write(directory, digests | {path.name: {sums.digest(path) if is_sound else UNKNOWN}})
