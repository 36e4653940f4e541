"""What is measured of colourings: figures beside those of gray, mean chroma and truth."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from colorjax.colorize.colorizer import Colorizer
from colorjax.data import records, transforms
from colorjax.evaluate import pictures
from colorjax.evaluate.pictures import Selection, coloured
from colorjax.maths import color, metrics
from colorjax.maths.types import Array, Params
from colorjax.models.layers import apply
from colorjax.models.perceptual import Lpips, enlarged

MEAN_CHROMA_PICTURES = 10_000
LPIPS_SIDE = 64  # smaller pictures are enlarged to it, or VGG16's last maps have nothing to see

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
    values = [
        metrics.mse(image, truth),
        metrics.ssim(image, truth),
        metrics.colourfulness(image),
        metrics.chroma_error(image, truth),
    ]
    if lpips is not None:
        pair = (enlarged(color.from_unit(side), LPIPS_SIDE) for side in (image, truth))
        values.append(apply(Lpips("vgg16"), lpips, *pair))
    return jnp.stack(values)


def _figures(values: Float[np.ndarray, "metrics n"]) -> Row:
    squared, ssim, colourfulness, chroma_error = values[:4]
    figures: Row = {
        # Capped as the per-image one: the truth's is infinite, which JSON cannot say.
        "psnr_pooled": min(60.0, float(metrics.psnr_pooled(jnp.asarray(squared)))),
        "psnr_per_image": float(metrics.psnr_per_image(jnp.asarray(squared)).mean()),
        "ssim": float(ssim.mean()),
        "colourfulness": float(colourfulness.mean()),
        "chroma_error": float(chroma_error.mean()),
    }
    if len(values) > 4:
        figures["lpips"] = float(values[4].mean())
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
