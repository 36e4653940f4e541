"""What becomes of photographs: a colouring, all vividnesses side by side, or more colour.

A painter computes at model size for a batch and renders each photograph at full size.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image as PillowImage
from PIL import ImageDraw

from colorjax.colorize import photos, recombine
from colorjax.colorize.cold_colorizer import ColdColorizer
from colorjax.colorize.colorizer import fingerprint
from colorjax.colorize.instances import Instances
from colorjax.data import captions, phrases
from colorjax.errors import UserError
from colorjax.maths import color
from colorjax.methods.diffusing_colors import CANDIDATES

TILE, LABEL, GAP = 192, 16, 6  # of the grid, in pixels
Rgb = Float[np.ndarray, "_ _ 3"]


@dataclass
class Job:
    """A photograph on its way: full-size lightness, its small version, where it goes.

    The colours it came with are kept where they are needed: full size, and small in [-1,1].
    """

    output: Path
    exif: bytes
    lightness: Float[np.ndarray, "height width"]
    small: Float[np.ndarray, "h w"]
    masks: Float[np.ndarray, "k h w"] | None = None
    rgb: Rgb | None = None
    small_rgb: Rgb | None = None

    @property
    def pixels(self) -> int:
        """What it takes of the memory, in numbers of `lightness`."""
        return self.lightness.size + (0 if self.rgb is None else self.rgb.size)


class Painter(NamedTuple):
    compute: Callable[[Any, Sequence[Job], str, int], Sequence[Any]]  # colorizer, prompt, seed
    render: Callable[[Job, Any], Rgb]
    keeps_colours: bool = False


def _given(
    colorizer: Any, jobs: Sequence[Job], prompt: str, seed: int
) -> tuple[Any, Any, list[int], int]:
    """What every colorizer is called with."""
    return (
        np.stack([job.small for job in jobs]),
        np.repeat(colorizer.tokenize([prompt]), len(jobs), axis=0),
        [fingerprint(job.lightness) for job in jobs],
        seed,
    )


def colour(instances: Instances | None = None) -> Painter:
    """The model's chroma at the photograph's lightness."""

    def compute(colorizer, jobs, prompt, seed):
        given = _given(colorizer, jobs, prompt, seed)
        if instances is None:
            return colorizer(*given)
        spans = np.repeat(instances.spans[None], len(jobs), axis=0)
        masks = None
        if jobs[0].masks is not None:
            masks = np.stack([np.asarray(job.masks) for job in jobs])
        return colorizer(*given, spans, masks)

    def render(job, image):
        return recombine.full_picture(image, job.lightness, job.small)

    return Painter(compute, render)


def levels(prompt: str) -> Painter:
    """A row: gray, and L-CAD's three levels of detail of one description.

    Raises:
        UserError: the prompt names no colour to take out.
    """
    found = phrases.colour_phrases(prompt)
    if not found:
        raise UserError(f"--levels takes colours out of the prompt, and {prompt!r} names none")
    # Of several phrases the first keeps its colour.
    partial = phrases.without_colours(prompt, found[1:] or found)

    def compute(colorizer, jobs, prompt, seed):
        columns = [
            colorizer(*_given(colorizer, jobs, text, seed))
            for text in (prompt, partial, captions.SCARCE[0])
        ]
        return list(zip(np.zeros_like(columns[0]), *columns, strict=True))

    def render(job, images):
        pictures = [recombine.full_picture(im, job.lightness, job.small) for im in images]
        return np.concatenate(pictures, axis=1)

    return Painter(compute, render)


def vividness_grid() -> Painter:
    """All candidates on one sheet, each with its vividness and score, the chosen one marked."""

    def compute(colorizer: ColdColorizer, jobs, prompt, seed):
        found = colorizer.candidates(*_given(colorizer, jobs, prompt, seed))
        return list(zip(*found, strict=True))

    def render(job, found):
        images, scores, chosen = found
        shrink = min(1.0, TILE / max(job.lightness.shape))
        height, width = (max(1, round(side * shrink)) for side in job.lightness.shape)
        lightness = recombine.to_model_size(job.lightness, height, width)
        tiles = [recombine.full_picture(image, lightness, job.small) for image in images]
        labels = [
            f"{scale:g}: {score:.2f}" + (" *" if i == chosen else "")
            for i, (scale, score) in enumerate(zip(CANDIDATES, scores, strict=True))
        ]
        return sheet(tiles, labels)

    return Painter(compute, render)


def sheet(tiles: Sequence[Rgb], labels: Sequence[str], columns: int = 3) -> Rgb:
    """Pictures of one size with a line of text under each, on white."""
    height, width = tiles[0].shape[:2]
    down, across = height + LABEL + GAP, max(width, TILE // 2) + GAP
    rows = -(-len(tiles) // columns)
    page = PillowImage.new("RGB", (columns * across - GAP, rows * down - GAP), "white")
    draw = ImageDraw.Draw(page)
    for i, (tile, label) in enumerate(zip(tiles, labels, strict=True)):
        left, top = i % columns * across, i // columns * down
        page.paste(PillowImage.fromarray(np.round(tile * 255.0).astype(np.uint8)), (left, top))
        draw.text((left + 2, top + height + 2), label, fill="black")
    return np.asarray(page, np.float32) / 255.0


def enhance(strength: str) -> Painter:
    """More colour for faded photographs: what the model adds to their chroma is added at full size.

    Args:
        strength: where the photographs stand, t0 in (0, 1] with 1 for gray, or "auto" to measure
            it from each one's colourfulness.

    Raises:
        UserError: neither of these.
    """
    try:
        given = None if strength == "auto" else float(strength)
    except ValueError:
        given = -1.0
    if given is not None and not 0.0 < given <= 1.0:
        raise UserError(f"enhance is {strength!r}; it must be above 0, at most 1, or 'auto'")

    def compute(colorizer: ColdColorizer, jobs, prompt, seed):
        faded = np.stack([job.small_rgb for job in jobs])
        times = colorizer.starting_times(faded) if given is None else np.full(len(jobs), given)
        made = colorizer.enhance(*_given(colorizer, jobs, prompt, seed), faded=faded, t_start=times)
        return list(zip(*made, strict=True))

    def render(job, made):
        enhanced, before = made
        return recombine.with_change(job.rgb, enhanced, before, job.small)

    return Painter(compute, render, keeps_colours=True)


def to_job(photo: photos.Photo, output: Path, size: tuple[int, int], painter: Painter) -> Job:
    """A photograph made ready for a bucket of (height, width)."""
    lightness = color.lightness(photo.rgb)[..., 0]
    job = Job(output, photo.exif, lightness, recombine.to_model_size(lightness, *size))
    if painter.keeps_colours:
        job.rgb = photo.rgb
        job.small_rgb = 2.0 * recombine.colours_to_model_size(photo.rgb, *size) - 1.0
    return job
