"""SHA256SUMS: what every file of a release must hash to, so that damage is told and not used.

The format is that of `sha256sum`, which can check a release without this code. What is not listed
is no part of a release, whatever lies in its folder.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from colorjax import files
from colorjax.errors import UserError, first_line

CHECKSUMS = "SHA256SUMS"
LISTED = (".safetensors", ".json", ".txt")
_MOST_BYTES = 2**20  # a line takes about a hundred
_ROW = re.compile(r"([0-9a-fA-F]{64}) [ *](.+)")

# Name -> what the file may hash to: two values while a release is being written, as it was and as
# it will be, so that an interruption between the two leaves something that can be read.
Digests = dict[str, set[str]]


def read(directory: Path) -> Digests:
    """The listed files by their paths in the directory.

    Raises:
        UserError: there is no list, or a line of it is something else.
    """
    path = directory / CHECKSUMS
    if not path.is_file():
        raise UserError(f"'{directory}' has no {CHECKSUMS}: the release is incomplete")
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"it has more than {_MOST_BYTES} bytes")
        lines = path.read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise UserError(f"'{path}' cannot be read ({first_line(error)}); get it again") from error
    digests: Digests = {}
    for number, line in enumerate(lines, 1):
        row = _ROW.fullmatch(line)
        if row is None:
            raise UserError(
                f"'{path}' is damaged: line {number} is {line[:80]!r}, not a SHA-256 and a file's "
                "name; get the release again"
            )
        digests.setdefault(row[2], set()).add(row[1].lower())
    return digests


def parts_in(directory: Path) -> set[str]:
    """The names of the parts whose weights a directory has, and lists if it has a list."""
    names = {path.name for path in directory.glob("*.safetensors")}
    if (directory / CHECKSUMS).is_file():
        names &= read(directory).keys()
    return {name.removesuffix(".safetensors") for name in names if not name.startswith(".")}


def write(directory: Path, digests: Mapping[str, Iterable[str]]) -> None:
    """Writes the list, sorted, of those files that are there."""
    names = sorted(digests, key=lambda name: PurePosixPath(name).parts)
    rows = [
        f"{digest}  {name}\n"
        for name in names
        if (directory / name).is_file()
        for digest in sorted(digests[name])
    ]
    files.write_text(directory / CHECKSUMS, "".join(rows))


def check(directory: Path, name: str) -> None:
    """Compares a file of a release with the list.

    Raises:
        UserError: it is not listed, or has other bytes.
    """
    path, known = directory / name, read(directory)
    if name not in known:
        raise UserError(
            f"'{path}' is not listed in {CHECKSUMS}: it is no part of the release and is not read; "
            "delete it, or get the release again"
        )
    if digest(path) not in known[name]:
        raise UserError(f"'{path}' does not match {CHECKSUMS}: it is damaged, get it again")


def digest(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"'{path}' cannot be read ({first_line(error)}); get it again") from error
