"""Photographs on their way through a model: they wait until their bucket's batch is full."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from colorjax.colorize import failures
from colorjax.colorize.buckets import Size
from colorjax.colorize.jobs import Job, Outcome, Painter, Part, Ready
from colorjax.colorize.running import PictureColorizer
from colorjax.errors import UserError

MAX_PENDING_PIXELS = 128 * 10**6


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
    colorizer: PictureColorizer,
    prepared: Iterable[Ready],
    painter: Painter,
    seed: int,
    is_stopped: Callable[[], bool] = lambda: False,
    kept_pixels: Callable[[], int] = lambda: 0,
) -> Iterator[Outcome]:
    """Computes photographs; outcomes come as they are ready, not in the photographs' order.

    Photographs wait until their bucket's batch is full, or until they take too much memory.

    Args:
        prepared: see `ready`.
        is_stopped: whether the photographs that still wait are to be left.
        kept_pixels: what the caller holds back of earlier outcomes and could let go, were the
            photograph that has waited longest there.
    """
    waiting = _Waiting()
    for job in prepared:
        if isinstance(job, Outcome):
            yield job
            continue
        jobs = waiting.add(job)
        if len(jobs) == colorizer.batch_size:
            yield from _finish(colorizer, waiting.take(jobs), painter, seed)
        while waiting.by_bucket and waiting.pixels + kept_pixels() > MAX_PENDING_PIXELS:
            yield from _finish(colorizer, waiting.take(), painter, seed)
    while waiting.by_bucket and not is_stopped():
        yield from _finish(colorizer, waiting.take(), painter, seed)


def rendered(painter: Painter, outcome: Outcome) -> Iterator[Part]:
    """The pictures of an outcome without an error.

    Raises:
        UserError: one cannot be made.
    """
    assert outcome.job is not None
    try:
        yield from painter.render(outcome.job, outcome.computed)
    except Exception as error:
        raise failures.of_picture(outcome.request.source, error) from None


def _finish(
    colorizer: PictureColorizer, jobs: Sequence[Job], painter: Painter, seed: int
) -> Iterator[Outcome]:
    """A batch's outcomes. One that fails is tried picture by picture: the bad one is told then."""
    start, compilations = time.monotonic(), colorizer.compilations
    failure = None
    try:
        results = painter.compute(colorizer, jobs, seed)
    except UserError:  # about the model or its settings, whatever the photograph
        raise
    except Exception as error:
        failure = failures.of_picture(jobs[0].request.source, error)
    if failure is not None:
        if len(jobs) == 1:
            yield Outcome(jobs[0].request, error=failure)
            return
        for job in jobs:
            yield from _finish(colorizer, [job], painter, seed)
        return
    seconds, compiling = (time.monotonic() - start) / len(jobs), 0.0
    if colorizer.compilations > compilations:
        seconds, compiling = 0.0, seconds * len(jobs)
    for job, computed in zip(jobs, results, strict=True):
        try:
            failures.refuse_infinite(job.request.source, computed)
            figures = painter.figures(job, computed)
        except Exception as error:
            yield Outcome(job.request, error=failures.of_picture(job.request.source, error))
            continue
        yield Outcome(job.request, job, computed, None, seconds, compiling, figures)
        compiling = 0.0
