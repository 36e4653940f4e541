"""Photographs to be coloured: what is asked of each, how it is made ready, what becomes of it."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import DTypeLike

from colorjax.colorize import failures
from colorjax.colorize.buckets import Size, bucket_for
from colorjax.colorize.chroma import hints as hinting
from colorjax.colorize.chroma import recombine
from colorjax.colorize.files import photos
from colorjax.colorize.files.metadata import Metadata
from colorjax.colorize.running import PictureColorizer
from colorjax.colorize.words import masks
from colorjax.colorize.words.instances import Instances
from colorjax.data.rows import Rows
from colorjax.errors import UserError
from colorjax.inputs import AUTO, Pictures
from colorjax.maths import color

Caption = Callable[[np.ndarray | Rows], str]  # what a photograph of a lightness shows
MOST_SEED = 2**32 - 1
Names = Sequence[tuple[str, Mapping[str, Any]]]  # of parts, and what the note says of them
Levels = np.ndarray | Rows  # [h,w,3], or [h,w,4] with alpha: uint8 or uint16


@dataclass(frozen=True)
class Request:
    """A photograph to be coloured, what it shows, and where the result goes if to a file.

    Attributes:
        hints: a person's strokes or points, see `hints.read`.
        inside: a mask outside of which the photograph stays as it is.
        page: of a file of several, from 0.
        restore: whether to stretch a faded scan's lightness.
    """

    source: photos.Source
    prompt: str
    instances: Instances | None = None
    output: Path | None = None
    most_pixels: int = photos.MOST_PIXELS
    hints: hinting.HintSource | None = None
    inside: masks.Source | None = None
    page: int = 0
    restore: bool = False


@dataclass
class Job:
    """A photograph on its way: full-size lightness, and its small version.

    Attributes:
        lightness: as the result has it.
        small: what the model sees, with transparency laid on white.
        rgb: the photograph's own colours, where they are needed; `small_rgb` in [-1,1].
        inside: the share of the new colours in each pixel, where not everything is coloured.
        caption: what the photograph shows, where the prompt is `AUTO`.
    """

    request: Request
    photo: photos.Photo
    lightness: Float[np.ndarray, "height width"] | Rows
    small: Float[np.ndarray, "h w"]
    masks: Float[np.ndarray, "k h w"] | None = None
    hints: hinting.Hints | None = None
    rgb: Float[np.ndarray, "height width 3"] | None = None
    small_rgb: Float[np.ndarray, "h w 3"] | None = None
    inside: Float[np.ndarray, "height width"] | None = None
    caption: str | None = None

    @property
    def prompt(self) -> str:
        """What the model is told."""
        return self.request.prompt if self.caption is None else self.caption

    @property
    def pixels(self) -> int:
        """What it takes of the memory, in numbers of `lightness`."""
        return _kept(self.lightness) + self.pixels_beside

    @property
    def pixels_beside(self) -> int:
        """What it takes beside the lightness."""
        hints = None if self.hints is None else self.hints.ab
        return sum(map(_kept, (self.rgb, self.inside, self.photo.pixels.alpha, hints)))

    def let_go(self) -> None:
        """Forgets its arrays at full size, once its last picture is drawn: writing takes room."""
        self.lightness = np.empty((0, 0), np.float32)
        self.rgb = self.inside = None

    @property
    def spans(self) -> Bool[np.ndarray, "k tokens"] | None:
        """The tokens of each phrase that has a mask."""
        return None if self.request.instances is None else self.request.instances.spans

    @property
    def dtype(self) -> DTypeLike:
        """Of levels as deep as the photograph's."""
        return np.uint16 if self.photo.pixels.bits > 8 else np.uint8


def _kept(array: np.ndarray | Rows | None) -> int:
    if isinstance(array, Rows):
        return array.kept // np.dtype(np.float32).itemsize
    return 0 if array is None else array.size


class Part(NamedTuple):
    """One of the pictures that a photograph becomes.

    `name` is added to the stem of the result's name, `about` to the note of what made it.
    """

    name: str
    levels: Levels
    about: Mapping[str, Any] = {}


@dataclass(frozen=True)
class Outcome:
    """What became of a request: a computed picture, to be rendered, or an error.

    `seconds` is its share of the work; of a batch whose program had to be compiled, which cannot
    be told from running it, all of that is the first one's `compiling`.
    """

    request: Request
    job: Job | None = None
    computed: Any = None
    error: UserError | None = None
    seconds: float = 0.0
    compiling: float = 0.0
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def prompt(self) -> str:
        """What the model was told."""
        return self.request.prompt if self.job is None else self.job.prompt

    @property
    def metadata(self) -> Metadata:
        """What the photograph's file carried."""
        return Metadata() if self.job is None else self.job.photo.metadata

    @property
    def digest(self) -> str:
        """Of the photograph's file."""
        return "" if self.job is None else self.job.photo.digest


@runtime_checkable
class Painter(Protocol):
    """What becomes of photographs: computed at model size by the batch, rendered one by one."""

    @property
    def keeps_colours(self) -> bool:
        """Whether it needs the colours that photographs come with."""

    @property
    def about(self) -> Mapping[str, Any]:
        """For the note of results, by the command's flags: what is not as usual."""

    def names(self, seed: int) -> Names:
        """The parts that `render` will make."""

    def compute(self, colorizer: PictureColorizer, jobs: Sequence[Job], seed: int) -> Sequence[Any]:
        """For each job what `render` takes."""

    def render(self, job: Job, computed: Any) -> Iterator[Part]:
        """The pictures, one after another; the first has no name of its own."""

    def figures(self, job: Job, computed: Any) -> Mapping[str, float]:
        """What there is to say of them in numbers."""


def check_seed(seed: int) -> None:
    """Raises `UserError` for a seed that is not one of 32 bits."""
    if not 0 <= seed <= MOST_SEED:
        raise UserError(f"seed is {seed}; it must be in 0..{MOST_SEED}")


def prepare(
    request: Request,
    sizes: Sequence[Size],
    painter: Painter,
    captioner: Caption | None = None,
) -> Job:
    """A photograph made ready for the bucket of (height, width) that suits it.

    `captioner` is for requests whose prompt is `AUTO`.

    Raises:
        UserError: it, its masks or its hints cannot be read.
    """
    keeps = painter.keeps_colours or request.inside is not None
    whole = keeps or request.restore or request.instances is not None
    photo = photos.read(request.source, request.most_pixels, request.page, in_rows=not whole)
    pixels = photo.pixels
    height, width = pixels.rgb.shape[:2]
    size = bucket_for(height, width, sizes)
    is_alone = not keeps and pixels.alpha is None  # nothing else needs the colours
    lightness = recombine.lightness_of(pixels.rgb, in_place=is_alone)
    if request.restore:
        lightness = recombine.restored(lightness)
    shown = lightness if pixels.alpha is None else recombine.lightness_of(photo.rgb)
    job = Job(request, photo, lightness, recombine.to_model_size(shown, *size))
    if request.prompt == AUTO and captioner is not None:
        job.caption = captioner(shown)
    if keeps:
        job.rgb = np.asarray(pixels.rgb)
    if painter.keeps_colours:
        job.small_rgb = color.from_unit(recombine.colours_to_model_size(photo.rgb, *size))
    if request.instances:
        job.masks = request.instances.masks(request.source, lightness, *size)
    if request.inside is not None:
        job.inside = masks.of_whole(request.inside, height, width)
    if request.hints is not None:
        job.hints = hinting.read(request.hints, height, width)
    # The colours are in `rgb` where they are needed; here they would only take memory.
    bare = np.empty((0, 0, 3), np.float32)
    job.photo = dataclasses.replace(photo, pixels=pixels._replace(rgb=bare))
    return job


def pictures(
    colorizer: PictureColorizer,
    jobs: Sequence[Job],
    seed: int | np.ndarray,
    prompt: str | None = None,
) -> Pictures:
    """A batch of jobs as a colorizer takes it, by their own prompts or by one for all.

    `seed` is one for all or one for each.
    """
    prompts = [job.prompt if prompt is None else prompt for job in jobs]
    return Pictures(
        np.stack([job.small for job in jobs]),
        colorizer.tokenize(prompts),
        seed,
        spans=_stacked([job.spans for job in jobs]),
        masks=_stacked([job.masks for job in jobs]),
        faded=_stacked([job.small_rgb for job in jobs]),
    )


def _stacked(parts: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """One array, with phrases that are no phrases where a job has fewer than another."""
    arrays = [part for part in parts if part is not None]
    if not arrays:
        return None
    most = max(len(array) for array in arrays)
    padding = [[(0, most - len(array))] + [(0, 0)] * (array.ndim - 1) for array in arrays]
    return np.stack([np.pad(array, pad) for array, pad in zip(arrays, padding, strict=True)])


Ready = Job | Outcome  # made ready, or an error


def ready(
    requests: Iterable[Request],
    sizes: Sequence[Size],
    painter: Painter,
    captioner: Caption | None = None,
) -> Iterator[Ready]:
    """Each photograph made ready when it is asked for; whatever goes wrong is its own error."""
    for request in requests:
        try:
            job = prepare(request, sizes, painter, captioner)
        except Exception as error:  # one picture's failure is not another's
            yield Outcome(request, error=failures.of_picture(request.source, error))
            continue
        yield job
