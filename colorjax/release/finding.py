"""How a model's name becomes a directory: bundled, a path, fetched into the cache, or on a hub."""

import json
import os
import re
from fnmatch import fnmatch
from pathlib import Path

from colorjax import files, hub
from colorjax.errors import UserError
from colorjax.release import sums

BUNDLED = Path(__file__).parent.parent / "bundled"
MOST_CONFIG_BYTES = 2**20
LISTS = ("config.json", sums.CHECKSUMS)
# What of a folder or of a repository on a hub belongs to a release; the card is for people.
FILES = (*LISTS, "*.safetensors", "tokenizer/*")
FOREIGN = {"_class_name", "architectures", "model_type"}  # keys of other projects' config.json
_NAME = re.compile(r"[a-z0-9][a-z0-9_]*")  # of what is in the cache; a path may be called so too


def locate(model: str | os.PathLike[str]) -> Path:
    """The directory of a model, by whatever name.

    A path that is no string, or one with a slash such as "./bundled", is that folder's before it is
    a name: what was located once is located again.

    Args:
        model: "bundled", a directory, the name of one that `python -m colorjax.fetch` has put into
            the cache, or `hub:owner/name[@revision]`, which is downloaded if the cache has it not.

    Raises:
        UserError: there is no model.
    """
    is_folder = not isinstance(model, str) and (Path(model) / "config.json").is_file()
    model = os.fspath(model)
    if model.startswith(hub.PREFIX):
        return on_hub(hub.parse(model))
    directory = BUNDLED if model == "bundled" and not is_folder else Path(model)
    named = bool(_NAME.fullmatch(model))
    for place in (directory, *([cached(model)] if named else ())):
        if (place / "config.json").is_file() and not _is_transformers(place):
            return place
    if advice := _conversion(directory):
        raise UserError(f"{str(directory)!r} is no release of colorjax but {advice}")
    fetch = f"python -m colorjax.fetch {model} gets it, if that has it; else " if named else ""
    raise UserError(
        f"model {model!r} is unknown: {fetch}give 'bundled', a directory with a config.json, such "
        "as the 'release' folder of a training run or what python -m colorjax.convert has written, "
        "a name that python -m colorjax.fetch lists, or hub:owner/name"
    )


def on_hub(repository: hub.Repository, *, newest: bool = False, offline: bool = False) -> Path:
    """A release on a hub, in the hub's cache, where its checksums are compared as everywhere.

    Args:
        newest: ask the hub what the revision is today, whatever the cache has of it.
        offline: ask nobody.

    Raises:
        UserError: it cannot be had, or is no release.
    """
    directory = None if newest else hub.cached(repository, LISTS)
    try:
        # The lists come alone: what is no release may have many gigabytes.
        directory = directory or hub.snapshot(repository, LISTS, offline)
    except hub.Absent as error:
        raise _no_release(repository) from error
    if _is_transformers(directory):
        raise _no_release(repository)
    names = [n for n in sums.read(directory) if ".." not in n and any(fnmatch(n, f) for f in FILES)]
    if not all((directory / name).is_file() for name in names):
        hub.snapshot(repository._replace(revision=directory.name), [*LISTS, *names], offline)
    return directory


def _no_release(repository: hub.Repository) -> UserError:
    return UserError(
        f"'{repository}' is no release of colorjax; python -m colorjax.convert makes one of other "
        "projects' weights"
    )


def _is_transformers(directory: Path) -> bool:
    """Whether the `config.json` is one of transformers or diffusers, which name a class there."""
    try:
        with (directory / "config.json").open("rb") as file:
            config = json.loads(file.read(MOST_CONFIG_BYTES))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(config, dict) and "format" not in config and bool(FOREIGN & config.keys())


def _conversion(path: Path) -> str:
    """What another project's weights are, and the command that makes a release of them."""

    def command(*formats: str) -> str:
        return (
            f"convert it by python -m colorjax.convert --format={'|'.join(formats)} --input={path} "
            "--output=DIR, and give DIR"
        )

    if (path / "model_index.json").is_file():
        kinds = command("diffusers", "init-lcad", "init-cold")
        return (
            f"a Stable Diffusion folder of diffusers: {kinds}. diffusers colours with it as it is, "
            "init-lcad and init-cold (which takes CLIP by a second --input) start a training"
        )
    if _is_transformers(path):
        return f"a folder of transformers or diffusers: {command('clip', 'clipseg')}"
    if path.is_file() and path.suffix in (".ckpt", ".pt", ".pth", ".bin", ".safetensors"):
        return f"a file of weights: {command('lcad', 'ldm', 'init-lcad')}"
    return ""


def cached(part: str) -> Path:
    """Where what was fetched is looked for, a model or a network that several share.

    It is ~/.cache/colorjax/weights/PART.
    """
    return files.cache_folder("weights", part)
