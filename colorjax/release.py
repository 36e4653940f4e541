"""Release directories: a model as `config.json`, one safetensors file a part, tokenizer, checksums.

Parts are named trees: `text_encoder`, `image_encoder`, `vae`, `luminance_encoder`, `unet`. Knows
trees, not models.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from colorjax.errors import UserError
from colorjax.types import Params

FORMAT = 1
CHECKSUMS = "SHA256SUMS"
BUNDLED = Path(__file__).parent / "bundled"


def locate(model: str) -> Path:
    """The directory of `bundled` or of a path.

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
    try:
        config = json.loads((directory / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"'{directory}/config.json' cannot be read ({error})") from error
    if config.get("format") != FORMAT:
        raise UserError(
            f"'{directory}' has release format {config.get('format')}; this version reads {FORMAT}"
        )
    return config


def parts_in(directory: Path) -> set[str]:
    return {path.stem for path in directory.glob("*.safetensors")}


def read_part(directory: Path, part: str, dtype: Any = np.float32) -> Params:
    """One part's tree, checked against the checksums.

    Raises:
        UserError: a missing or damaged file.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = directory / f"{part}.safetensors"
    if not path.is_file():
        raise UserError(
            f"'{directory}' has no part {part!r}; it has {', '.join(sorted(parts_in(directory)))}"
        )
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != _checksums(directory).get(path.name):
        raise UserError(f"'{path}' does not match {CHECKSUMS}: it is damaged, get it again")
    try:
        flat = load(data)
    except SafetensorError as error:
        raise UserError(f"'{path}' is not a safetensors file ({error})") from error
    return unflatten_dict({k: v.astype(dtype) for k, v in flat.items()}, sep="/")


def write(
    directory: Path,
    config: Mapping[str, Any],
    parts: Mapping[str, Params],
    tokenizer: Path | None = None,
    dtype: Any = np.float32,
) -> None:
    """Adds parts to a release directory, or makes it. The checksums are written last."""
    from safetensors.numpy import save_file

    directory.mkdir(parents=True, exist_ok=True)
    for name, params in parts.items():
        flat = {k: np.ascontiguousarray(v, dtype) for k, v in flatten_dict(params, sep="/").items()}
        save_file(flat, directory / f"{name}.safetensors")
    if tokenizer is not None and tokenizer.resolve() != (directory / "tokenizer").resolve():
        shutil.copytree(tokenizer, directory / "tokenizer", dirs_exist_ok=True)
    text = json.dumps({"format": FORMAT, **config}, indent=1, sort_keys=True)
    (directory / "config.json").write_text(text + "\n")
    files = sorted(path for path in directory.rglob("*") if _is_checked(path))
    lines = [f"{_sha256(path)}  {path.relative_to(directory).as_posix()}\n" for path in files]
    (directory / CHECKSUMS).write_text("".join(lines))


def _is_checked(path: Path) -> bool:
    return path.suffix in (".safetensors", ".json", ".txt")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _checksums(directory: Path) -> dict[str, str]:
    path = directory / CHECKSUMS
    if not path.is_file():
        raise UserError(f"'{directory}' has no {CHECKSUMS}: the release is incomplete")
    rows = (line.split(maxsplit=1) for line in path.read_text().splitlines())
    return {name.strip(): digest for digest, name in rows}


def find_part(directories: Sequence[Path], part: str) -> Path | None:
    """The first directory that has the part."""
    for directory in directories:
        if part in parts_in(directory):
            return directory
    return None
