"""Writing files whole or not at all, and where colorjax keeps what it can make again.

A reader never sees half a file under its final name, and what was there before stays until the
new one is complete on the disk.
"""

import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any


def cache_folder(*names: str) -> Path:
    """A folder of the user's cache: `$XDG_CACHE_HOME` or `~/.cache`, then colorjax and `names`.

    Raises:
        RuntimeError: the user has no home folder and `XDG_CACHE_HOME` is not set.
    """
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root, "colorjax", *names)


def replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Lets `write` make a temporary file or folder beside `path`, which then takes its name.

    The data is flushed to the disk before the name changes: a rename may reach the disk before
    the bytes it stands for, and a power cut between the two would leave an empty file.

    Args:
        path: the final name; its folder is made if it is missing. What is there is replaced.
        write: makes the file or folder that it is given the temporary name of. The name has the
            suffix of `path`, which decides the format in some libraries.

    Raises:
        OSError: the disk is full, or the folder cannot be written to; `path` is as it was and
            nothing is left beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # A new name each time: services such as Dataflow have the same work done twice at once.
    partial = path.with_name(f".{uuid.uuid4().hex}.partial{path.suffix}")
    try:
        write(partial)
        for part in [*partial.rglob("*"), partial]:
            _flush(part)
        put_in_place(partial, path)
    except BaseException:
        _remove(partial)
        raise
    _flush(path.parent)


def put_in_place(partial: Path, path: Path) -> None:
    """Gives a complete file or folder its final name, beside which it was made.

    A file that is there is replaced in one step. Nothing can do that with a folder that holds
    something: it steps aside as `.<name>.old`, and is removed when the new one is in its place.
    """
    if not path.is_dir():
        partial.replace(path)
        return
    old = path.with_name(f".{path.name}.old")
    _remove(old)
    path.rename(old)
    try:
        partial.rename(path)
    except OSError:
        old.rename(path)
        raise
    _remove(old)


def write_bytes(path: Path, data: bytes) -> None:
    """Writes bytes whole or not at all."""
    replace(path, lambda partial: partial.write_bytes(data))


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
