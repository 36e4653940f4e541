"""Several pictures of one photograph that show what a prompt or a vividness does."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from colorjax.colorize.chroma import recombine, sheets
from colorjax.colorize.jobs import Job, Part, pictures
from colorjax.colorize.painters import Small, Usual, levels
from colorjax.colorize.running import PictureColorizer
from colorjax.data import captions, phrases
from colorjax.errors import UserError
from colorjax.inputs import CANDIDATES


@dataclass(frozen=True)
class DetailLevels(Usual):
    """A row: gray, and L-CAD's three levels of detail of one description."""

    prompts: tuple[str, str, str]

    @property
    def about(self) -> Mapping[str, Any]:
        """The flag."""
        return {"levels": True}

    @classmethod
    def of(cls, prompt: str) -> "DetailLevels":
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
        self, colorizer: PictureColorizer, jobs: Sequence[Job], seed: int
    ) -> Sequence[tuple[Small, ...]]:
        """For each photograph a gray picture and three of the model's."""
        columns = [colorizer(pictures(colorizer, jobs, seed, text)) for text in self.prompts]
        return list(zip(np.zeros_like(columns[0]), *columns, strict=True))

    def render(self, job: Job, computed: tuple[Small, ...]) -> Iterator[Part]:
        """The four side by side."""
        chromas = [recombine.chroma_of(raw, job.small) for raw in computed]
        yield Part("", sheets.row([levels(job, chroma) for chroma in chromas]))


@dataclass(frozen=True)
class VividnessGrid(Usual):
    """All candidates on one sheet, each with its vividness and score, the chosen one marked."""

    @property
    def about(self) -> Mapping[str, Any]:
        """The flag."""
        return {"vividness_grid": True}

    def compute(self, colorizer: PictureColorizer, jobs: Sequence[Job], seed: int) -> Sequence[Any]:
        """For each photograph its candidates' pictures, their scores and the chosen one's place."""
        candidates = colorizer.candidates(pictures(colorizer, jobs, seed))
        return list(zip(*candidates, strict=True))

    def render(self, job: Job, computed: Any) -> Iterator[Part]:
        """The sheet."""
        images, scores, chosen, _ = computed
        lightness = sheets.tile_of(job.lightness)
        tiles = [
            recombine.quantized(recombine.full_picture(image, lightness, job.small), np.uint8)
            for image in images
        ]
        labels = [
            f"{scale:g}: {score:.2f}" + (" *" if i == chosen else "")
            for i, (scale, score) in enumerate(zip(CANDIDATES, scores, strict=True))
        ]
        yield Part("", sheets.sheet(tiles, labels))
