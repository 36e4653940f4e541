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
from colorjax.data import captions, phrases
from colorjax.errors import UserError
from colorjax.inputs import CANDIDATES
from colorjax.methods import fading

Small = Float[np.ndarray, "h w 3"]  # a model's picture in [-1,1]


@dataclass(frozen=True)
class _Usual:
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
class Colouring(_Usual):
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

    def chroma(self, job: Job, raw: Small | Chroma) -> Chroma:
        """A picture's chroma, with the hints and the look."""
        chroma = raw if isinstance(raw, Chroma) else recombine.chroma_of(raw, job.small)
        if job.hints is not None:
            chroma = hints.blended(chroma, job.hints, job.lightness)
        return chroma._replace(ab=self.look.applied(chroma.ab))

    def render(self, job: Job, computed: tuple[int, Sequence[Small]]) -> Iterator[Part]:
        """The pictures, or the sheet that they are on, and the map of doubt."""
        seed, raws = computed
        if self.sheet:
            shown = [levels(job, self.chroma(job, raw)) for raw in raws[: self.variations]]
            if self.sheet == "compare":
                gray = Chroma(np.zeros((*job.small.shape, 2), np.float32), job.small)
                yield Part("", sheets.row([levels(job, gray), *shown]))
            else:
                labels = [f"seed {seed_of(seed, i)}" for i in range(len(shown))]
                yield Part("", sheets.sheet(shown, labels))
        else:
            for raw, (name, about) in zip(raws, self.names(seed)):
                if "doubt" not in about:
                    yield Part(name, levels(job, self.chroma(job, raw)), about)
        if self.doubt:
            (name, about) = self.names(seed)[-1]
            yield Part(name, doubt.drawn(self.spread(job, raws), *job.lightness.shape), about)

    def figures(self, job: Job, computed: tuple[int, Sequence[Small]]) -> Mapping[str, float]:
        """The doubt, if that is asked."""
        return doubt.figures(self.spread(job, computed[1])) if self.doubt else {}

    def spread(self, job: Job, raws: Sequence[Small]) -> Float[np.ndarray, "h w"]:
        """The doubt in each pixel, see `doubt.spread`."""
        return doubt.spread([self.chroma(job, raw) for raw in raws[: self.doubt]])


def levels(job: Job, chroma: Chroma) -> Levels:
    """A photograph in new colours, as deep as it is: its lightness, transparency, and what is not
    to be coloured as it was."""
    shown: Levels = recombine.to_full_size(job.lightness, *chroma, dtype=job.dtype)
    if job.inside is not None:
        assert job.rgb is not None  # it is kept then
        own = recombine.quantized(job.rgb, job.dtype)
        shown = recombine.mixed(own, shown, job.inside)
    alpha = job.photo.pixels.alpha
    if alpha is None:
        return shown
    return np.concatenate([shown, recombine.quantized(alpha, job.dtype)[..., None]], axis=-1)


def seed_of(seed: int, number: int) -> int:
    """The seed of a variation, from 0."""
    return (seed + number) & MOST_SEED


@dataclass(frozen=True)
class DetailLevels(_Usual):
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
class VividnessGrid(_Usual):
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


@dataclass(frozen=True)
class Enhancement(_Usual):
    """More colour for faded photographs: their own chroma by a gain, at full size, and the model's
    in so far as theirs is not to be trusted (`methods.fading`).

    `t_start` says where the photographs stand, in (0, 1] with 1 for gray; None estimates it from
    each one.
    """

    t_start: float | None = None

    keeps_colours: ClassVar[bool] = True

    @property
    def about(self) -> Mapping[str, Any]:
        """The flag with its number."""
        return {"enhance": "auto" if self.t_start is None else f"{self.t_start:g}"}

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

    def compute(self, colorizer: PictureColorizer, jobs: Sequence[Job], seed: int) -> Sequence[Any]:
        """For each photograph the model's picture, and where it stands."""
        batch = pictures(colorizer, jobs, seed)
        if self.t_start is None:
            times = colorizer.starting_times(np.asarray(batch.faded))
        else:
            times = np.full(len(jobs), self.t_start)
        raws = colorizer.enhance(batch._replace(t_start=times))
        return list(zip(raws, times.tolist(), strict=True))

    def figures(self, job: Job, computed: tuple[Small, float]) -> Mapping[str, float]:
        """Where it stands."""
        return {"t0": round(computed[1], 3)}

    def render(self, job: Job, computed: tuple[Small, float]) -> Iterator[Part]:
        """The photograph with both chromas."""
        assert job.rgb is not None  # `keeps_colours`
        raw, t_start = computed
        own, model = (float(weight[0]) for weight in fading.weights(np.array([t_start])))
        chroma = recombine.chroma_of(raw, job.small)
        rgb = recombine.with_chroma(job.rgb, own, chroma._replace(ab=model * chroma.ab))
        yield Part("", recombine.quantized(rgb, job.dtype))
