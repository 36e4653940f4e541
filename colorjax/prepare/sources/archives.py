"""Pictures inside uncompressed tar files, read in place: nothing is ever unpacked."""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from colorjax.errors import UserError, first_line
from colorjax.prepare.sources.entries import (
    MAX_FILE_BYTES,
    Content,
    Entry,
    Item,
    Rejected,
    Rejection,
    checked_name,
    shown,
)

_CHUNK = 2**20


@dataclass(frozen=True, slots=True)
class TarContent:
    """A member's bytes: a range of the archive."""

    archive: str
    name: str
    offset: int
    size: int

    def read(self) -> bytes:
        try:
            with open(self.archive, "rb") as file:
                file.seek(self.offset)
                data = file.read(self.size)
        except OSError as error:
            raise Rejected("unreadable file", error.strerror or str(error)) from None
        if len(data) < self.size:
            raise Rejected("damaged", "the archive ends inside it")
        return data


def members(archive: Path) -> Iterator[Item]:
    """The members of a tar file in their order, keyed by their last path component.

    The members of a member that ends in .tar (ImageNet's training set is such an archive of
    archives) come in its place, labelled with its stem. What is no plain file with a path inside
    the archive is a rejection.

    Raises:
        UserError: the file is missing, not a tar file, compressed, or damaged: between its first
            member and the zeros at its end there is something else than members.
    """
    try:
        with open(archive, "rb") as file:
            yield from _members(str(archive), file, 0, None)
    except FileNotFoundError:
        raise UserError(f"--input={str(archive)!r} does not exist; check the path") from None
    except _NoTar as error:
        raise UserError(
            f"{str(archive)!r} is not an uncompressed tar file ({error}); download it again, or "
            "unpack it and give the folder"
        ) from None


def _members(archive: str, file: Any, start: int, label: str | None) -> Iterator[Item]:
    try:
        tar = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115  # read lazily
    except tarfile.TarError as error:
        raise _NoTar(str(error)) from error
    while (member := _next(tar, archive, start)) is not None:
        tar.members = []  # type: ignore[attr-defined]  # else it keeps a million headers
        if member.isdir():
            continue
        try:
            content = _content(archive, member, start)
        except Rejected as reason:
            yield Rejection(shown(member.name), reason.reason, reason.detail)
            continue
        path = PurePosixPath(member.name)
        inner = tar.extractfile(member) if path.suffix == ".tar" and label is None else None
        if inner is None:
            yield Entry(path.name, content, label=label)
        else:
            yield from _inner(archive, inner, content, path)
    _check_end(archive, file, tar.offset, start)


class _NoTar(Exception):
    """The first header is none."""


def _next(tar: tarfile.TarFile, archive: str, start: int) -> tarfile.TarInfo | None:
    """The next member, or None at what `tarfile` takes for the end: `_check_end` looks closer."""
    try:
        return tar.next()
    # Extended headers may hold anything, and leave it as whatever their parsers raise.
    except (tarfile.TarError, ValueError, ArithmeticError, LookupError, EOFError) as error:
        raise _damaged(archive, start + tar.offset, first_line(error)) from error


def _check_end(archive: str, file: Any, offset: int, start: int) -> None:
    """Makes sure that nothing but zeros follows, of which there must be some.

    `tarfile` takes a damaged header for the end, and would drop all that follows without a word.
    """
    file.seek(offset)
    first = file.read(tarfile.BLOCKSIZE)
    if len(first) < tarfile.BLOCKSIZE:
        raise _damaged(archive, start + offset, "it ends early")
    chunk, place = first, offset
    while chunk:
        if chunk.strip(b"\0"):
            what = "no header of a member" if place == offset else "something after the end"
            raise _damaged(archive, start + place, f"there is {what}")
        place += len(chunk)
        chunk = file.read(_CHUNK)


def _damaged(archive: str, offset: int, why: str) -> UserError:
    return UserError(
        f"{archive!r} is damaged at byte {offset} ({why}): the pictures after it would be lost; "
        "download it again, or unpack what is whole and give the folder"
    )


def _inner(archive: str, file: Any, content: TarContent, path: PurePosixPath) -> Iterator[Item]:
    try:
        yield from _members(archive, file, content.offset, path.stem)
    except _NoTar as error:
        raise _damaged(archive, content.offset, f"{path.name} is no tar file: {error}") from error


def _content(archive: str, member: tarfile.TarInfo, start: int) -> TarContent:
    if not member.isreg() or member.issparse():
        raise Rejected("not a regular file", "a link or device in an archive")
    name = checked_name(member.name)
    if member.size > MAX_FILE_BYTES and not name.endswith(".tar"):
        raise Rejected("too large", f"{member.size} bytes")
    return TarContent(archive, name, start + member.offset_data, member.size)


class Archive:
    """Pictures of a tar file by name; `find` is that of `entries.Folder`."""

    def __init__(self, path: Path) -> None:
        items = list(members(path))
        self._contents = {item.key: item.content for item in items if isinstance(item, Entry)}
        self._rejections = {item.key: item for item in items if isinstance(item, Rejection)}

    def find(self, name: Any) -> Content:
        if name in self._rejections:
            rejection = self._rejections[name]
            raise Rejected(rejection.reason, rejection.detail)
        if checked_name(name) not in self._contents:
            raise Rejected("missing file", "the archive has no such member")
        return self._contents[name]
