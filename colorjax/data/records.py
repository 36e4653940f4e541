"""Records on disk: one picture with its captions, in ArrayRecord shards beside a manifest."""

import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgpack

from colorjax import files
from colorjax.errors import UserError, first_line

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
_SHARD = re.compile(r"(?P<split>.+)-(?P<index>\d{5})-of-(?P<count>\d{5})\.array_record")
_PREPARE = "python -m colorjax.prepare --source=SOURCE --input=PATH --output=DIR"

Pairs = list[list[list[str]]]
View = list[bytes]  # a PNG file and float32 moments of its latents, see `data.latents`
_COUNT = {"type": "integer", "minimum": 0}
_SHARDS = {
    "type": "object",
    "required": ["file", "records", "sha256"],
    "properties": {
        # A name and no path: a manifest does not say where on this disk to read.
        "file": {"type": "string", "pattern": r"^[^/\0]+$"},
        "records": _COUNT,
        "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    },
}
_SPLIT = {
    "type": "object",
    "required": ["records", "shards"],
    "properties": {"records": _COUNT, "shards": {"type": "array", "items": _SHARDS}},
}
_LATENTS = {
    "type": "object",
    "required": ["sha256", "size", "crops", "shape"],
    "properties": {
        "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "size": _COUNT,
        "crops": _COUNT,
        "shape": {"type": "array", "minItems": 3, "maxItems": 3, "items": _COUNT},
    },
}
BESIDE = "beside"  # of a manifest: SHA-256 of files that are no shards, by name
_TEXTS = {
    "type": "object",
    "required": ["sha256", "sentences"],
    "properties": {
        "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "sentences": _COUNT,
    },
}
_NAMED = {
    "type": "object",
    "propertyNames": {"pattern": r"^[^/\0]+$"},
    "additionalProperties": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
}
_SCHEMA = {
    "type": "object",
    "required": ["splits"],
    "properties": {
        "splits": {"type": "object", "additionalProperties": _SPLIT},
        "latents": {"type": "object", "additionalProperties": _LATENTS},
        "texts": {"type": "object", "additionalProperties": _TEXTS},
        BESIDE: _NAMED,
    },
}


@dataclass(frozen=True)
class Record:
    """One training or test picture.

    Attributes:
        key: name of the picture, unique in its split.
        image: the encoded file, an upright sRGB PNG or JPEG of 8 bits.
        label: name of the class, or None where the source has none.
        captions: level ("complete", "partial") -> sentences of that level, best one first.
            Sentences that people wrote are all "complete", in the source's order.
        pairs: for each complete sentence its [object, colour] words; None where nobody told them.
        views: what stands in the place of `image` where latents were made before, see `latents`.
    """

    key: str
    image: bytes
    label: str | None
    captions: dict[str, list[str]]
    pairs: Pairs | None = None
    views: list[View] | None = None

    def pack(self) -> bytes:
        """The record as msgpack, a map of its attributes; the last two where there are some."""
        values = asdict(self)
        for name in ("pairs", "views"):
            if values[name] is None:
                del values[name]
        return msgpack.packb(values)

    @classmethod
    def unpack(cls, data: bytes) -> "Record":
        """The inverse of `pack`; `UserError` if the bytes are not a record of this format."""
        try:
            record = cls(**msgpack.unpackb(data))
            record._check()
            return record
        except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
            raise UserError(
                f"a record could not be read ({first_line(error)}): the data was not written by "
                f"colorjax or is damaged; prepare it again with `{_PREPARE}`"
            ) from None

    def _check(self) -> None:
        """Raises `ValueError` where an attribute is of another kind than it is declared to be."""
        kinds = {
            "key": isinstance(self.key, str),
            "image": isinstance(self.image, bytes),
            "label": self.label is None or isinstance(self.label, str),
            "captions": isinstance(self.captions, dict)
            and all(isinstance(s, list) for s in self.captions.values())
            and all(isinstance(s, str) for texts in self.captions.values() for s in texts),
            "pairs": self.pairs is None or _is_nested(self.pairs, 3, str),
            "views": self.views is None or _is_nested(self.views, 2, bytes),
        }
        wrong = [name for name, right in kinds.items() if not right]
        if wrong:
            raise ValueError(f"its {wrong[0]} is of another kind")


def _is_nested(value: Any, levels: int, kind: type) -> bool:
    """Whether a value is lists in lists, so many levels, of things of one kind."""
    if levels == 0:
        return isinstance(value, kind)
    return isinstance(value, list) and all(_is_nested(part, levels - 1, kind) for part in value)


@dataclass(frozen=True)
class Shard:
    """A written file: its name, its number of records, the SHA-256 of its bytes in hex."""

    file: str
    records: int
    sha256: str


def shard_name(split: str, index: int, count: int) -> str:
    """`<split>-<index>-of-<count>.array_record`, index and count with five digits."""
    return f"{split}-{index:05d}-of-{count:05d}.array_record"


def write_shard(path: Path, records: Iterable[Record]) -> Shard:
    """Writes one file, which has its name only when it is complete; it may hold no record.

    Groups of one record make random access cheap, at the price of compression that PNG and JPEG
    would not gain from anyway. The same records always give the same bytes.
    """
    from array_record.python.array_record_module import ArrayRecordWriter

    count = 0

    def write(partial: Path) -> None:
        nonlocal count
        writer = ArrayRecordWriter(str(partial), "group_size:1")
        try:
            for record in records:
                _write(writer.write, record.pack())
                count += 1
            _write(writer.close)
        except BaseException:
            with contextlib.suppress(RuntimeError):
                writer.close()
            raise

    files.replace(path, write)
    return Shard(path.name, count, sha256(path))


def _write(step: Callable[..., Any], *arguments: Any) -> None:
    try:
        step(*arguments)
    except RuntimeError as error:  # ArrayRecord's for a full disk and the like
        raise OSError(str(error)) from None


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def splits(directory: str | Path) -> dict[str, list[Path]]:
    """Split name -> its shards in order; splits with a missing shard are left out."""
    shards: dict[str, list[Path]] = {}
    counts: dict[str, int] = {}
    for path in sorted(Path(directory).glob("*.array_record")):
        match = _SHARD.fullmatch(path.name)
        if match:
            shards.setdefault(match["split"], []).append(path)
            counts[match["split"]] = int(match["count"])
    return {split: paths for split, paths in shards.items() if len(paths) == counts[split]}


class Source:
    """Random access to the packed records of a split, by grain; damage is told in a sentence."""

    def __init__(self, directory: str | Path, paths: Sequence[Path]) -> None:
        """Opens the shards.

        Raises:
            UserError: one of them is damaged.
        """
        import grain  # which imports jax: preparing does without

        self._directory, self._lock = directory, threading.Lock()
        self._told: UserError | None = None
        open_shards = grain.sources.ArrayRecordDataSource
        self._source: Any = self._read(lambda: open_shards([str(path) for path in paths]))
        self._length: int = self._read(lambda: len(self._source))

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, place: int) -> bytes:
        return self._read(lambda: self._source[place])

    def __getitems__(self, places: Sequence[int]) -> Sequence[bytes]:
        """Several records at once, which is faster where they are small."""
        return self._read(lambda: self._source.__getitems__(places))

    def _read(self, read: Callable[[], Any]) -> Any:
        try:
            return read()
        except Exception as error:  # ArrayRecord has checksums, and raises what it likes
            with self._lock:  # of many threads one looks for the damage, which takes a while
                self._told = self._told or self._explained(error)
            raise self._told from error

    def _explained(self, error: Exception) -> UserError:
        """Which file is damaged, by the manifest's checksums."""
        try:
            verify(self._directory)
        except UserError as damage:
            return damage
        return UserError(
            f"a record in {str(self._directory)!r} cannot be read ({first_line(error)}), though "
            "all files are as they were prepared; check the disk, or prepare them again with "
            f"`{_PREPARE}`"
        )


def open_split(directory: str | Path, split: str, flag: str = "--split") -> Source:
    """Random access to the packed records of a split: `len(source)`, `source[i] -> bytes`.

    `flag` is what a message calls the choice of the split.

    Raises:
        UserError: no such directory, no such (complete) split in it, or a damaged one.
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
            f"choose one of those by {flag}=SPLIT, or prepare it with `{_PREPARE}`"
        )
    return Source(directory, available[split])


def write_manifest(
    directory: str | Path, source: str, shards: dict[str, list[Shard]], **facts: Any
) -> None:
    """Writes `manifest.json`: where the data came from and what every file must hash to.

    `facts` are further entries, such as the options the data was prepared with.
    """
    content = facts | {
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
    files.write_text(Path(directory) / MANIFEST, text)


def read_manifest(directory: str | Path) -> dict[str, Any]:
    """The manifest of a directory.

    Raises:
        UserError: there is none, or another format version wrote it.
    """
    path = Path(directory) / MANIFEST
    if not path.is_file():
        raise UserError(f"there is no {str(path)!r}; prepare the data with `{_PREPARE}`")
    advice = f"prepare the data again with `{_PREPARE}`"
    manifest: dict[str, Any] = files.read_json(path, {"type": "object"}, advice=advice)
    if manifest.get("format_version") != FORMAT_VERSION:
        raise UserError(
            f"{str(path)!r} has format version {manifest.get('format_version')}, this colorjax "
            f"reads version {FORMAT_VERSION}; {advice}"
        )
    files.check_json(manifest, _SCHEMA, path, advice)
    return manifest


def verify(directory: str | Path) -> int:
    """Compares every file with its checksum in the manifest; returns the number of records.

    Raises:
        UserError: a file is missing or has other bytes; the message names all of them.
    """
    total, wrong = 0, []
    manifest = read_manifest(directory)
    for split in manifest["splits"].values():
        total += split["records"]
        for shard in split["shards"]:
            path = Path(directory) / shard["file"]
            if not path.is_file():
                wrong.append(f"{shard['file']} is missing")
            elif sha256(path) != shard["sha256"]:
                wrong.append(f"{shard['file']} is damaged")
    for name, digest in manifest.get(BESIDE, {}).items():
        path = Path(directory) / name
        if not path.is_file() or sha256(path) != digest:
            wrong.append(f"{name} is {'damaged' if path.is_file() else 'missing'}")
    if wrong:
        raise UserError(
            f"{str(directory)!r} is not what was prepared: {', '.join(wrong)}; copy it again or "
            f"prepare it again with `{_PREPARE}`"
        )
    return total
