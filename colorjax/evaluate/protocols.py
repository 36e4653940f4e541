"""What is measured: figures beside those of gray, mean chroma and truth; and how prompts act."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt32

from colorjax.colorize.colorizer import Colorizer
from colorjax.data import colour_names, records, transforms
from colorjax.errors import UserError
from colorjax.evaluate import pictures
from colorjax.evaluate.pictures import Selection, coloured
from colorjax.maths import color, metrics
from colorjax.models.layers import apply
from colorjax.models.perceptual import Lpips, enlarged
from colorjax.types import Array, Params

MEAN_CHROMA_PICTURES = 10_000
LPIPS_SIDE = 64  # smaller pictures are enlarged to it, or VGG16's last maps have nothing to see
PULLED_ABOVE = 5.0  # units of ab from which on two colours count as different

Row = dict[str, float | int]
Figures = dict[str, Row]
Shown = Float[np.ndarray, "n h w 3"]  # [0,1]


class Colouring(NamedTuple):
    """How the selected pictures are coloured."""

    captions: str  # their level of detail
    seed: int
    by_masks: bool  # instance-aware, by the model's own masks


class Output(NamedTuple):
    """A batch of pictures and what the model makes of them."""

    truth: Shown
    lightness: Float[np.ndarray, "n h w 1"]
    raw: Float[np.ndarray, "n h w 3"]  # [-1,1]


def outputs(selection: Selection, colorizer: Colorizer, colouring: Colouring) -> Iterator[Output]:
    """The selected pictures coloured, batch by batch."""
    for batch in pictures.batches(selection, colorizer, colouring.captions):
        lightness = color.lightness(batch.truth)
        spans = None
        if colouring.by_masks:
            spans = pictures.phrase_spans(colorizer.tokenize, batch.captions)
        seeds = pictures.seeds_of(batch.places, colouring.seed)
        raw = coloured(colorizer, lightness, batch.input_ids, seeds, spans)
        yield Output(batch.truth, lightness, raw)


def table(
    selection: Selection, colorizer: Colorizer, colouring: Colouring, lpips: Params | None = None
) -> Figures:
    """The figures of every row, over all selected pictures.

    Args:
        lpips: VGG16's weights, to measure LPIPS too.
    """
    averaged, mean_ab = mean_chroma(selection)
    scores: dict[str, list[np.ndarray]] = {}
    for truth, lightness, raw in outputs(selection, colorizer, colouring):
        plain, guided = colorizer.reconstruct(color.from_unit(truth))
        rows = {
            f"output ({colouring.captions} captions)": pictures.shown(raw, lightness),
            "output, raw decode": np.clip(color.to_unit(raw), 0.0, 1.0),
            "gray": painted(lightness, np.zeros(2, np.float32)),
            f"mean chroma of {averaged}": painted(lightness, mean_ab),
            "autoencoder": pictures.shown(plain, lightness),
            "autoencoder, guided decoder": pictures.shown(guided, lightness),
            "truth": truth,
        }
        for name, image in rows.items():
            scores.setdefault(name, []).append(np.asarray(_scores(image, truth, lpips)))
    return {name: _figures(np.concatenate(parts, axis=1)) for name, parts in scores.items()}


def painted(lightness: Float[np.ndarray, "n h w 1"], ab: Float[np.ndarray, "2"]) -> Shown:
    """One chroma for all pixels, at each pixel's lightness."""
    chroma = np.broadcast_to(ab, (*lightness.shape[:-1], 2))
    lab = np.concatenate([lightness, chroma], axis=-1)
    rgb: np.ndarray = np.clip(color.lab_to_srgb(color.fit_gamut(lab)), 0.0, 1.0)
    return rgb


@jax.jit
def _scores(image: Array, truth: Array, lpips: Params | None) -> jax.Array:
    # What is shown is 8-bit, so that is what is measured.
    image = jnp.round(image * 255.0) / 255.0
    values = [metrics.mse(image, truth), metrics.ssim(image, truth), metrics.colourfulness(image)]
    if lpips is not None:
        pair = (enlarged(color.from_unit(side), LPIPS_SIDE) for side in (image, truth))
        values.append(apply(Lpips("vgg16"), lpips, *pair))
    return jnp.stack(values)


def _figures(values: Float[np.ndarray, "metrics n"]) -> Row:
    squared, ssim, colourfulness = values[:3]
    figures: Row = {
        # Capped as the per-image one: the truth's is infinite, which JSON cannot say.
        "psnr_pooled": min(60.0, float(metrics.psnr_pooled(jnp.asarray(squared)))),
        "psnr_per_image": float(metrics.psnr_per_image(jnp.asarray(squared)).mean()),
        "ssim": float(ssim.mean()),
        "colourfulness": float(colourfulness.mean()),
    }
    if len(values) > 3:
        figures["lpips"] = float(values[3].mean())
    return figures | {"pictures": len(squared)}


def mean_chroma(selection: Selection) -> tuple[str, Float[np.ndarray, "2"]]:
    """Mean a and b over the first pictures of the training split, or of the selected one.

    Also the name of the split it is, which the table shows.
    """
    directory: Path = selection.directory
    name = "train" if "train" in records.splits(directory) else selection.split
    source = records.open_split(directory, name)
    indices = range(min(MEAN_CHROMA_PICTURES, len(source)))
    total = np.zeros(2)
    for data in source.__getitems__(list(indices)):
        image = transforms.decode(records.Record.unpack(data).image).astype(np.float32) / 255.0
        total += color.srgb_to_lab(image)[..., 1:].mean(axis=(0, 1))
    return name, (total / len(indices)).astype(np.float32)


class Swap(NamedTuple):
    """Two prompts that name one colour each, for pictures of certain classes."""

    prompts: tuple[str, str]
    labels: frozenset[str]  # none: all pictures
    seed: int


def swap(selection: Selection, colorizer: Colorizer, swapped: Swap) -> Row:
    """How far two prompts pull the centre's mean ab apart along their colours' difference.

    Returns the mean of each picture's difference projected on that of the prototypes, in Lab
    units, and the share of pictures where it exceeds 5.

    Raises:
        UserError: a prompt has no colour, both have the same, or no picture has such a label.
    """
    first, second = (_colour_of(prompt) for prompt in swapped.prompts)
    if first == second:
        raise UserError(f"both prompts say {first!r}; --swap needs two colours")
    direction = colour_names.prototype(first)[1:] - colour_names.prototype(second)[1:]
    direction /= np.linalg.norm(direction)
    # Of all pictures the first with such a label, up to the limit.
    every = Selection(selection.directory, selection.split, None, selection.crop)
    pulls: list[float] = []
    for batch in pictures.batches(every, colorizer, "none"):
        labels = swapped.labels
        chosen = [i for i, label in enumerate(batch.labels) if not labels or label in labels]
        if chosen:
            seeds = pictures.seeds_of(batch.places[chosen], swapped.seed)
            pulls += list(_pulls(colorizer, batch.truth[chosen], seeds, swapped.prompts, direction))
        if selection.limit is not None and len(pulls) >= selection.limit:
            break
    if not pulls:
        wanted = sorted(swapped.labels)
        raise UserError(f"no picture of '{selection.split}' has a label of {wanted}")
    values = np.asarray(pulls[: selection.limit])
    return {
        "pictures": len(values),
        "mean projection": float(values.mean()),
        "share above 5": float((values > PULLED_ABOVE).mean()),
    }


def _pulls(
    colorizer: Colorizer,
    truth: Shown,
    seeds: UInt32[np.ndarray, " n"],
    prompts: tuple[str, str],
    direction: Float[np.ndarray, "2"],
) -> Float[np.ndarray, " n"]:
    lightness = color.lightness(truth)
    quarter = colorizer.image_size // 4

    def centre(prompt: str) -> Float[np.ndarray, "n 2"]:
        ids = np.repeat(colorizer.tokenize([prompt]), len(truth), axis=0)
        raw = coloured(colorizer, lightness, ids, seeds)
        lab: np.ndarray = color.srgb_to_lab(pictures.shown(raw, lightness))
        mean: np.ndarray = lab[:, quarter:-quarter, quarter:-quarter, 1:].mean(axis=(1, 2))
        return mean

    first, second = prompts
    pulls: np.ndarray = (centre(first) - centre(second)) @ direction
    return pulls


def _colour_of(prompt: str) -> str:
    words = [word for word in prompt.lower().split() if word in colour_names.CHROMATIC_COLOURS]
    if len(words) != 1:
        raise UserError(
            f"prompt {prompt!r} must hold one colour of {', '.join(colour_names.CHROMATIC_COLOURS)}"
        )
    return words[0]
