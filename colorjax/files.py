"""Writing files whole or not at all, and where colorjax keeps what it can make again.

A reader never sees half a file under its final name, and what was there before stays until the
new one is complete on the disk.
"""

import os
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
    """Lets `write` make a temporary file beside `path`, which then takes its name.

    The data is flushed to the disk before the name changes: a rename may reach the disk before
    the bytes it stands for, and a power cut between the two would leave an empty file.

    Raises:
        OSError: the disk is full, or the folder cannot be written to; `path` is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{uuid.uuid4().hex}.partial{path.suffix}")
    try:
        write(partial)
        _flush(partial)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _flush(path.parent)


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
