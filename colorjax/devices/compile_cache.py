"""What entry points set up before the first compilation."""

import os
import shutil
import stat
import sys
from pathlib import Path

from colorjax import files
from colorjax.errors import printable

LEAST_FREE = 64 * 2**20  # bytes of the disk below which nothing is kept
_own: Path | None = None


class Untrusted(Exception):
    """A folder that others could put programs into."""


def setup() -> None:
    """Keeps compiled programs between runs, in a directory that only its owner may enter.

    A cached program is executed as it is, so nobody else may be able to put one there: where
    that is not sure, nothing is kept, and a line says why. `JAX_COMPILATION_CACHE_DIR`, if set, is
    used instead, as it is.
    """
    import jax

    global _own
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    try:
        directory = trusted(files.cache_folder("xla"))
        forget_empty(directory)
        free = shutil.disk_usage(directory).free
    except Untrusted as reason:
        line = f"colorjax: compiled programs are not kept between runs: {printable(reason)}"
        print(line, file=sys.stderr)
        return
    except (OSError, RuntimeError):
        return  # no home, or a read-only one, costs compile time, nothing else
    if free < LEAST_FREE:
        line = f"colorjax: compiled programs are not kept between runs: the disk of '{directory}'"
        print(f"{printable(line)} is full; make room there", file=sys.stderr)
        return
    _own = directory
    jax.config.update("jax_compilation_cache_dir", str(directory))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def own_folder() -> Path | None:
    """The folder that `setup` chose; None before, where there is none, or where the user chose."""
    return _own


def forget_empty(folder: Path) -> None:
    """Removes programs of no bytes, as a full disk leaves them.

    jax writes under the final name, would tell of such a file at each start, and never replace it.
    """
    for path in folder.iterdir():
        if path.is_file() and path.stat().st_size == 0:
            path.unlink()


def trusted(folder: Path) -> Path:
    """A folder two levels below the user's cache, made if it is missing, that is the user's alone.

    Raises:
        Untrusted: it or a folder above it is another user's, can be written by others, or is a
            link. Nothing is changed then.
        OSError: it cannot be made.
    """
    root = folder.parent.parent
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    real = root.resolve()
    about = real.stat()
    # Where the sticky bit is set, as in /tmp, nobody can put another folder in the place of ours.
    _check(real, about, (0, os.geteuid()), stat.S_ISVTX & about.st_mode or not _open(about))
    for path in (folder.parent, folder):
        path.mkdir(mode=0o700, exist_ok=True)
        about = path.lstat()  # of a link itself, not of what it leads to
        closed = about.st_mode & 0o077 == 0 if path == folder else not _open(about)
        _check(path, about, (os.geteuid(),), closed)
    return folder


def _open(about: os.stat_result) -> bool:
    return bool(about.st_mode & 0o022)


def _check(path: Path, about: os.stat_result, owners: tuple[int, ...], closed: object) -> None:
    if not stat.S_ISDIR(about.st_mode):
        raise Untrusted(f"'{path}' is a link or no folder; put a folder of your own in its place")
    if about.st_uid not in owners:
        raise Untrusted(f"'{path}' belongs to another user; set XDG_CACHE_HOME")
    if not closed:
        raise Untrusted(f"'{path}' is open to others; say chmod go-rwx '{path}'")
