"""Writing release directories, so that an interruption at any point leaves one that can be read."""

import functools
import hashlib
import json
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict

from colorjax import files
from colorjax.errors import first_line
from colorjax.maths.types import Params
from colorjax.release import sums

FORMAT = 1


def write(
    directory: Path,
    config: Mapping[str, Any],
    parts: Mapping[str, Params],
    tokenizer: Path | None = None,
    dtype: Any = np.float32,
    inherit: Path | None = None,
    without: Collection[str] = (),
) -> None:
    """Adds parts to a release directory, or makes the directory.

    Every file is whole or not there. The checksums come last, and those of files not written here
    stay as they were: damage done to a file meanwhile is not confirmed. A directory without
    checksums is new: what lies in it is listed.

    Args:
        directory: the release; parts that it has already and `parts` has not stay.
        config: all of `config.json` but the format's version.
        parts: name -> tree of arrays.
        tokenizer: a folder whose files are copied.
        dtype: of the stored weights.
        inherit: another release, from which the parts are copied that are missing then.
        without: parts of it that are not copied.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if (directory / sums.CHECKSUMS).is_file():
        digests = sums.read(directory)
    else:
        digests = _listed_anew(directory)
    for name, params in parts.items():
        flat = {
            k: np.asarray(v, dtype, order="C") for k, v in flatten_dict(params, sep="/").items()
        }
        file = f"{name}.safetensors"
        files.replace(directory / file, functools.partial(_save, flat))
        digests[file] = {sums.digest(directory / file)}
    if inherit is not None:
        # What was just written is not listed yet.
        digests |= _copy_missing(inherit, directory, {*parts, *without})
    if tokenizer is not None:
        digests |= _copy_tokenizer(tokenizer, directory, digests)
    text = json.dumps({"format": FORMAT, **config}, indent=1, sort_keys=True) + "\n"
    digest = hashlib.sha256(text.encode()).hexdigest()
    if "config.json" in digests:
        sums.write(directory, digests | {"config.json": digests["config.json"] | {digest}})
    files.write_text(directory / "config.json", text)
    sums.write(directory, digests | {"config.json": {digest}})


def _listed_anew(directory: Path) -> sums.Digests:
    paths = [path for path in directory.rglob("[!.]*") if path.suffix in sums.LISTED]
    return {path.relative_to(directory).as_posix(): {sums.digest(path)} for path in paths}


def _copy_tokenizer(source: Path, directory: Path, digests: sums.Digests) -> sums.Digests:
    """Copies a vocabulary's files, but one that is the release's own; returns their checksums."""
    own = source.resolve() == (directory / "tokenizer").resolve()
    copied: sums.Digests = {}
    for path in sorted(source.glob("[!.]*")):
        name = f"tokenizer/{path.name}"
        if path.suffix not in sums.LISTED or (own and name in digests):
            continue
        if not own:
            files.write_bytes(directory / name, path.read_bytes())
        copied[name] = {sums.digest(directory / name)}
    return copied


def _save(flat: Mapping[str, np.ndarray], path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    path.touch()
    readers = path.stat().st_mode  # an ordinary file's; safetensors' own is its owner's alone
    try:
        save_file(dict(flat), path)
        path.chmod(readers)
    except SafetensorError as error:  # what it makes of a full disk
        raise OSError(first_line(error)) from error


def _copy_missing(source: Path, directory: Path, without: Collection[str]) -> sums.Digests:
    """Copies the parts that a release lacks from another one; returns their checksums."""
    missing = sums.parts_in(source) - sums.parts_in(directory) - set(without)
    names = [f"{part}.safetensors" for part in missing]
    for file in names:
        files.replace(directory / file, functools.partial(shutil.copyfile, source / file))
    known = sums.read(source)
    return {file: known[file] for file in names}
