"""T17: a damaged exported file is refused by its checksums before anything is made of it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from colorjax.errors import UserError
from colorjax.export import archive
from tests.trust.conftest import Row

CHECK = """
import sys
from pathlib import Path
from tests.trust import test_t17_exports as row
print(*row.flipped(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
"""


def flipped(whole: Path, path: Path, count: int, seed: int) -> tuple[int, int]:
    """Reads a file with one bit flipped, so often; how often it was told, and of no effect."""
    data = bytearray(whole.read_bytes())
    good = archive.Archive(whole)
    rng = np.random.default_rng(seed)
    # The directory at the end and the first header have more bytes with a meaning than others.
    places = [*range(64), *range(len(data) - 400, len(data)), *rng.integers(0, len(data), count)]
    told = 0
    places = [int(place) for place in rng.permutation(places)[:count]]
    for place in places:
        bit = 1 << int(rng.integers(8))
        data[place] ^= bit
        path.write_bytes(data)
        data[place] ^= bit
        try:
            read = archive.Archive(path)
            # Bytes without a meaning, such as dates: all that is used is as it was.
            assert read.manifest == good.manifest and read.digest == good.digest
            assert all(read.read(name) == good.read(name) for name in good.manifest["parts"])
        except UserError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            told += 1
    return told, len(places) - told


@pytest.fixture
def whole(row: Row, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """An export of the small model; in the quick form its container alone."""
    path = tmp_path / "whole.cjx"
    if not row.is_full:
        rng = row.rng(1)
        parts: list[tuple[str, Callable[[], bytes]]] = [
            ("programs/a", lambda: b"text " * 500),
            ("weights/b", lambda: rng.bytes(2000)),
        ]
        archive.write(path, {"about": "nothing"}, parts)
        return path
    from colorjax.export import exporting
    from tests.export.test_export import square

    release = request.getfixturevalue("small_release")
    exporting.write(path, square(release), release, ("cpu",))
    return path


def test_flipped_bits(whole: Path, tmp_path: Path, row: Row) -> None:
    """In a process of its own: a damaged program can end one that deserialises it."""
    count = row.count(100, 1000)
    if row.is_full:
        words = [sys.executable, "-c", CHECK, str(whole), str(tmp_path / "b.cjx"), str(count)]
        done = subprocess.run([*words, str(row.seed)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        told, harmless = map(int, done.stdout.split())
    else:
        told, harmless = flipped(whole, tmp_path / "b.cjx", count, row.seed)
    assert told + harmless == count and told > count // 2
    row.tell(
        f"{count:,} flipped bits of {whole.stat().st_size:,} bytes: {told} refused, "
        f"{harmless} in bytes without a meaning, 0 crashes"
    )
