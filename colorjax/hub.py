"""Models on a hub, as `hub:owner/name[@revision]`: what Hugging Face's client downloads, checked.

The client resumes what is cut, shares its cache with other programs, and honours `HF_HOME`,
`HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE` and proxies. It compares sizes; digests are compared
here: in the client's cache a file is called by the hub's ETag, which is the SHA-256 of a large one
and Git's SHA-1 of a small one.
"""

import functools
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

from colorjax import files
from colorjax.errors import UserError, first_line

PREFIX = "hub:"
_REFERENCE = re.compile(r"hub:(\w[\w.-]*/\w[\w.-]*)(?:@(\w[\w./-]*))?", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_CHUNK = 10 * 2**20  # bytes that the client takes before it counts them


class Absent(UserError):
    """The hub has the model, but not a file of it."""


class Repository(NamedTuple):
    """A model on the hub: `owner/name`, and a branch, tag or commit of it."""

    name: str
    revision: str = "main"

    def __str__(self) -> str:
        return f"{PREFIX}{self.name}@{self.revision}"


def parse(text: str) -> Repository:
    """Reads `hub:owner/name[@revision]`.

    Raises:
        UserError: it is something else.
    """
    match = _REFERENCE.fullmatch(text)
    if match is None or "--" in match[1] or ".." in text:
        raise UserError(
            f"{text!r} is no model on a hub; write hub:owner/name, or hub:owner/name@revision with "
            "a branch, a tag or a commit"
        )
    return Repository(match[1], match[2] or "main")


def snapshot(
    repository: Repository,
    wanted: Sequence[str],
    offline: bool = False,
    most_bytes: int | None = None,
) -> Path:
    """Downloads files of a model, of which those that are in the cache already are kept.

    Args:
        wanted: paths in the repository, which must all be there, and patterns such as
            `*.safetensors`, which need not.
        offline: take what is in the cache, and ask nobody.
        most_bytes: what is downloaded may not be larger, whatever the hub says of it.

    Returns:
        The folder with the files, called by the commit that the revision is.

    Raises:
        UserError: they cannot be had, are larger than they may be, or are damaged, which deletes
            what is; no file is ever half there.
    """
    folder = cached(repository, wanted) if offline else _download(repository, wanted, most_bytes)
    if folder is None:
        raise _told(FileNotFoundError(), repository)
    for name in _absent(folder, wanted):
        raise Absent(f"{repository.name!r} at {_endpoint()} has no file {name!r}")
    commit = repository._replace(revision=folder.name)
    for name in _names(folder, wanted):
        _check(folder / name, name, commit, offline)
    return folder


def cached(repository: Repository, wanted: Sequence[str]) -> Path | None:
    """The folder of a model in the cache, if it has all the paths among `wanted`; asks nobody."""
    from huggingface_hub import try_to_load_from_cache

    folder = None
    for name in (name for name in wanted if "*" not in name):
        path = try_to_load_from_cache(repository.name, name, _cache(), revision=repository.revision)
        if not isinstance(path, str):
            return None
        folder = Path(path).parents[len(Path(name).parts) - 1]
    return folder


def _cache() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def limited(most_bytes: Callable[[], int], refuse: Callable[[], UserError]) -> type[Any]:
    """A progress bar for the client that ends a download which sends too much.

    The client compares sizes when a file is whole; an answer without an end would fill the disk.
    It tells the bar of a chunk before it writes it.

    Args:
        most_bytes: of what the bar counts; asked for when the first bytes have come.
        refuse: the error that is then raised.
    """
    from huggingface_hub.utils import tqdm

    class Limited(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **options: Any) -> None:
            # One that is not shown, as into a file, keeps neither its unit nor its count.
            self._is_of_bytes = options.get("unit") == "B"
            self._taken = options.get("initial") or 0
            super().__init__(*args, **options)

        def update(self, n: int | float | None = 1) -> bool | None:
            with self.get_lock():
                self._taken += n or 0
            if self._is_of_bytes and self._taken > most_bytes():
                raise refuse()
            shown: bool | None = super().update(n)
            return shown

    return Limited


def _download(repository: Repository, wanted: Sequence[str], most_bytes: int | None) -> Path:
    from huggingface_hub import get_cached_repo_tree, snapshot_download

    @functools.cache
    def told() -> int:
        # The client keeps the hub's list before it asks for the first file.
        tree = get_cached_repo_tree(repository.name, revision=repository.revision)
        total = sum(f.size for f in tree if any(fnmatch(f.path, pattern) for pattern in wanted))
        if most_bytes is not None and total > most_bytes:
            raise UserError(
                f"'{repository}': {_endpoint()} tells of {total / 1e6:,.0f} MB where "
                f"{most_bytes / 1e6:,.0f} MB are the most that there can be; nothing of it is "
                "kept: take another HF_ENDPOINT, or another model"
            )
        return total

    def refuse() -> UserError:
        return UserError(
            f"'{repository}': {_endpoint()} sends more than the {told() / 1e6:,.1f} MB that it "
            "tells of; the rest is not taken, and what is whole is kept: try again later, or take "
            "another HF_ENDPOINT"
        )

    # Storage by chunks may send somewhat more than the file has.
    bar = limited(lambda: told() * 5 // 4 + _CHUNK, refuse)
    try:
        folder = snapshot_download(
            repository.name,
            revision=repository.revision,
            allow_patterns=list(wanted),
            library_name="colorjax",
            tqdm_class=bar,
        )
    except UserError:
        raise
    except Exception as error:  # its own, its HTTP library's and the system's, of many kinds
        raise _told(error, repository) from error
    return Path(folder)


def _absent(folder: Path, wanted: Sequence[str]) -> Iterator[str]:
    for name in wanted:
        if "*" not in name and not (folder / name).is_file():
            yield name


def _names(folder: Path, wanted: Sequence[str]) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and any(fnmatch(name, pattern) for pattern in wanted):
            yield name


def _check(path: Path, name: str, repository: Repository, offline: bool) -> None:
    """Compares a file with the hub's digest, and deletes it if it differs: it is downloaded again.

    Raises:
        UserError: it has other bytes, or nobody tells which it should have.
    """
    blob = path.parent / path.readlink() if path.is_symlink() else path
    known = blob.name if _DIGEST.fullmatch(blob.name) else _listed(name, repository, offline)
    if _digest(blob, len(known)) != known:
        path.unlink()
        blob.unlink(missing_ok=True)
        raise UserError(
            f"'{name}' of '{repository}' is not what the hub says (its digest is not {known}); it "
            "was damaged on the way or on the disk, and is deleted: try again"
        )


def _listed(name: str, repository: Repository, offline: bool) -> str:
    """A file's digest as the hub lists it, for caches without links and hubs of other ETags."""
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    if offline:
        raise UserError(
            f"'{name}' of '{repository}' cannot be checked offline, for the hub's cache has no "
            "links that tell its digest; leave out --offline, and HF_HUB_DISABLE_SYMLINKS"
        )
    try:
        entries = HfApi().get_paths_info(repository.name, name, revision=repository.revision)
    except Exception as error:  # as above
        raise _told(error, repository) from error
    (entry,) = (entry for entry in entries if isinstance(entry, RepoFile))
    return str(entry.lfs.sha256 if entry.lfs else entry.blob_id)


def _digest(path: Path, length: int) -> str:
    """SHA-256, or of a digest of 40 letters Git's SHA-1 of a blob, in hex."""
    with path.open("rb") as file:
        if length == 40:
            start = b"blob %d\0" % path.stat().st_size
            return hashlib.file_digest(file, lambda: hashlib.sha1(start)).hexdigest()
        return hashlib.file_digest(file, "sha256").hexdigest()


def _endpoint() -> str:
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


def _told(error: BaseException, repository: Repository) -> UserError:
    """What the client's error means, in a sentence."""
    from huggingface_hub import errors as theirs

    name, hub, cause = repository.name, _endpoint(), error.__cause__
    if isinstance(error, FileNotFoundError) and not error.errno:
        # What the hub said is wrapped into this when the cache has not got the files either.
        if cause is not None and not isinstance(cause, theirs.OfflineModeIsEnabled):
            return _told(cause, repository)
        return UserError(
            f"'{repository}' is not in the cache '{_cache()}', or not all of it, and "
            "nothing may be downloaded (--offline or HF_HUB_OFFLINE); get it with a connection"
        )
    if isinstance(error, theirs.GatedRepoError):
        return UserError(
            f"{name!r} is given only to those who accept its conditions: do so at {hub}/{name}, "
            "then log in by 'hf auth login'"
        )
    if isinstance(error, theirs.RepositoryNotFoundError):
        return UserError(
            f"{hub} has no model {name!r}, or a private one: check the name, or log in by "
            "'hf auth login'"
        )
    if isinstance(error, theirs.RevisionNotFoundError):
        return UserError(f"{name!r} at {hub} has no revision {repository.revision!r}")
    if isinstance(error, theirs.HfHubHTTPError):
        return UserError(f"'{repository}': {hub} {_refusal(error)}; what is whole is kept")
    if isinstance(error, OSError) and error.errno:
        return files.unwritable(Path(error.filename or _cache()), error)
    return UserError(
        f"'{repository}' could not be downloaded from {hub} ({first_line(error)}); check the "
        "connection and try again: what is whole is kept"
    )


def _refusal(error: OSError) -> str:
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if status == 429:
        wait = response.headers.get("Retry-After", "") if response is not None else ""
        when = f"in {wait} seconds" if wait.isdigit() else "in some minutes"
        return f"has had too many requests from here (429): try again {when}"
    return f"answers {status} ({first_line(error)}): try again later"
