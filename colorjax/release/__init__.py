"""Release directories: a model as `config.json`, one safetensors file a part, tokenizer, checksums.

Parts are named trees: `text_encoder`, `image_encoder`, `vae`, `luminance_encoder`, `unet`. Knows
trees, not models.
"""

import json
import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from colorjax import files, hub
from colorjax.errors import UserError, first_line
from colorjax.maths.types import Params
from colorjax.release import schema, sums
from colorjax.release.sums import parts_in
from colorjax.release.writing import FORMAT, write

__all__ = [
    "BUNDLED",
    "FILES",
    "cached",
    "conform",
    "digest",
    "find_part",
    "locate",
    "parts_in",
    "read_config",
    "read_lpips",
    "read_part",
    "tokenizer",
    "write",
]
BUNDLED = Path(__file__).parent.parent / "bundled"
MOST_CONFIG_BYTES = 2**20
# What of a repository on a hub belongs to a release; the card is for people.
FILES = ("config.json", "SHA256SUMS", "*.safetensors", "tokenizer/*")
FOREIGN = {"_class_name", "architectures", "model_type"}  # keys of other projects' config.json
_ODD_HEADER = (AttributeError, LookupError, TypeError, ValueError)
_NAME = re.compile(r"[a-z0-9][a-z0-9_]*")  # of what is in the cache; a path may be called so too
_ADVICE = "get the release again, or convert or train it again"


def locate(model: str) -> Path:
    """The directory of a model, by whatever name.

    Args:
        model: "bundled", a directory, the name of one that `python -m colorjax.fetch` has put into
            the cache, or `hub:owner/name[@revision]`, which is downloaded if the cache has it not.

    Raises:
        UserError: there is no model.
    """
    if model.startswith(hub.PREFIX):
        return _on_hub(hub.parse(model))
    directory = BUNDLED if model == "bundled" else Path(model)
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


def _on_hub(repository: hub.Repository) -> Path:
    """A release in the hub's cache, where its checksums are compared as everywhere."""
    directory = hub.cached(repository, FILES)
    if directory is None or not _is_whole(directory):
        directory = hub.snapshot(repository, FILES)
    if _is_transformers(directory):
        raise UserError(
            f"'{repository}' is no release of colorjax but a model of transformers or diffusers; "
            "python -m colorjax.convert makes a release of its files"
        )
    return directory


def _is_whole(directory: Path) -> bool:
    """Whether all that a release lists is there: a download may have been cut."""
    listed = [name for name in sums.read(directory) if any(fnmatch(name, p) for p in FILES)]
    return all((directory / name).is_file() for name in listed)


def _is_transformers(directory: Path) -> bool:
    """Whether the `config.json` is one of transformers or diffusers, which name a class there."""
    try:
        config = json.loads((directory / "config.json").read_bytes()[:MOST_CONFIG_BYTES])
    except (OSError, ValueError):
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


def read_config(directory: Path) -> dict[str, Any]:
    """A release's `config.json`, checked against the checksums and its schema.

    Raises:
        UserError: it is missing, damaged, no JSON, of a format that this version does not read,
            or describes a model that cannot be.
    """
    path = directory / "config.json"
    config = files.read_json(path, advice=_ADVICE, most_bytes=MOST_CONFIG_BYTES)
    version = config.get("format") if isinstance(config, dict) else None
    if version != FORMAT:
        raise UserError(f"'{directory}' has release format {version}; this version reads {FORMAT}")
    sums.check(directory, path.name)
    files.check_json(config, schema.CONFIG, path, _ADVICE)
    for contradiction in schema.contradictions(config):
        raise UserError(f"'{path}' describes no model ({contradiction}); {_ADVICE}")
    return config


def tokenizer(directory: Path, names: Iterable[str]) -> Path:
    """The folder of a release's vocabulary, those files of which are as they were written.

    A folder beside which there are no checksums is a user's own: there is nothing to compare.

    Args:
        names: of the files that will be read of it.

    Raises:
        UserError: one of them is damaged, or lies there without belonging to the release.
    """
    folder = directory / "tokenizer"
    if (directory / sums.CHECKSUMS).is_file():
        for name in names:
            if (folder / name).exists():
                sums.check(directory, f"tokenizer/{name}")
    return folder


def read_part(directory: Path, part: str, dtype: Any = np.float32) -> Params:
    """One part's tree, checked against the checksums.

    It is read leaf by leaf: a model read as bfloat16 is never in memory as float32.

    Raises:
        UserError: a missing or damaged file.
    """
    from safetensors import SafetensorError, safe_open

    path = directory / f"{part}.safetensors"
    if not path.is_file():
        raise UserError(
            f"'{directory}' has no part {part!r}; it has {', '.join(sorted(parts_in(directory)))}"
        )
    sums.check(directory, path.name)
    flat = {}
    try:
        with safe_open(path, framework="np") as file:
            keys = list(file.keys())
        for key in keys:
            # Opened anew for each leaf, since what was read stays mapped until the file is closed.
            with safe_open(path, framework="np") as file:
                flat[key] = file.get_tensor(key).astype(dtype, copy=False)
        return unflatten_dict(flat, sep="/")
    # A header may name types that NumPy has not, or a leaf that is a branch as well.
    except (SafetensorError, OSError, *_ODD_HEADER) as error:
        raise UserError(
            f"'{path}' is not a part's safetensors file ({first_line(error)}); {_ADVICE}"
        ) from error


def cached(part: str) -> Path:
    """Where what was fetched is looked for, a model or a network that several share.

    It is ~/.cache/colorjax/weights/PART.
    """
    return files.cache_folder("weights", part)


def read_lpips(backbone: str, directory: str = "") -> Params:
    """LPIPS's weights, from where `convert` put them: by default ~/.cache/colorjax/weights.

    Raises:
        UserError: they are not there, or damaged.
    """
    return read_part(find_lpips(backbone, directory), f"lpips_{backbone}")


def find_lpips(backbone: str, directory: str = "") -> Path:
    """The directory that `read_lpips` reads.

    Raises:
        UserError: the weights are not there.
    """
    part = f"lpips_{backbone}"
    path = Path(directory) if directory else cached(part)
    if part not in parts_in(path):
        raise UserError(
            f"LPIPS needs pretrained weights, which '{path}' has not: get them by "
            f"python -m colorjax.fetch {part}"
            + (f", which puts them into '{cached(part)}', and leave DIR out" if directory else "")
        )
    return path


def digest(directory: Path, part: str) -> str:
    """The recorded SHA-256 of a part's file; "" for one that is not listed."""
    return min(sums.read(directory).get(f"{part}.safetensors", {""}))


def conform(expected: Params, params: Params, what: str, may_lack: str = "^$") -> Params:
    """Checks that parameters have the leaves and shapes of a model, and completes them.

    Args:
        expected: the model's own parameters, such as fresh ones, or their shapes.
        params: parameters from a file.
        what: how a message calls `params`.
        may_lack: a regex of the paths that `params` need not have; these come from `expected`.

    Raises:
        UserError: a leaf more, a leaf less or another shape, with all three lists.
    """
    ours, theirs = flatten_dict(expected, sep="/"), flatten_dict(params, sep="/")
    for key in ours.keys() & theirs:
        if ours[key].shape == () and theirs[key].shape == (1,):  # as scalars were once written
            theirs[key] = theirs[key].reshape(())
    faults = {
        "missing": [k for k in ours if k not in theirs and not re.search(may_lack, k)],
        "unknown": [k for k in theirs if k not in ours],
        "of another shape": [k for k in ours.keys() & theirs if ours[k].shape != theirs[k].shape],
    }
    if any(faults.values()):
        lists = (f"{name}: {_listed(sorted(keys))}" for name, keys in faults.items() if keys)
        raise UserError(f"{what} is of another model: {'; '.join(lists)}")
    return unflatten_dict(ours | theirs, sep="/")


def _listed(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def find_part(directories: Sequence[Path], part: str) -> Path | None:
    """The first directory that has the part."""
    for directory in directories:
        if part in parts_in(directory):
            return directory
    return None
