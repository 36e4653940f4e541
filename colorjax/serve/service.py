"""One model in memory that colours photographs of many clients, without any protocol.

Pictures wait in a queue in which clients take turns. Those of one bucket and of the same settings
are computed together, whoever sent them; a picture's bytes are those that it has alone but for what
a program for a batch rounds differently, see `colorize.colorizer`. A sampling run of more than a
few steps is made in pieces: between two of them pictures leave it that were cancelled, others take
their seats, and runs of other settings have their turn.
"""

import dataclasses
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor

from colorjax.colorize import batching, failures, finished, jobs
from colorjax.colorize.library import Batch, PhotoColorizer
from colorjax.colorize.painters import Colouring, seed_of
from colorjax.errors import UserError, one_of
from colorjax.inputs import AUTO
from colorjax.serve import runs
from colorjax.serve.metrics import Metrics
from colorjax.serve.orders import Full, Limits, Order, Task, Ticket, group_of
from colorjax.serve.turns import Turns


class Service:
    """Takes orders, computes them by a thread of its own, and keeps results for a while."""

    def __init__(
        self,
        photographs: PhotoColorizer,
        limits: Limits = Limits(),
        metrics: Metrics | None = None,
        others: Sequence[PhotoColorizer] = (),
    ) -> None:
        """Begins to wait for orders.

        Args:
            others: the same release by other methods, which orders can ask for.
        """
        self.photographs, self.limits = photographs, limits
        self.methods = {one.colorizer.method.name: one for one in (photographs, *others)}
        self.metrics = metrics or Metrics()
        self._turns: Turns[Task] = Turns()
        self._tickets: OrderedDict[str, Ticket] = OrderedDict()
        self._changed = threading.Condition()
        self._is_closing = False
        self._seconds = 1.0  # that a batch took lately
        self._runs: list[runs.Run] = []  # of the thread that computes
        self._previewed = 0.0
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
        photographs = self.photographs
        if order.method is not None:
            one_of("method", order.method, self.methods)
            photographs = self.methods[order.method]
        if order.settings.get("vividness") == AUTO and not photographs.colorizer.has_ranker:
            raise UserError("vividness is 'auto', but the model has no ranker; give a number")
        self.check_room(client, count)
        batch = photographs.batch(
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
        ticket = Ticket(tuple(self._tasks(client, order, batch, job)))
        with self._changed:
            self.check_room(client, count)  # others may have come meanwhile
            for task in ticket.tasks:
                self._turns.add(task)
            self._tickets[ticket.name] = ticket
            self._forget_old()
            self._changed.notify_all()
        return ticket

    def _tasks(self, client: str, order: Order, batch: Batch, job: jobs.Job) -> list[Task]:
        group = group_of(batch, job, batching.PHRASES)
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
        while True:
            tasks, run = self._next()
            if not tasks and not self._runs:
                return
            if tasks:
                self._begin(tasks, run)
            del tasks, run  # or their photographs would be kept until others come
            self._advance()

    def _next(self) -> tuple[list[Task], runs.Run | None]:
        """Whose turn it is, and the run that they join; nobody when it is time to close.

        While there are runs, nobody is waited for.
        """
        with self._changed:
            if not self._runs:
                self._changed.wait_for(lambda: len(self._turns) or self._is_closing)
            first = self._turns.together(1, self._may_begin)
            if not first:
                return [], None
            run = self._shared_run(first[0])
            if run is not None:
                return self._turns.take(run.free, self._may_begin), run
            most = first[0].batch.colorizer.batch_size
            due = first[0].arrived + self.limits.window
            self._changed.wait_for(
                lambda: len(self._turns.together(most)) in (0, most) or self._is_closing,
                timeout=0.0 if self._runs else max(0.0, due - time.monotonic()),
            )
            return self._turns.take(most, self._may_begin), None

    def _shared_run(self, task: Task) -> runs.Run | None:
        """The run that a picture can be in, or waits for a seat in."""
        return next((run for run in self._runs if run.is_shared and run.group == task.group), None)

    def _may_begin(self, task: Task) -> bool:
        run = self._shared_run(task)
        if run is not None:
            return run.free > 0
        at_once = task.batch.colorizer.num_steps <= self.limits.steps
        return at_once or len(self._runs) < self.limits.runs

    def _begin(self, tasks: Sequence[Task], run: runs.Run | None) -> None:
        """Computes pictures at once where that takes few steps, or gives them seats."""
        if tasks[0].batch.colorizer.num_steps <= self.limits.steps:
            self._compute(tasks)
            return
        try:
            if run is None:
                self._runs.append(runs.Run(tasks))
            else:
                run.enter(tasks)
        except Exception:  # of memory, say: then without the others
            self._compute(tasks)

    def _advance(self) -> None:
        """Takes each run a piece further; one that fails is computed picture by picture."""
        for run in list(self._runs):
            run.drop()
            start, tasks = time.monotonic(), run.tasks
            if not tasks:
                self._runs.remove(run)
                continue
            try:
                self._finish(run.advance(self.limits.steps))
                if start - self._previewed >= self.limits.preview_seconds:
                    run.preview(start - self.limits.preview_seconds)
                    self._previewed = time.monotonic()
            except Exception:
                self._runs.remove(run)
                self._compute([task for task in run.tasks if not task.future.done()])
                continue
            seconds = time.monotonic() - start
            self.metrics.advanced(len(tasks), seconds)
            self._seconds = seconds * run.num_steps / self.limits.steps
            if not run.tasks:
                self._runs.remove(run)

    def _compute(self, tasks: Sequence[Task]) -> None:
        if not tasks:
            return
        start = time.monotonic()
        try:
            self._finish(runs.at_once(tasks))
        except Exception as error:  # of ours: the service goes on
            for task in tasks:
                task.fail(failures.of_picture("the photograph", error))
        self._seconds = time.monotonic() - start
        batch_size = tasks[0].batch.colorizer.batch_size
        self.metrics.computed(len(tasks), batch_size, self._seconds)

    def _finish(self, outcomes: Iterable[tuple[Task, jobs.Outcome]]) -> None:
        for task, outcome in outcomes:
            self._rendering.submit(self._render, task, outcome)

    def _render(self, task: Task, outcome: jobs.Outcome) -> None:
        if task.future.done():  # it was cancelled
            return
        try:
            if outcome.error is not None:
                raise outcome.error
            about, note = task.batch.said
            note = note | finished.batched(task.progress.batch)
            batch = dataclasses.replace(task.batch, said=(about, note))
            result = batch.result(outcome, Colouring(), 0, {"seed": task.seed})
        except Exception as error:
            task.fail(failures.of_picture("the photograph", error))
            self.metrics.failed.inc()
            return
        with self._changed:
            if not task.future.done():
                task.future.set_result(result)
        self.metrics.finished(time.monotonic() - task.arrived)
