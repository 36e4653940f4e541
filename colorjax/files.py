"""Writing files whole or not at all, and where colorjax keeps what it can make again.

A reader never sees half a file under its final name, and what was there before stays until the
new one is complete on the disk. What libraries make, such as a PNG, is best encoded to memory and
given to `write_bytes`: not all of them tell of a write that came short.
"""

import contextlib
import errno
import functools
import hashlib
import json
import os
import pickletools
import platform
import re
import shutil
import time
import uuid
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from colorjax.errors import UserError, first_line

MOST_JSON_BYTES = 64 * 2**20
_UNFINISHED = re.compile(r"\.(?:([0-9a-f]{12})-(\d+)-)?[0-9a-f]{32}\.partial(?:\.\w+)?")
_LONG = 24 * 3600.0  # seconds: no file takes as long to write
_ADVICE = {
    "make room there, or choose another place": (errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
    "choose a place that you may write to": (errno.EACCES, errno.EPERM, errno.EROFS),
    "give a shorter name": (errno.ENAMETOOLONG,),
}


def cache_folder(*names: str) -> Path:
    """A folder of the user's cache: `$XDG_CACHE_HOME` or `~/.cache`, then colorjax and `names`.

    Raises:
        RuntimeError: the user has no home folder and `XDG_CACHE_HOME` is not set.
    """
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root, "colorjax", *names)


def package_digest(package: Path) -> str:
    """A digest of every module of a package, by path and contents.

    What was made by code, and is kept, is of that code alone; what a program is made of cannot
    be listed by hand without missing some of it.
    """
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        source = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(package)} {source}\n".encode())
    return digest.hexdigest()


@functools.cache
def own_digest() -> str:
    """The digest of this package, as it was when it was first asked for."""
    return package_digest(Path(__file__).parent)


def unwritable(path: Path, error: OSError) -> UserError:
    """The sentence for a file or folder that the system refuses to write: which, why, what to do.

    Libraries' own errors have no number; what they say about a full disk differs.
    """
    advice = (text for text, numbers in _ADVICE.items() if error.errno in numbers)
    return UserError(
        f"'{path}' could not be written ({error.strerror or first_line(error)}); "
        f"{next(advice, 'make room there, or choose another place')}"
    )


def replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Lets `write` make a temporary file or folder beside `path`, which then takes its name.

    The data is flushed to the disk before the name changes: a rename may reach the disk before
    the bytes it stands for, and a power cut between the two would leave an empty file.

    Args:
        path: the final name; its folder is made if it is missing. What is there is replaced.
        write: makes the file or folder that it is given the temporary name of, and raises OSError
            if it cannot. The name has the suffix of `path`, which decides the format in some
            libraries.

    Raises:
        UserError: the disk is full, the folder cannot be written to, or `path` is a device;
            `path` is as it was and nothing is left beside it.
    """
    # A new name each time: services such as Dataflow have the same work done twice at once.
    name = f".{_here()}-{os.getpid()}-{uuid.uuid4().hex}.partial{path.suffix}"
    partial = path.with_name(name)
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise UserError(f"'{path}' is a device, not a file or folder; give another name")
        path.parent.mkdir(parents=True, exist_ok=True)
        write(partial)
        for part in [*partial.rglob("*"), partial]:
            _flush(part)
        put_in_place(partial, path)
    except BaseException as error:  # an interruption too, and the SystemExit of SIGTERM
        _remove(partial)
        if isinstance(error, OSError):
            raise unwritable(path, error) from error
        raise


def put_in_place(partial: Path, path: Path) -> None:
    """Gives a complete file or folder its final name, beside which it was made, for good.

    A file that is there is replaced in one step. Nothing can do that with a folder that holds
    something: it steps aside as `.<name>.old`, and is removed when the new one is in its place.
    """
    if path.is_dir():
        _exchange(partial, path)
    else:
        partial.replace(path)
    with contextlib.suppress(OSError):  # some mounted buckets cannot flush a folder
        _flush(path.parent)


def _exchange(partial: Path, path: Path) -> None:
    old = path.with_name(f".{path.name}.old")
    _remove(old)
    path.rename(old)
    try:
        partial.rename(path)
    except BaseException:
        old.rename(path)
        raise
    _remove(old)


def check_links(root: Path, path: Path) -> None:
    """Refuses links on the way from a folder that a person has named to a place within it.

    Whoever can write there could lead what is written to any other place.

    Raises:
        UserError: `path`, or a folder of it below `root`, is a link.
    """
    for link in (path, *path.parents):
        if link == root or root not in link.parents:
            return
        if link.is_symlink():
            raise UserError(f"'{link}' is a link out of '{root}'; remove it there")


def sweep(folder: Path) -> int:
    """Removes the unfinished files that killed processes have left in a folder; how many.

    Only what `replace` has named, and whose process is gone: of this machine that is looked up, of
    another one, or of an earlier version's names, it is told by a day without a change.
    """
    count = 0
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            match = _UNFINISHED.fullmatch(entry.name)
            if match is None or not entry.is_file(follow_symlinks=False):
                continue
            with contextlib.suppress(OSError):  # another worker removes it at the same time
                is_old = time.time() - entry.stat(follow_symlinks=False).st_mtime > _LONG
                if is_old or (match[1] == _here() and not _is_alive(int(match[2]))):
                    os.unlink(entry)
                    count += 1
    return count


@functools.cache
def _here() -> str:
    """Where process numbers mean the same: a machine since its start, or a container of it."""
    parts = [platform.node()]
    with contextlib.suppress(OSError):  # of Linux
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _is_alive(process: int) -> bool:
    if os.name != "posix":
        return True  # asking there would end it
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        return True
    return True


def write_bytes(path: Path, data: bytes) -> None:
    """Writes bytes whole or not at all; raises as `replace` does."""
    replace(path, lambda partial: partial.write_bytes(data))


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text whole or not at all; raises as `replace` does."""
    write_bytes(path, text.encode("utf-8"))


def read_json(
    path: Path,
    schema: Mapping[str, Any] | None = None,
    *,
    advice: str,
    most_bytes: int = MOST_JSON_BYTES,
) -> Any:
    """What a JSON file holds, if it is as a JSON Schema says.

    Args:
        advice: what to do about a damaged file, for the sentence that tells of it.
        most_bytes: a larger file is not read.

    Raises:
        UserError: it is missing, too large, no JSON (which knows neither NaN nor
            infinity), or not what the schema describes; the sentence names the value.
    """
    try:
        if path.stat().st_size > most_bytes:
            raise ValueError(f"it has more than {most_bytes} bytes")
        value = parse_json(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"'{path}' cannot be read ({first_line(error)}); {advice}") from error
    if schema is not None:
        check_json(value, schema, path, advice)
    return value


def parse_json(text: str) -> Any:
    """A JSON text's value; raises `ValueError` for NaN and infinity too, which JSON knows not."""
    return json.loads(text, parse_constant=_no_number)


def check_pickle(file: Any) -> None:
    """Looks through the next pickle of an open file, which stays where it is.

    A pickle numbers what it wants to name again, and Python makes a table as long as the largest
    number says: nine bytes could ask for gigabytes. Those that Python writes count up from 0.

    It also names the frames that it is read in. Where a frame begins or ends within another thing
    Python's fast reader goes on elsewhere than the one used here, and would be shown one pickle and
    run another.

    Raises:
        ValueError: a number is above how many things the pickle has made so far, a frame is not
            one, or it is damaged.
    """
    start, end, before = file.tell(), 0, 0
    with warnings.catch_warnings():
        # A damaged name may have a backslash in it, of which Python would tell the user.
        warnings.simplefilter("ignore", DeprecationWarning)
        for made, (operation, argument, place) in enumerate(pickletools.genops(file), 1):
            name, place = operation.name, int(place or 0)
            if before < end < place or (name == "FRAME" and place < end):
                raise ValueError("the pickle has frames that overlap")
            if name == "FRAME":
                end = place + 9 + int(str(argument))
            if name.endswith("PUT") and not 0 <= int(str(argument)) <= made:
                raise ValueError(f"the pickle numbers {made} things up to {argument}")
            if name == "STOP" and end > place + 1:
                raise ValueError("the pickle ends within a frame")
            before = place
    file.seek(start)


def check_json(value: Any, schema: Mapping[str, Any], path: Path, advice: str) -> None:
    """Checks what a JSON file held, as `read_json` does with a schema."""
    from jsonschema import Draft202012Validator, validators

    # Theirs takes 4.0 for an integer, which no shape of an array can be.
    strict = Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, n: type(n) is int)
    kind = validators.extend(Draft202012Validator, type_checker=strict)
    error = next(kind(schema).iter_errors(value), None)
    if error is not None:
        place = ".".join(map(str, error.absolute_path))
        said = error.message
        said = said if len(said) < 200 else f"{said[:80]} ... {said[-80:]}"
        raise UserError(f"'{path}' cannot be used ({place + ': ' * bool(place)}{said}); {advice}")


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


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
        with contextlib.suppress(OSError):  # it could not even be begun
            path.unlink()
