"""One model in memory that colours photographs of many clients, without any protocol.

Pictures wait in a queue in which clients take turns. Those of one bucket and of the same settings
are computed together, whoever sent them; a picture's bytes are those that it has alone but for what
a program for a batch rounds differently, see `colorize.colorizer`. A sampling run is one program
and is not interrupted: a picture that is cancelled leaves the queue at once, and out of a batch
that is being computed its result is dropped.
"""

import dataclasses
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt32

from colorjax.colorize import failures, jobs, processing
from colorjax.colorize.chroma.hints import HintSource
from colorjax.colorize.files import photos
from colorjax.colorize.library import Batch, PhotoColorizer
from colorjax.colorize.painters import Colouring, Small, seed_of
from colorjax.colorize.results import Result
from colorjax.colorize.running import PictureColorizer
from colorjax.colorize.words.instances import MaskSource
from colorjax.colorize.words.masks import Source as MaskFile
from colorjax.errors import UserError
from colorjax.inputs import AUTO, Value
from colorjax.serve.metrics import Metrics
from colorjax.serve.turns import Turns


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


@dataclass(frozen=True, eq=False)
class Ticket:
    """An order's pictures, under a name that nobody can guess."""

    name: str
    tasks: tuple[Task, ...]

    @property
    def pixels(self) -> int:
        """What its results take of the memory."""
        return self.tasks[0].job.lightness.size * len(self.tasks)

    @property
    def is_done(self) -> bool:
        """Whether nothing more will come of it."""
        return all(task.future.done() for task in self.tasks)


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


class Service:
    """Takes orders, computes them by a thread of its own, and keeps results for a while."""

    def __init__(
        self, photographs: PhotoColorizer, limits: Limits = Limits(), metrics: Metrics | None = None
    ) -> None:
        self.photographs, self.limits = photographs, limits
        self.metrics = metrics or Metrics()
        self._turns: Turns[Task] = Turns()
        self._tickets: OrderedDict[str, Ticket] = OrderedDict()
        self._changed = threading.Condition()
        self._is_closing = False
        self._seconds = 1.0  # that a batch took lately
        self._rendering = ThreadPoolExecutor(2, "rendering")
        self._thread = threading.Thread(target=self._work, name="computing", daemon=True)
        self._thread.start()
        self.metrics.watch(lambda: len(self._turns))

    @property
    def is_closing(self) -> bool:
        """Whether no more orders are taken."""
        return self._is_closing

    def check_room(self, client: str, pictures: int = 1) -> None:
        """Looks whether so many pictures can wait, to refuse an order before it is read.

        Raises:
            Full: they cannot.
        """
        with self._changed:
            waiting, own = len(self._turns), self._turns.of_client(client)
        no_room = waiting + pictures > self.limits.waiting
        if self._is_closing or no_room or own + pictures > self.limits.of_client:
            self.metrics.rejected.inc()
            batches = 1 + waiting / self.photographs.colorizer.batch_size
            raise Full(max(1, round(batches * self._seconds)))

    def submit(self, client: str, order: Order) -> Ticket:
        """Reads a photograph and puts its pictures into the queue.

        Raises:
            UserError: the photograph cannot be read, or a value cannot be.
            Full: there is no room.
        """
        count = order.variations
        if not 1 <= count <= self.limits.variations:
            raise UserError(f"variations is {count}; it must be in 1..{self.limits.variations}")
        if order.settings.get("vividness") == AUTO and not self.photographs.colorizer.has_ranker:
            raise UserError("vividness is 'auto', but the model has no ranker; give a number")
        self.check_room(client, count)
        batch = self.photographs.batch(
            [order.photo], order.prompt, order.seed, order.masks, dict(order.settings)
        )
        (request,) = batch.requests
        pixels = self.limits.pixels
        request = dataclasses.replace(
            request, hints=order.hints, inside=order.only_masked, most_pixels=pixels
        )
        try:
            job = jobs.prepare(request, batch.colorizer.buckets, Colouring())
        except Exception as error:
            raise failures.of_picture(order.photo, error) from None
        ticket = Ticket(secrets.token_urlsafe(24), tuple(self._tasks(client, order, batch, job)))
        with self._changed:
            self.check_room(client, count)  # others may have come meanwhile
            for task in ticket.tasks:
                self._turns.add(task)
            self._tickets[ticket.name] = ticket
            self._forget_old()
            self._changed.notify_all()
        return ticket

    def _tasks(self, client: str, order: Order, batch: Batch, job: jobs.Job) -> list[Task]:
        settings = tuple(sorted(batch.colorizer.settings.items(), key=lambda item: item[0]))
        group = (job.small.shape, settings, job.spans is None, job.masks is None)
        now = time.monotonic()
        return [
            # A request of its own each, by whose identity its seed is known.
            Task(
                client,
                group,
                batch,
                dataclasses.replace(job, request=dataclasses.replace(job.request)),
                seed_of(order.seed, number),
                now,
            )
            for number in range(order.variations)
        ]

    def ticket(self, name: str) -> Ticket | None:
        """The ticket of a name, while it is kept."""
        with self._changed:
            self._forget_old()
            return self._tickets.get(name)

    def position(self, ticket: Ticket) -> int:
        """How many pictures come before the ticket's first that waits; 0 if none waits."""
        with self._changed:
            order = list(self._turns.in_order())
        return next((place for place, task in enumerate(order) if task in ticket.tasks), 0)

    def cancel(self, ticket: Ticket) -> None:
        """Ends what is not done of a ticket, and forgets it."""
        with self._changed:
            self._tickets.pop(ticket.name, None)
            for task in ticket.tasks:
                self._turns.remove(task)
                if not task.future.done():
                    task.future.set_exception(CancelledError())
                    self.metrics.cancelled.inc()
            self._changed.notify_all()

    def close(self, seconds: float | None = None) -> None:
        """Takes no more orders, finishes those that wait, and ends.

        Args:
            seconds: after which what is not done is left.
        """
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        self._thread.join(seconds)
        self._rendering.shutdown(wait=seconds is None, cancel_futures=seconds is not None)

    def _forget_old(self) -> None:
        """Drops tickets whose results are kept for too long or take too much; has the lock."""
        oldest = time.monotonic() - self.limits.kept_seconds
        done = [ticket for ticket in self._tickets.values() if ticket.is_done]
        pixels = sum(ticket.pixels for ticket in done)
        for ticket in done:
            if pixels > self.limits.kept_pixels or ticket.tasks[0].arrived < oldest:
                pixels -= ticket.pixels
                del self._tickets[ticket.name]

    def _work(self) -> None:
        most = self.photographs.colorizer.batch_size
        while True:
            with self._changed:
                self._changed.wait_for(lambda: len(self._turns) or self._is_closing)
                if not len(self._turns):
                    return
                due = self._turns.together(1)[0].arrived + self.limits.window
                self._changed.wait_for(
                    lambda: len(self._turns.together(most)) in (0, most) or self._is_closing,
                    timeout=max(0.0, due - time.monotonic()),
                )
                tasks = self._turns.take(most)
            if tasks:
                self._compute(tasks)
                del tasks  # or its photographs would be kept until others come

    def _compute(self, tasks: Sequence[Task]) -> None:
        start = time.monotonic()
        by_request = {id(task.job.request): task for task in tasks}
        painter = _Seeded(seeds={name: task.seed for name, task in by_request.items()})
        colorizer = tasks[0].batch.colorizer
        try:
            for outcome in processing.process(colorizer, [task.job for task in tasks], painter, 0):
                self._rendering.submit(
                    self._render, by_request[id(outcome.request)], outcome, painter
                )
        except Exception as error:  # of ours: the service goes on
            for task in tasks:
                _fail(task, failures.of_picture("the photograph", error))
        self._seconds = time.monotonic() - start
        self.metrics.computed(len(tasks), colorizer.batch_size, self._seconds)

    def _render(self, task: Task, outcome: jobs.Outcome, painter: Colouring) -> None:
        if task.future.done():  # it was cancelled
            return
        try:
            if outcome.error is not None:
                raise outcome.error
            result = task.batch.result(outcome, painter, 0, {"seed": task.seed})
        except Exception as error:
            _fail(task, failures.of_picture("the photograph", error))
            self.metrics.failed.inc()
            return
        with self._changed:
            if not task.future.done():
                task.future.set_result(result)
        self.metrics.finished(time.monotonic() - task.arrived)


def _fail(task: Task, error: Exception) -> None:
    if not task.future.done():
        task.future.set_exception(error)


def describe(ticket: Ticket) -> list[dict[str, Any]]:
    """What is to be told of each picture of a ticket: its seed, whether it is done, what failed."""
    rows = []
    for task in ticket.tasks:
        row: dict[str, Any] = {"seed": task.seed, "done": task.future.done()}
        if task.future.done() and (error := task.future.exception()) is not None:
            row["error"] = str(error) or "cancelled"
        rows.append(row)
    return rows
