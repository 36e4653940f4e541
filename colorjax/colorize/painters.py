"""What becomes of photographs: a colouring, all vividnesses side by side, or more colour.

A painter computes at model size for a batch and renders each photograph at full size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from PIL import Image as PillowImage
from PIL import ImageDraw

from colorjax.colorize import recombine, saving
from colorjax.colorize.colorizer import Colorizer
from colorjax.colorize.jobs import Job, Rgb, pictures
from colorjax.data import captions, phrases
from colorjax.errors import UserError
from colorjax.methods.vividness import CANDIDATES

TILE, LABEL, GAP = 192, 16, 6  # of the grid, in pixels
Small = Float[np.ndarray, "h w 3"]  # a model's picture in [-1,1]


@dataclass(frozen=True)
class Colouring:
    """The model's chroma at the photograph's lightness."""

    keeps_colours: ClassVar[bool] = False

    def compute(self, colorizer: Colorizer, jobs: Sequence[Job], seed: int) -> Sequence[Small]:
        """The model's pictures."""
        return list(colorizer(pictures(colorizer, jobs, seed)))

    def render(self, job: Job, computed: Small) -> Rgb:
        """The photograph in the picture's colours."""
        return recombine.full_picture(computed, job.lightness, job.small)


@dataclass(frozen=True)
class Levels:
    """A row: gray, and L-CAD's three levels of detail of one description."""

    prompts: tuple[str, str, str]

    keeps_colours: ClassVar[bool] = False

    @classmethod
    def of(cls, prompt: str) -> "Levels":
        """The levels of a prompt that names at least one colour.

        Raises:
            UserError: there is none to take out.
        """
        coloured = phrases.colour_phrases(prompt)
        if not coloured:
            raise UserError(f"--levels takes colours out of the prompt, and {prompt!r} names none")
        # Of several phrases the first keeps its colour.
        partial = phrases.without_colours(prompt, coloured[1:] or coloured)
        return cls((prompt, partial, captions.SCARCE[0]))

    def compute(
        self, colorizer: Colorizer, jobs: Sequence[Job], seed: int
    ) -> Sequence[tuple[Small, ...]]:
        """For each photograph a gray picture and three of the model's."""
        columns = [colorizer(pictures(colorizer, jobs, seed, text)) for text in self.prompts]
        return list(zip(np.zeros_like(columns[0]), *columns, strict=True))

    def render(self, job: Job, computed: tuple[Small, ...]) -> Rgb:
        """The four side by side."""
        row = [recombine.full_picture(raw, job.lightness, job.small) for raw in computed]
        return np.concatenate(row, axis=1)


@dataclass(frozen=True)
class VividnessGrid:
    """All candidates on one sheet, each with its vividness and score, the chosen one marked."""

    keeps_colours: ClassVar[bool] = False

    def compute(self, colorizer: Colorizer, jobs: Sequence[Job], seed: int) -> Sequence[Any]:
        """For each photograph its candidates' pictures, their scores and the chosen one's place."""
        candidates = colorizer.candidates(pictures(colorizer, jobs, seed))
        return list(zip(*candidates, strict=True))

    def render(self, job: Job, computed: Any) -> Rgb:
        """The sheet."""
        images, scores, chosen, _ = computed
        shrink = min(1.0, TILE / max(job.lightness.shape))
        height, width = (max(1, round(side * shrink)) for side in job.lightness.shape)
        lightness = recombine.to_model_size(job.lightness, height, width)
        tiles = [recombine.full_picture(image, lightness, job.small) for image in images]
        labels = [
            f"{scale:g}: {score:.2f}" + (" *" if i == chosen else "")
            for i, (scale, score) in enumerate(zip(CANDIDATES, scores, strict=True))
        ]
        return sheet(tiles, labels)


def sheet(tiles: Sequence[Rgb], labels: Sequence[str], columns: int = 3) -> Rgb:
    """Pictures of one size with a line of text under each, on white."""
    height, width = tiles[0].shape[:2]
    down, across = height + LABEL + GAP, max(width, TILE // 2) + GAP
    rows = -(-len(tiles) // columns)
    page = PillowImage.new("RGB", (columns * across - GAP, rows * down - GAP), "white")
    draw = ImageDraw.Draw(page)
    for i, (tile, label) in enumerate(zip(tiles, labels, strict=True)):
        left, top = i % columns * across, i // columns * down
        page.paste(saving.to_picture(tile), (left, top))
        draw.text((left + 2, top + height + 2), label, fill="black")
    return np.asarray(page, np.float32) / np.float32(255.0)


@dataclass(frozen=True)
class Enhancement:
    """More colour for faded photographs: what the model adds to their chroma, at full size.

    `t_start` says where the photographs stand, in (0, 1] with 1 for gray; None measures it from
    each one's colourfulness.
    """

    t_start: float | None = None

    keeps_colours: ClassVar[bool] = True

    @classmethod
    def of(cls, strength: str) -> "Enhancement":
        """By a number or "auto".

        Raises:
            UserError: it is neither.
        """
        if strength == "auto":
            return cls()
        try:
            t_start = float(strength)
        except ValueError:
            t_start = -1.0
        if not 0.0 < t_start <= 1.0:
            raise UserError(f"enhance is {strength!r}; it must be above 0, at most 1, or 'auto'")
        return cls(t_start)

    def compute(self, colorizer: Colorizer, jobs: Sequence[Job], seed: int) -> Sequence[Any]:
        """For each photograph the model's picture, and its own through the autoencoder."""
        batch = pictures(colorizer, jobs, seed)
        if self.t_start is None:
            times = colorizer.starting_times(np.asarray(batch.faded))
        else:
            times = np.full(len(jobs), self.t_start)
        return list(zip(*colorizer.enhance(batch._replace(t_start=times)), strict=True))

    def render(self, job: Job, computed: tuple[Small, Small]) -> Rgb:
        """The photograph with the change between the two."""
        assert job.rgb is not None  # `keeps_colours`
        return recombine.with_change(job.rgb, *computed, job.small)
