"""Pictures of one group that are computed together: at once, or in pieces that can be left."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt32
from PIL import Image

from colorjax.colorize import failures, jobs, processing
from colorjax.colorize.chroma import recombine
from colorjax.colorize.painters import Colouring, Small
from colorjax.colorize.running import PictureColorizer
from colorjax.serve.orders import Task

_PREVIEW_SIDE = 512  # of its longer side, in pixels
_PREVIEW_QUALITY = 80


@dataclass(frozen=True)
class _Seeded(Colouring):
    """Colourings by a seed for each request."""

    seeds: Mapping[int, int] = field(default_factory=dict)  # by the request's identity

    def compute(
        self, colorizer: PictureColorizer, jobs_: Sequence[jobs.Job], seed: int
    ) -> Sequence[tuple[int, Sequence[Small]]]:
        """Each job's seed and the model's picture."""
        seeds: UInt32[np.ndarray, " n"] = np.array(
            [self.seeds[id(job.request)] for job in jobs_], np.uint32
        )
        raws = colorizer(jobs.pictures(colorizer, jobs_, seeds))
        return [(int(seed), [raw]) for seed, raw in zip(seeds, raws, strict=True)]


def at_once(tasks: Sequence[Task]) -> Iterator[tuple[Task, jobs.Outcome]]:
    """The outcomes of a batch; one that fails is tried picture by picture."""
    by_request = {id(task.job.request): task for task in tasks}
    painter = _Seeded(seeds={name: task.seed for name, task in by_request.items()})
    colorizer = tasks[0].batch.colorizer
    for task in tasks:
        task.progress.batch = 1 if len(tasks) == 1 else colorizer.batch_size
    for outcome in processing.process(colorizer, [task.job for task in tasks], painter, 0):
        yield by_request[id(outcome.request)], outcome


class Run:
    """A sampling run in pieces, in which pictures come and go.

    Who begins alone has the program for one picture and stays alone in it, so that the bytes are
    those that the picture has alone; of several, each seat that gets free is taken by another.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        """Begins with pictures of one group, at most a batch of them."""
        self._colorizer = tasks[0].batch.colorizer
        self.group = tasks[0].group
        count = 1 if len(tasks) == 1 else self._colorizer.batch_size
        self._sampling = self._colorizer.sampling(count)
        self._seats: list[Task | None] = [None] * count
        self.enter(tasks)

    @property
    def tasks(self) -> list[Task]:
        """The pictures that are in it."""
        return [task for task in self._seats if task is not None]

    @property
    def num_steps(self) -> int:
        """What each picture takes."""
        return self._colorizer.num_steps

    @property
    def free(self) -> int:
        """How many more can come."""
        return self._seats.count(None) if self.is_shared else 0

    @property
    def is_shared(self) -> bool:
        """Whether it has seats for several."""
        return len(self._seats) > 1

    def enter(self, tasks: Sequence[Task]) -> None:
        """Gives pictures of its group seats, as many as are free at most."""
        free = [seat for seat, task in enumerate(self._seats) if task is None][: len(tasks)]
        seeds = np.array([task.seed for task in tasks], np.uint32)
        pictures = jobs.pictures(self._colorizer, [task.job for task in tasks], seeds)
        self._sampling.enter(pictures, free)
        for seat, task in zip(free, tasks, strict=True):
            self._seats[seat] = task
            task.progress.step, task.progress.steps = 0, self._colorizer.num_steps
            task.progress.batch = len(self._seats)

    def drop(self) -> None:
        """Frees the seats of those who were cancelled."""
        for seat, task in enumerate(self._seats):
            if task is not None and task.future.done():
                self._sampling.leave(seat)
                self._seats[seat] = None

    def advance(self, steps: int) -> Iterator[tuple[Task, jobs.Outcome]]:
        """Goes so many steps further; yields what is done."""
        self._sampling.advance(steps)
        done = []
        for seat, task in enumerate(self._seats):
            if task is not None:
                task.progress.step = int(self._sampling.places[seat])
                if task.progress.step == self._colorizer.num_steps:
                    done.append((seat, task))
        if done:
            raws = self._sampling.images()
            for seat, task in done:
                self._seats[seat] = None
                yield task, _outcome(task, raws[seat])

    def preview(self, since: float) -> None:
        """Draws what those pictures become that somebody has looked at since a time."""
        watched = [
            (seat, task)
            for seat, task in enumerate(self._seats)
            if task is not None and task.progress.watched >= since
        ]
        if watched:
            raws = self._sampling.images()
            for seat, task in watched:
                task.progress.preview = _drawn(task.job, raws[seat])


def _outcome(task: Task, raw: Small) -> jobs.Outcome:
    request = task.job.request
    try:
        failures.refuse_infinite(request.source, raw)
    except Exception as error:
        return jobs.Outcome(request, error=failures.of_picture(request.source, error))
    return jobs.Outcome(request, task.job, (task.seed, [raw]))


def _drawn(job: jobs.Job, raw: Small) -> bytes:
    """A photograph in a model's colours as a small JPEG; of no use but to be looked at."""
    height, width = job.lightness.shape
    shrink = min(1.0, _PREVIEW_SIDE / max(height, width))
    size = (max(1, round(height * shrink)), max(1, round(width * shrink)))
    lightness = recombine.to_model_size(job.lightness, *size)
    shown = recombine.full_picture(np.nan_to_num(raw), lightness, job.small)
    file = io.BytesIO()
    levels = recombine.quantized(shown, np.uint8)
    Image.fromarray(levels).save(file, "JPEG", quality=_PREVIEW_QUALITY)
    return file.getvalue()
