"""Photographs on their way: read, made small, coloured in full batches, brought to full size."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float

from colorjax.colorize import failures, photos, recombine
from colorjax.colorize.buckets import Size, bucket_for
from colorjax.colorize.colorizer import Colorizer
from colorjax.colorize.instances import Instances
from colorjax.colorize.metadata import Metadata
from colorjax.data import bounds
from colorjax.errors import UserError
from colorjax.maths import color
from colorjax.methods.method import Pictures

MAX_PENDING_PIXELS = 128 * 10**6
MOST_SEED = 2**32 - 1
Rgb = Float[np.ndarray, "_ _ 3"]


@dataclass(frozen=True)
class Request:
    """A photograph to be coloured, what it shows, and where the result goes if to a file."""

    source: photos.Source
    prompt: str
    instances: Instances | None = None
    output: Path | None = None
    most_pixels: int = bounds.MAX_PIXELS


@dataclass
class Job:
    """A photograph on its way: full-size lightness, and its small version.

    The colours it came with are kept where they are needed: full size, and small in [-1,1].
    """

    request: Request
    metadata: Metadata
    digest: str
    lightness: Float[np.ndarray, "height width"]
    small: Float[np.ndarray, "h w"]
    masks: Float[np.ndarray, "k h w"] | None = None
    rgb: Rgb | None = None
    small_rgb: Rgb | None = None

    @property
    def pixels(self) -> int:
        """What it takes of the memory, in numbers of `lightness`."""
        return self.lightness.size + (0 if self.rgb is None else self.rgb.size)

    @property
    def spans(self) -> Bool[np.ndarray, "k tokens"] | None:
        """The tokens of each phrase that has a mask."""
        return None if self.request.instances is None else self.request.instances.spans


@dataclass(frozen=True)
class Outcome:
    """What became of a request: a picture in [0,1] and what its file carried, or an error.

    `seconds` is its share of the work; of a batch whose program had to be compiled, which cannot
    be told from running it, all of that is the first one's `compiling`.
    """

    request: Request
    rgb: Rgb | None = None
    metadata: Metadata = Metadata()
    digest: str = ""
    error: UserError | None = None
    seconds: float = 0.0
    compiling: float = 0.0


@runtime_checkable
class Painter(Protocol):
    """What becomes of photographs: computed at model size by the batch, rendered one by one."""

    @property
    def keeps_colours(self) -> bool:
        """Whether it needs the colours that photographs come with."""

    def compute(self, colorizer: Colorizer, jobs: Sequence[Job], seed: int) -> Sequence[Any]:
        """For each job what `render` takes."""

    def render(self, job: Job, computed: Any) -> Rgb:
        """The picture, in [0,1]."""


def check_seed(seed: int) -> None:
    """Raises `UserError` for a seed that is not one of 32 bits."""
    if not 0 <= seed <= MOST_SEED:
        raise UserError(f"seed is {seed}; it must be in 0..{MOST_SEED}")


def prepare(request: Request, sizes: Sequence[Size], painter: Painter) -> Job:
    """A photograph made ready for the bucket of (height, width) that suits it.

    Raises:
        UserError: it, or its masks, cannot be read.
    """
    photo = photos.read(request.source, request.most_pixels)
    height, width = photo.rgb.shape[:2]
    size = bucket_for(height, width, sizes)
    lightness = recombine.lightness_of(photo.rgb)
    small = recombine.to_model_size(lightness, *size)
    job = Job(request, photo.metadata, photo.digest, lightness, small)
    if painter.keeps_colours:
        job.rgb = photo.rgb
        job.small_rgb = color.from_unit(recombine.colours_to_model_size(photo.rgb, *size))
    if request.instances:
        job.masks = request.instances.masks(request.source, lightness, *size)
    return job


def pictures(
    colorizer: Colorizer, jobs: Sequence[Job], seed: int, prompt: str | None = None
) -> Pictures:
    """A batch of jobs as a colorizer takes it, by their own prompts or by one for all."""
    prompts = [job.request.prompt if prompt is None else prompt for job in jobs]
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


class _Waiting:
    """Jobs by bucket, oldest first."""

    def __init__(self) -> None:
        self.by_bucket: dict[Size, list[Job]] = {}
        self.pixels = 0

    def add(self, job: Job) -> list[Job]:
        """All jobs of the bucket that this one has gone to."""
        height, width = job.small.shape
        self.pixels += job.pixels
        jobs = self.by_bucket.setdefault((height, width), [])
        jobs.append(job)
        return jobs

    def take(self, jobs: list[Job] | None = None) -> list[Job]:
        """Removes and returns the jobs of a bucket, by default of the one that waits longest."""
        height, width = (jobs or next(iter(self.by_bucket.values())))[0].small.shape
        self.pixels -= sum(job.pixels for job in self.by_bucket[height, width])
        return self.by_bucket.pop((height, width))


def process(
    colorizer: Colorizer,
    requests: Iterable[Request],
    painter: Painter,
    seed: int,
    kept_pixels: Callable[[], int] = lambda: 0,
) -> Iterator[Outcome]:
    """Colours photographs; outcomes come as they are ready, not in the requests' order.

    Photographs wait until their bucket's batch is full, or until they take too much memory.

    Args:
        kept_pixels: what the caller holds back of earlier outcomes and could let go, were the
            photograph that has waited longest there.
    """
    waiting = _Waiting()
    for request in requests:
        try:
            job = prepare(request, colorizer.buckets, painter)
        except Exception as error:  # one picture's failure is not another's
            yield Outcome(request, error=failures.of_picture(request.source, error))
            continue
        jobs = waiting.add(job)
        if len(jobs) == colorizer.batch_size:
            yield from _finish(colorizer, waiting.take(jobs), painter, seed)
        while waiting.by_bucket and waiting.pixels + kept_pixels() > MAX_PENDING_PIXELS:
            yield from _finish(colorizer, waiting.take(), painter, seed)
    while waiting.by_bucket:
        yield from _finish(colorizer, waiting.take(), painter, seed)


def _finish(
    colorizer: Colorizer, jobs: Sequence[Job], painter: Painter, seed: int
) -> Iterator[Outcome]:
    """A batch's outcomes. One that fails is tried picture by picture: the bad one is told then."""
    start, compilations = time.monotonic(), colorizer.compilations
    failure = None
    try:
        results = painter.compute(colorizer, jobs, seed)
    except Exception as error:
        failure = failures.of_picture(jobs[0].request.source, error)
    if failure is not None:
        if len(jobs) == 1:
            yield Outcome(jobs[0].request, error=failure)
            return
        for job in jobs:
            yield from _finish(colorizer, [job], painter, seed)
        return
    share, compiling = (time.monotonic() - start) / len(jobs), 0.0
    if colorizer.compilations > compilations:
        share, compiling = 0.0, share * len(jobs)
    for job, computed in zip(jobs, results, strict=True):
        start = time.monotonic()
        try:
            failures.refuse_infinite(job.request.source, computed)
            rgb = painter.render(job, computed)
        except Exception as error:
            yield Outcome(job.request, error=failures.of_picture(job.request.source, error))
            continue
        seconds = share + time.monotonic() - start
        outcome = Outcome(job.request, rgb, job.metadata, job.digest, seconds=seconds)
        yield dataclasses.replace(outcome, compiling=compiling)
        compiling = 0.0
