"""What a source lists: pictures with their captions, and what it had to leave out."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from colorjax.data import transforms
from colorjax.errors import UserError, first_line

MAX_FILE_BYTES = 256 * 2**20


class Rejected(Exception):
    """A picture cannot be used: `reason` is one of a few phrases, `detail` says more."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


@runtime_checkable
class Content(Protocol):
    """Where the bytes of an encoded picture are; small and picklable."""

    @property
    def name(self) -> str:
        """The name of the file, with its suffix."""

    def read(self) -> bytes:
        """The whole file; raises `Rejected` where there is none."""


@dataclass(frozen=True, slots=True)
class FileContent:
    """A file below a folder."""

    root: str
    name: str

    def read(self) -> bytes:
        path = Path(self.root, self.name)
        try:
            size = path.stat().st_size
            if not path.is_file():
                raise Rejected("not a regular file")
            if size > MAX_FILE_BYTES:
                raise Rejected("too large", f"{size} bytes")
            return path.read_bytes()
        except FileNotFoundError:
            raise Rejected("missing file", str(path)) from None
        except OSError as error:
            raise Rejected("unreadable file", error.strerror or str(error)) from None


@dataclass(frozen=True, slots=True)
class PixelContent:
    """Pixels that come without a file; they become a PNG."""

    name: str
    pixels: UInt8[np.ndarray, "h w 3"]

    def read(self) -> bytes:
        return transforms.encode_png(self.pixels)


@dataclass(frozen=True, slots=True)
class Entry:
    """A picture of a source.

    Attributes:
        key: its name, unique in the split.
        content: where its file is.
        captions: what people wrote about it.
        label: its class, if the source has classes.
        pairs: see `records.Record`.
    """

    key: str
    content: Content
    captions: tuple[str, ...] = ()
    label: str | None = None
    pairs: list[list[list[str]]] | None = None


@dataclass(frozen=True, slots=True)
class Rejection:
    """A name that is left out, and why."""

    key: str
    reason: str
    detail: str = ""


Item = Entry | Rejection


class Folder:
    """Pictures of a folder by the names that a list gives them."""

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise UserError(f"there is no folder {str(root)!r} of pictures; check --input")
        self.root = str(root)

    def find(self, name: Any) -> Content:
        """The picture's content, whether it exists or not; `Rejected` for an unsafe name."""
        return FileContent(self.root, checked_name(name))


def checked_name(name: Any) -> str:
    """A relative path that stays below its folder and can be written as UTF-8, else `Rejected`."""
    if not isinstance(name, str) or not name or "\0" in name:
        raise Rejected("bad name", "it must be a text that names a file")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise Rejected("name is not UTF-8") from None
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:", name):
        raise Rejected("path leaves its folder")
    return name


def shown(name: Any) -> str:
    """A name as it can be written to a file, whatever it is."""
    return str(name).encode(errors="backslashreplace").decode()


def sentences(captions: Any) -> tuple[str, ...]:
    """Captions in one line each, empty ones left out.

    Raises:
        Rejected: no caption is left, or one is not text.
    """
    lines = []
    for caption in captions if isinstance(captions, list) else [captions]:
        if not isinstance(caption, str):
            raise Rejected("caption is not text", f"it is {type(caption).__name__}")
        try:
            caption.encode()
        except UnicodeEncodeError:
            raise Rejected("caption is not text", "it has characters outside Unicode") from None
        lines.append(" ".join(caption.split()))
    if not any(lines):
        raise Rejected("missing caption")
    return tuple(filter(None, lines))


def unique(items: Iterable[Item]) -> Iterator[Item]:
    """Every item; of entries with the same key only the first, the others as rejections."""
    seen: set[str] = set()
    for item in items:
        if isinstance(item, Entry):
            if item.key in seen:
                item = Rejection(item.key, "duplicate name")
            seen.add(item.key)
        yield item


def read_text(path: Path) -> str:
    """A text file; `UserError` if it is missing or not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"there is no {str(path)!r}; check --input and --captions") from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"{str(path)!r} is not UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from None


def read_json(path: Path, pairs: bool = False) -> Any:
    """A JSON file; with `pairs` every object is the list of its (name, value), repeated or not.

    Raises:
        UserError: the file is missing, not UTF-8 or not JSON.
    """
    text = read_text(path)
    try:
        return json.loads(text, object_pairs_hook=list if pairs else None)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{str(path)!r} is not JSON ({first_line(error)}); download it again"
        ) from None
