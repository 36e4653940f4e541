"""The model card: what a hub reads, what it is, its figures, licence and origin."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from colorjax import files, release
from colorjax.errors import UserError, first_line

METHODS = {"unet": "L-CAD", "cold_unet": "Diffusing Colors"}
_FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
_FIGURES = {
    "type": "object",
    "minProperties": 1,
    "additionalProperties": {"type": "object", "additionalProperties": {"type": "number"}},
}


class Card(NamedTuple):
    """What a model card says beside what the release itself tells.

    Attributes:
        repository: `owner/name` that it will have on the hub, "" if nobody knows yet.
        licence: of the weights, by the name that hubs have for it.
        figures: rows of numbers, such as `python -m colorjax.evaluate --json` writes.
        text: what people have written of it, in Markdown.
    """

    repository: str
    licence: str
    figures: Mapping[str, Mapping[str, float]]
    text: str


def read_figures(path: Path | None) -> dict[str, dict[str, float]]:
    """Reads what `evaluate --json` wrote; no file, no figures.

    Raises:
        UserError: it is something else.
    """
    if path is None:
        return {}
    advice = "give a file that python -m colorjax.evaluate --json has written"
    figures: dict[str, dict[str, float]] = files.read_json(path, _FIGURES, advice=advice)
    return figures


def read_text(path: Path | None) -> str:
    """Reads a card that people wrote, without what is for the hub.

    Raises:
        UserError: it cannot be read.
    """
    if path is None:
        return ""
    try:
        return _FRONT_MATTER.sub("", path.read_text("utf-8")).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"'{path}' cannot be read as a card ({first_line(error)})") from error


def written(directory: Path, card: Card) -> str:
    """The card of a release, in Markdown with a head of YAML."""
    config = release.read_config(directory)
    repository = card.repository or "OWNER/NAME"
    parts = sorted(release.parts_in(directory))
    methods = [name for part, name in METHODS.items() if part in parts]
    sections = [
        f"---\n{_head(config, card, methods)}\n---",
        card.text or f"# {repository.rpartition('/')[2]}\n\n{_about(config, methods)}",
        f"## Use\n\n    python -m colorjax.colorize photo.jpg --model hub:{repository}",
        "The same name goes to `colorjax.load` and, to train on from it, to `--config.init_from`.",
        "## Parts\n\n" + _parts(directory, parts),
        *(["## Figures\n\n" + _table(card.figures)] if card.figures else []),
        "## Licence\n\n" + _licence(config, card.licence),
    ]
    return "\n\n".join(sections) + "\n"


def _head(config: Mapping[str, Any], card: Card, methods: Sequence[str]) -> str:
    from huggingface_hub import ModelCardData

    origins = (re.fullmatch(r"hub:([^@]+)(@.*)?", origin) for origin in config.get("origin", ()))
    data = ModelCardData(
        license=card.licence,
        library_name="colorjax",
        pipeline_tag="image-to-image",
        tags=["image-colorization", "jax", "flax", *(m.lower().replace(" ", "-") for m in methods)],
        base_model=[origin[1] for origin in origins if origin] or None,
    )
    return str(data.to_yaml())


def _about(config: Mapping[str, Any], methods: Sequence[str]) -> str:
    size = f" at {config['image_size']} pixels" if "image_size" in config else ""
    return (
        f"A model of colorjax for {' and '.join(methods) or 'other models'}{size}. It colours "
        "photographs by a sentence or by none; width, height and lightness stay the photograph's, "
        "and the colours are invented."
    )


def _parts(directory: Path, parts: Sequence[str]) -> str:
    rows = ["| part | parameters | stored as | MB |", "|---|---:|---|---:|"]
    for part in parts:
        path = directory / f"{part}.safetensors"
        count, kinds = _content(path)
        size = path.stat().st_size / 1e6
        rows.append(f"| `{part}` | {count:,} | {', '.join(sorted(kinds))} | {size:,.1f} |")
    return "\n".join(rows)


def _content(path: Path) -> tuple[int, set[str]]:
    """How many numbers a file of weights has, and of which types, by its header."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            leaves = [file.get_slice(name) for name in file.keys()]  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError) as error:
        raise UserError(f"'{path}' is no file of weights ({first_line(error)})") from error
    count = sum(math.prod(leaf.get_shape()) for leaf in leaves)
    return count, {str(leaf.get_dtype()) for leaf in leaves}


def _table(figures: Mapping[str, Mapping[str, float]]) -> str:
    columns = list(dict.fromkeys(name for row in figures.values() for name in row))
    lines = [f"| | {' | '.join(columns)} |", "|---|" + "---:|" * len(columns)]
    for name, row in figures.items():
        cells = (f"{row[column]:.5g}" if column in row else "-" for column in columns)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _licence(config: Mapping[str, Any], licence: str) -> str:
    origins = [f"- `{origin}`" for origin in config.get("origin", ())]
    text = f"The weights are licensed `{licence}`; colorjax's code is Apache-2.0."
    return text + ("\n\nThey come from:\n\n" + "\n".join(origins) if origins else "")
