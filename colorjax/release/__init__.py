"""Release directories: a model as `config.json`, one safetensors file a part, tokenizer, checksums.

Parts are named trees: `text_encoder`, `image_encoder`, `vae`, `luminance_encoder`, `unet`. Knows
trees, not models.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from colorjax import files
from colorjax.errors import UserError, first_line
from colorjax.maths.types import Params
from colorjax.release import schema, sums
from colorjax.release.finding import BUNDLED, FILES, MOST_CONFIG_BYTES, cached, locate, on_hub
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
    "on_hub",
    "parts_in",
    "read_config",
    "read_lpips",
    "read_part",
    "tokenizer",
    "write",
]
_ODD_HEADER = (AttributeError, LookupError, TypeError, ValueError)
_ADVICE = "get the release again, or convert or train it again"


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

    Vectors, as norms and biases are, stay float32 in a model that is read as something narrower.

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
                leaf = file.get_tensor(key)
                flat[key] = leaf.astype(dtype if leaf.ndim > 1 else np.float32, copy=False)
        return unflatten_dict(flat, sep="/")
    # A header may name types that NumPy has not, or a leaf that is a branch as well.
    except (SafetensorError, OSError, *_ODD_HEADER) as error:
        raise UserError(
            f"'{path}' is not a part's safetensors file ({first_line(error)}); {_ADVICE}"
        ) from error


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
