"""From a name to a release in the cache: downloaded, checked, converted once, and there whole."""

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from colorjax import files, release
from colorjax.convert.__main__ import convert
from colorjax.errors import UserError
from colorjax.fetch import sources
from colorjax.fetch.sources import Download
from colorjax.fetch.table import Model


def is_there(model: Model) -> bool:
    """Whether it is in the cache; what was put there is whole."""
    return release.cached(model.name).is_dir()


def fetch(
    model: Model, own: Sequence[Path] = (), *, offline: bool = False, again: bool = False
) -> Path:
    """Puts a model into the cache, unless it is there; returns its directory.

    Several processes may do so at once: one works, the others wait and find it.

    Args:
        own: files or folders that the user has, instead of the model's inputs, in their order.
        offline: take only what is on this machine.
        again: replace what is there.

    Raises:
        UserError: it cannot be had or converted, or the cache cannot be written; what was there
            is as it was.
    """
    target = release.cached(model.name)
    workspace = files.cache_folder("downloads", model.name)
    with _alone(workspace):
        if is_there(model) and not again:
            return target
        if target.is_symlink() and not target.exists():
            target.unlink()  # of files that were removed from the hub's cache
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(workspace / "release")
        for leftover in workspace.glob(".*.partial*"):  # of a killed conversion
            shutil.rmtree(leftover, ignore_errors=True)
        inputs = [Download(path, str(path)) for path in own]
        for wanted in model.inputs[len(own) :]:
            inputs.append(sources.download(wanted, workspace, model.most_bytes, offline))
        target.parent.mkdir(parents=True, exist_ok=True)
        if model.format:
            _build(model, inputs, workspace, offline)
            files.put_in_place(workspace / "release", target)
        else:
            _link(inputs[0].path, target)
        shutil.rmtree(workspace)
    return target


def _build(model: Model, inputs: Sequence[Download], workspace: Path, offline: bool) -> None:
    tokenizer = None
    if model.tokenizer:
        tokenizer = sources.download(model.tokenizer, workspace, model.most_bytes, offline).path
    origin = [download.origin for download in inputs]
    about: dict[str, Any] = {"licence": model.licence, "origin": origin}
    paths = [download.path for download in inputs]
    convert(model.format, paths, workspace / "release", tokenizer=tokenizer, about=about)


def _link(folder: Path, target: Path) -> None:
    """Lets the cache name a folder that stays where it is."""
    name = target.with_name(f".{target.name}.link")
    name.unlink(missing_ok=True)
    name.symlink_to(folder.resolve(), target_is_directory=True)
    os.replace(name, target)


@contextlib.contextmanager
def _alone(workspace: Path) -> Iterator[None]:
    """One process at a time, as long as it lives, with a folder for its work."""
    lock = FileLock(workspace.with_name(f".{workspace.name}.lock"))
    try:
        workspace.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print(f"colorjax: another process fetches '{workspace.name}'; waiting for it")
            lock.acquire()
        workspace.mkdir(exist_ok=True)
    except OSError as error:
        lock.release()
        raise files.unwritable(workspace, error) from error
    try:
        yield
    finally:
        lock.release()


def check_licence(model: Model, accepted: str | None) -> None:
    """Raises `UserError` where a licence has to be accepted and is not."""
    if model.accept and accepted != model.licence:
        raise UserError(
            f"{model.name!r} is licensed {model.licence}: {model.meaning}; if you accept that, say "
            f"so by --accept_licence {model.licence}"
        )
