"""Release directories: a model as `config.json`, one safetensors file a part, tokenizer, checksums.

Parts are named trees: `text_encoder`, `image_encoder`, `vae`, `luminance_encoder`, `unet`. Knows
trees, not models.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from colorjax import files
from colorjax.errors import UserError
from colorjax.release import schema, sums
from colorjax.release.finding import BUNDLED, FILES, MOST_CONFIG_BYTES, cached, locate, on_hub
from colorjax.release.parts import (
    ADVICE,
    Model,
    check_size,
    conform,
    read_model,
    read_part,
)
from colorjax.release.sums import parts_in
from colorjax.release.writing import FORMAT, write

__all__ = [
    "ADVICE",
    "BUNDLED",
    "FILES",
    "Model",
    "cached",
    "check_size",
    "conform",
    "digest",
    "find_lpips",
    "find_part",
    "locate",
    "on_hub",
    "parts_in",
    "read_config",
    "read_model",
    "read_part",
    "tokenizer",
    "write",
]


def read_config(directory: Path) -> dict[str, Any]:
    """A release's `config.json`, checked against the checksums and its schema.

    Raises:
        UserError: it is missing, damaged, no JSON, of a format that this version does not read,
            or describes a model that cannot be.
    """
    path = directory / "config.json"
    config = files.read_json(path, advice=ADVICE, most_bytes=MOST_CONFIG_BYTES)
    version = config.get("format") if isinstance(config, dict) else None
    if version != FORMAT:
        raise UserError(f"'{directory}' has release format {version}; this version reads {FORMAT}")
    sums.check(directory, path.name)
    files.check_json(config, schema.CONFIG, path, ADVICE)
    for contradiction in schema.contradictions(config):
        raise UserError(f"'{path}' describes no model ({contradiction}); {ADVICE}")
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


def find_lpips(backbone: str, directory: str = "") -> Path:
    """The directory with LPIPS's weights, where `convert` put them: by default the cache.

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


def find_part(directories: Sequence[Path], part: str) -> Path | None:
    """The first directory that has the part."""
    for directory in directories:
        if part in parts_in(directory):
            return directory
    return None
