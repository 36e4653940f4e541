"""Models on a hub, as `hub:owner/name[@revision]`: what Hugging Face's client downloads, checked.

The client resumes what is cut, shares its cache with other programs, and honours `HF_HOME`,
`HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE` and proxies. It compares sizes; digests are compared
here: in the client's cache a file is called by the hub's ETag, which is the SHA-256 of a large one
and Git's SHA-1 of a small one.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from colorjax import files
from colorjax.errors import UserError, first_line

PREFIX = "hub:"
_REFERENCE = re.compile(r"hub:(\w[\w.-]*/\w[\w.-]*)(?:@(\w[\w./-]*))?", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


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


def snapshot(repository: Repository, wanted: Sequence[str], offline: bool = False) -> Path:
    """Downloads files of a model, of which those that are in the cache already are kept.

    Args:
        wanted: paths in the repository, which must all be there, and patterns such as
            `*.safetensors`, which need not.
        offline: take what is in the cache, and ask nobody.

    Returns:
        The folder with the files, called by the commit that the revision is.

    Raises:
        UserError: they cannot be had, or are damaged, which deletes what is; no file is ever half
            there.
    """
    folder = cached(repository, wanted) if offline else _download(repository, wanted)
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


def _download(repository: Repository, wanted: Sequence[str]) -> Path:
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            repository.name,
            revision=repository.revision,
            allow_patterns=list(wanted),
            library_name="colorjax",
        )
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
