"""What becomes of photographs: a colouring, several, all vividnesses, or more colour.

A painter computes at model size for a batch and renders each photograph at full size.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from colorjax.colorize.chroma import doubt, hints, recombine, sheets
from colorjax.colorize.chroma.looks import Look
from colorjax.colorize.chroma.recombine import Chroma
from colorjax.colorize.jobs import MOST_SEED, Job, Levels, Names, Part, pictures
from colorjax.colorize.running import PictureColorizer
from colorjax.data.rows import Rows

Small = Float[np.ndarray, "h w 3"]  # a model's picture in [-1,1]
Raw = Small | Chroma  # or a frame's colours, which came along the motion


@dataclass(frozen=True)
class Usual:
    """What painters have in common: one picture, no figures.

    Attributes:
        keeps_colours: whether it needs the colours that photographs come with.
    """

    keeps_colours: ClassVar[bool] = False

    @property
    def about(self) -> Mapping[str, Any]:
        """For the note of results, by the command's flags: what is not as usual."""
        return {}

    def names(self, seed: int) -> Names:
        """The parts that `render` will make."""
        return [("", {})]

    def figures(self, job: Job, computed: Any) -> Mapping[str, float]:
        """Nothing to say in numbers."""
        return {}


@dataclass(frozen=True)
class Colouring(Usual):
    """The model's chroma at the photograph's lightness, once or by several seeds.

    Attributes:
        look: a change of all chroma.
        variations: how many seeds, each another colouring.
        sheet: "grid" puts the variations on one sheet, "compare" gray beside the first.
        doubt: how many samples tell where colours are a guess; 0: that is not asked.
    """

    look: Look = Look()
    variations: int = 1
    sheet: str = ""
    doubt: int = 0

    @property
    def about(self) -> Mapping[str, Any]:
        """The look and what is drawn; a variation is told by its seed."""
        about: dict[str, Any] = dict(self.look.about)
        if self.sheet:
            about[self.sheet] = True
        if self.sheet == "grid":
            about["variations"] = self.variations
        return about

    def names(self, seed: int) -> Names:
        """The variations, from 2 on with their number, and the map of doubt."""
        count = 1 if self.sheet else self.variations
        names: list[tuple[str, Mapping[str, Any]]] = [("", {})]
        names += [(f".{i + 1}", {"seed": seed_of(seed, i)}) for i in range(1, count)]
        return names + ([(".doubt", {"doubt": self.doubt})] if self.doubt else [])

    def compute(
        self, colorizer: PictureColorizer, jobs: Sequence[Job], seed: int
    ) -> Sequence[tuple[int, Sequence[Small]]]:
        """The seed and the model's pictures, one for each seed."""
        count = max(self.variations, self.doubt)
        if count == 1:
            return [(seed, [raw]) for raw in colorizer(pictures(colorizer, jobs, seed))]
        todo = [(job, seed_of(seed, i)) for job in jobs for i in range(count)]
        raws: list[Small] = []
        for at in range(0, len(todo), colorizer.batch_size):
            batch, seeds = zip(*todo[at : at + colorizer.batch_size], strict=True)
            raws += list(colorizer(pictures(colorizer, batch, np.array(seeds, np.uint32))))
        return [(seed, raws[at : at + count]) for at in range(0, len(raws), count)]

    def chroma(self, job: Job, raw: Raw) -> Chroma:
        """A picture's chroma, with the hints and the look."""
        chroma = raw if isinstance(raw, Chroma) else recombine.chroma_of(raw, job.small)
        if job.hints is not None:
            chroma = hints.blended(chroma, job.hints, job.lightness)
        return chroma._replace(ab=self.look.applied(chroma.ab))

    def render(self, job: Job, computed: tuple[int, Sequence[Raw]]) -> Iterator[Part]:
        """The pictures, or the sheet that they are on, and the map of doubt."""
        seed, raws = computed
        if self.sheet:
            drawn = [levels(job, self.chroma(job, raw)) for raw in raws[: self.variations]]
            if self.sheet == "compare":
                gray = Chroma(np.zeros((*job.small.shape, 2), np.float32), job.small)
                yield Part("", sheets.row([levels(job, gray), *drawn]))
            else:
                labels = [f"seed {seed_of(seed, i)}" for i in range(len(drawn))]
                yield Part("", sheets.sheet(drawn, labels))
        else:
            for raw, (name, about) in zip(raws, self.names(seed)):
                if "doubt" not in about:
                    yield Part(name, shown(job, self.chroma(job, raw)), about)
        if self.doubt:
            (name, about) = self.names(seed)[-1]
            yield Part(name, doubt.drawn(self.spread(job, raws), *job.lightness.shape), about)

    def figures(self, job: Job, computed: tuple[int, Sequence[Raw]]) -> Mapping[str, float]:
        """The doubt, if that is asked."""
        return doubt.figures(self.spread(job, computed[1])) if self.doubt else {}

    def spread(self, job: Job, raws: Sequence[Raw]) -> Float[np.ndarray, "h w"]:
        """The doubt in each pixel, see `doubt.spread`."""
        return doubt.spread([self.chroma(job, raw) for raw in raws[: self.doubt]])


def shown(job: Job, chroma: Chroma) -> Levels:
    """As `levels`, but of a photograph that is not whole in memory neither is this."""
    if isinstance(job.lightness, Rows):
        return recombine.rows_at_full_size(job.lightness, chroma, job.dtype)
    return levels(job, chroma)


def levels(job: Job, chroma: Chroma) -> np.ndarray:
    """A photograph in new colours, as deep as it is: its lightness, transparency, and what is not
    to be coloured as it was."""
    result: np.ndarray = recombine.to_full_size(job.lightness, *chroma, dtype=job.dtype)
    if job.inside is not None:
        assert job.rgb is not None  # it is kept then
        own = recombine.quantized(job.rgb, job.dtype)
        result = recombine.mixed(own, result, job.inside)
    alpha = job.photo.pixels.alpha
    if alpha is None:
        return result
    return np.concatenate([result, recombine.quantized(alpha, job.dtype)[..., None]], axis=-1)


def seed_of(seed: int, number: int) -> int:
    """The seed of a variation, from 0."""
    return (seed + number) & MOST_SEED
