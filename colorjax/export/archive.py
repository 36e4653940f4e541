"""The container: a zip whose every byte that is used is checked before anything is made of it.

The zip's comment holds the SHA-256 of `manifest.json`, and that the sizes and SHA-256 of all other
parts. The container knows parts, not what they are.
"""

import contextlib
import hashlib
import json
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from colorjax import files
from colorjax.errors import UserError, first_line

SUFFIX = ".cjx"
FORMAT = 1
MANIFEST = "manifest.json"
MOST_MANIFEST_BYTES = 2**24
MOST_PACKED_BYTES = 2**28  # of a program; those of a full-size model have a few megabytes
MOST_PACKED_IN_ALL = 2**32  # a file of a few megabytes could unpack for hours
_COMMENT = re.compile(rb"colorjax sha256 ([0-9a-f]{64})")
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can say: the same parts, the same file
_PIECE = 2**20
_ADVICE = "get it again, or export it again"

Part = tuple[str, Callable[[], bytes]]  # its name, and its content when it is its turn


def write(path: Path, about: Mapping[str, Any], parts: Iterable[Part]) -> None:
    """Writes a file whole or not at all, one part after another.

    Args:
        about: of the manifest, beside the format and the parts.

    Raises:
        UserError: the disk refuses.
    """
    files.replace(path, lambda partial: _write(partial, about, parts))


def _write(path: Path, about: Mapping[str, Any], parts: Iterable[Part]) -> None:
    listed: dict[str, dict[str, Any]] = {}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts:
            data = content()
            listed[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            # Programs are much the same bytes over and over, weights are all noise.
            _add(archive, name, data, small=not name.startswith("weights/"))
        manifest = {"format": FORMAT, **about, "parts": listed}
        text = json.dumps(manifest, indent=1, sort_keys=True).encode() + b"\n"
        _add(archive, MANIFEST, text, small=True)
        archive.comment = b"colorjax sha256 " + hashlib.sha256(text).hexdigest().encode()


def _add(archive: zipfile.ZipFile, name: str, data: bytes, small: bool) -> None:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.compress_type = zipfile.ZIP_DEFLATED if small else zipfile.ZIP_STORED
    archive.writestr(info, data)


class Archive:
    """A file of `write`, all of whose parts were compared with their checksums.

    Attributes:
        path: where it is.
        manifest: what it says of itself; its sections are not checked yet.
        digest: SHA-256 of the manifest, which stands for all of it.
    """

    def __init__(self, path: Path) -> None:
        """Reads all of the file.

        Raises:
            UserError: it is not there, no such file, of another format, or damaged anywhere.
        """
        self.path = path
        if not path.is_file():
            raise UserError(f"'{path}' does not exist; give a file of python -m colorjax.export")
        with self._opened() as archive:
            comment = _COMMENT.fullmatch(archive.comment)
            if comment is None:
                raise ValueError("its zip lacks the checksum of its manifest")
            self.digest = comment[1].decode()
            text = _content(archive, MANIFEST, MOST_MANIFEST_BYTES)
            if hashlib.sha256(text).hexdigest() != self.digest:
                raise ValueError(f"{MANIFEST} does not match its checksum")
            self.manifest: dict[str, Any] = files.parse_json(text.decode())
            self._check_format()
            names = sorted([*self.manifest["parts"], MANIFEST])
            if sorted(archive.namelist()) != names:
                raise ValueError(f"it holds other parts than {MANIFEST} lists")
            self._check_sizes(archive)
            for name in self.manifest["parts"]:
                self._check(name, _pieces(archive, name))

    def read(self, name: str) -> bytes:
        """A part, compared with its checksum once more: the file may have changed.

        Raises:
            UserError: it has.
        """
        with self._opened() as archive:
            data = _content(archive, name, self.manifest["parts"][name]["bytes"])
            self._check(name, [data])
        return data

    def _check(self, name: str, pieces: Iterable[bytes]) -> None:
        size, total, row = 0, hashlib.sha256(), self.manifest["parts"][name]
        for piece in pieces:
            size += len(piece)
            total.update(piece)
            if size > row["bytes"]:  # what a small file unpacks to need not end
                break
        if size != row["bytes"] or total.hexdigest() != row["sha256"]:
            raise ValueError(f"{name} does not match its checksum")

    def _check_sizes(self, archive: zipfile.ZipFile) -> None:
        """Looks at what parts say that they unpack to, which is all that will be unpacked."""
        # What is not packed cannot be more than the file has, unless parts share their bytes.
        infos = archive.infolist()
        packed = [info for info in infos if info.compress_type != zipfile.ZIP_STORED]
        for info in packed:
            if info.file_size > MOST_PACKED_BYTES:
                raise ValueError(f"{info.filename} is larger than it can be")
        stored = sum(info.file_size for info in infos) - sum(info.file_size for info in packed)
        is_shared = stored > self.path.stat().st_size
        if is_shared or sum(info.file_size for info in packed) > MOST_PACKED_IN_ALL:
            raise ValueError("its parts are larger than they can be")

    def _check_format(self) -> None:
        version = self.manifest.get("format")
        if version != FORMAT:
            raise UserError(
                f"'{self.path}' has export format {version}; this version reads {FORMAT}: export "
                "it again"
            )

    @contextlib.contextmanager
    def _opened(self) -> Iterator[zipfile.ZipFile]:
        """The zip; whatever goes wrong with it is one sentence."""
        try:
            with zipfile.ZipFile(self.path) as archive:
                yield archive
        except (UserError, MemoryError):
            raise
        # Broken zips raise BadZipFile, zlib.error, struct.error, NotImplementedError and more.
        except Exception as error:
            raise UserError(
                f"'{self.path}' is no whole file of python -m colorjax.export "
                f"({first_line(error)}); {_ADVICE}"
            ) from error


def _content(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    with archive.open(name) as part:
        data = part.read(most + 1)
    if len(data) > most:
        raise ValueError(f"{name} is larger than it can be")
    return data


def _pieces(archive: zipfile.ZipFile, name: str) -> Iterator[bytes]:
    with archive.open(name) as part:
        while piece := part.read(_PIECE):
            yield piece
