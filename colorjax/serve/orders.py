"""What clients want of a service, and how far it has come."""

import contextlib
import secrets
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from colorjax.colorize import jobs
from colorjax.colorize.chroma.hints import HintSource
from colorjax.colorize.files import photos
from colorjax.colorize.library import Batch
from colorjax.colorize.results import Result
from colorjax.colorize.words.instances import MaskSource
from colorjax.colorize.words.masks import Source as MaskFile
from colorjax.inputs import Value


class Full(Exception):
    """There is no room; `seconds` is when it is worth trying again."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"too many pictures wait already; try again in {seconds} seconds")
        self.seconds = seconds


class Limits(NamedTuple):
    """How much a service takes on."""

    waiting: int = 64  # pictures, of all clients
    of_client: int = 16  # pictures that wait of one client
    variations: int = 10
    pixels: int = 32 * 10**6  # of a photograph
    window: float = 0.05  # seconds that a picture waits for others to be computed with it
    kept_pixels: int = 128 * 10**6  # of results that wait to be fetched
    kept_seconds: float = 600.0
    steps: int = 5  # of a piece of a sampling run: what a cancelled picture may still take
    runs: int = 2  # sampling runs that take turns
    preview_seconds: float = 1.0  # between previews of a run that somebody watches


@dataclass(frozen=True)
class Order:
    """What a client wants of one photograph; see `PhotoColorizer.variations`."""

    photo: photos.Source
    prompt: str | None = None
    seed: int = 0
    variations: int = 1
    masks: MaskSource | None = None
    hints: HintSource | None = None
    only_masked: MaskFile | None = None
    settings: Mapping[str, Value] = field(default_factory=dict)
    method: str | None = None  # None: the release decides, by whether there is a prompt


@dataclass(eq=False)
class Progress:
    """How far a picture has come that is computed in pieces.

    Attributes:
        steps: of its sampling run; 0 before it has begun, and where it is computed at once.
        preview: a JPEG of what it seems to become.
        watched: when somebody last looked, in seconds of the monotonic clock.
        batch: how many pictures its program takes, which decides how it rounds.
    """

    step: int = 0
    steps: int = 0
    preview: bytes | None = None
    watched: float = float("-inf")
    batch: int = 1


@dataclass(frozen=True, eq=False)
class Task:
    """One picture of an order on its way."""

    client: str
    group: Hashable
    batch: Batch
    job: jobs.Job
    seed: int
    arrived: float
    future: "Future[Result]" = field(default_factory=Future)
    progress: Progress = field(default_factory=Progress)

    def fail(self, error: Exception) -> None:
        """Ends with an error, unless it has ended already, maybe in this moment by its client."""
        with contextlib.suppress(InvalidStateError):
            self.future.set_exception(error)


@dataclass(frozen=True, eq=False)
class Ticket:
    """An order's pictures, under a name that nobody can guess."""

    tasks: tuple[Task, ...]
    name: str = field(default_factory=lambda: secrets.token_urlsafe(24))

    @property
    def pixels(self) -> int:
        """What its results take of the memory."""
        job = self.tasks[0].job
        return job.lightness.size * len(self.tasks) + job.pixels_beside

    @property
    def is_done(self) -> bool:
        """Whether nothing more will come of it."""
        return all(task.future.done() for task in self.tasks)


def group_of(batch: Batch, job: jobs.Job, phrases: int) -> Hashable:
    """What pictures have in common that can be computed together.

    Args:
        phrases: to a multiple of which the number of phrases is filled up.
    """
    settings = tuple(sorted(batch.colorizer.settings.items(), key=lambda item: item[0]))
    places = 0 if job.spans is None else -(-len(job.spans) // phrases)
    return (batch.colorizer.method.name, job.small.shape, settings, places, job.masks is None)


def describe(tasks: Sequence[Task]) -> list[dict[str, Any]]:
    """What is to be told of each picture: its seed, its step, whether it is done, what failed."""
    rows = []
    for task in tasks:
        row: dict[str, Any] = {"seed": task.seed, "done": task.future.done()}
        if task.progress.steps:
            row |= {"step": task.progress.step, "steps": task.progress.steps}
        if task.future.done() and (error := task.future.exception()) is not None:
            row["error"] = str(error) or "cancelled"
        rows.append(row)
    return rows
