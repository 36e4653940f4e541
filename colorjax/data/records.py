"""Records on disk: one picture with its captions, in ArrayRecord shards beside a manifest."""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grain
import msgpack

from colorjax.errors import UserError

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
_SHARD = re.compile(r"(?P<split>.+)-(?P<index>\d{5})-of-(?P<count>\d{5})\.array_record")
_PREPARE = "python -m colorjax.prepare --source=SOURCE --input=PATH --output=DIR"


@dataclass(frozen=True)
class Record:
    """One training or test picture.

    Attributes:
        key: name of the picture, unique in its split.
        image: the encoded file, PNG or JPEG.
        label: name of the class, or None where the source has none.
        captions: level ("complete", "partial") -> sentences of that level, best one first.
    """

    key: str
    image: bytes
    label: str | None
    captions: dict[str, list[str]]

    def pack(self) -> bytes:
        """The record as msgpack, a map of its four attributes."""
        return msgpack.packb(asdict(self))

    @classmethod
    def unpack(cls, data: bytes) -> "Record":
        """The inverse of `pack`; `UserError` if the bytes are not a record of this format."""
        try:
            return cls(**msgpack.unpackb(data))
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise UserError(
                f"a record could not be read ({error}): the data was not written by colorjax or is "
                f"damaged; prepare it again with `{_PREPARE}`"
            ) from None


@dataclass(frozen=True)
class Shard:
    """A written file: its name, its number of records, the SHA-256 of its bytes in hex."""

    file: str
    records: int
    sha256: str


def write_split(
    directory: str | Path, split: str, records: Iterable[Record], shard_size: int = 65536
) -> list[Shard]:
    """Writes `<split>-00000-of-0000N.array_record`, `shard_size` records to a file.

    Files carry a temporary name until the number of shards is known. Groups of one record make
    random access cheap, at the price of compression that PNG and JPEG would not gain from anyway.

    Raises:
        UserError: there is no record, or `shard_size` is not positive.
    """
    from array_record.python.array_record_module import ArrayRecordWriter

    if shard_size < 1:
        raise UserError(f"shard_size is {shard_size}; it must be at least 1 record")
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    parts: list[tuple[Path, int]] = []
    writer, count = None, 0
    for record in records:
        if writer is None:
            parts.append((directory / f"{split}-{len(parts):05d}.partial", 0))
            writer, count = ArrayRecordWriter(str(parts[-1][0]), "group_size:1"), 0
        writer.write(record.pack())
        count += 1
        parts[-1] = (parts[-1][0], count)
        if count == shard_size:
            writer.close()
            writer = None
    if writer is not None:
        writer.close()
    if not parts:
        raise UserError(f"split {split!r} has no pictures; give a source with at least one")
    shards = []
    for index, (part, count) in enumerate(parts):
        path = directory / f"{split}-{index:05d}-of-{len(parts):05d}.array_record"
        part.rename(path)
        shards.append(Shard(path.name, count, sha256(path)))
    return shards


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def splits(directory: str | Path) -> dict[str, list[Path]]:
    """Split name -> its shards in order; splits with a missing shard are left out."""
    found: dict[str, list[Path]] = {}
    counts: dict[str, int] = {}
    for path in sorted(Path(directory).glob("*.array_record")):
        match = _SHARD.fullmatch(path.name)
        if match:
            found.setdefault(match["split"], []).append(path)
            counts[match["split"]] = int(match["count"])
    return {split: paths for split, paths in found.items() if len(paths) == counts[split]}


def open_split(directory: str | Path, split: str) -> grain.sources.ArrayRecordDataSource:
    """Random access to the packed records of a split: `len(source)`, `source[i] -> bytes`.

    Raises:
        UserError: no such directory, or no such (complete) split in it.
    """
    if not Path(directory).is_dir():
        raise UserError(
            f"there is no data directory {str(directory)!r}; make one with "
            f"`{_PREPARE.replace('DIR', str(directory))}`"
        )
    available = splits(directory)
    if split not in available:
        names = ", ".join(sorted(available)) or "none"
        raise UserError(
            f"{str(directory)!r} has no complete split {split!r} (splits there: {names}); "
            f"choose one of those or prepare it with `{_PREPARE}`"
        )
    return grain.sources.ArrayRecordDataSource([str(path) for path in available[split]])


def write_manifest(directory: str | Path, source: str, shards: dict[str, list[Shard]]) -> None:
    """Writes `manifest.json`: where the data came from and what every file must hash to."""
    content = {
        "format_version": FORMAT_VERSION,
        "source": source,
        "splits": {
            split: {
                "records": sum(shard.records for shard in of_split),
                "shards": [asdict(shard) for shard in of_split],
            }
            for split, of_split in shards.items()
        },
    }
    text = json.dumps(content, indent=2, sort_keys=True) + "\n"
    (Path(directory) / MANIFEST).write_text(text, encoding="utf-8")


def read_manifest(directory: str | Path) -> dict[str, Any]:
    """The manifest of a directory.

    Raises:
        UserError: there is none, or another format version wrote it.
    """
    path = Path(directory) / MANIFEST
    if not path.is_file():
        raise UserError(f"there is no {str(path)!r}; prepare the data with `{_PREPARE}`")
    manifest = json.loads(path.read_text(encoding="utf-8"))
    if manifest.get("format_version") != FORMAT_VERSION:
        raise UserError(
            f"{str(path)!r} has format version {manifest.get('format_version')}, this colorjax "
            f"reads version {FORMAT_VERSION}; prepare the data again with `{_PREPARE}`"
        )
    return manifest
