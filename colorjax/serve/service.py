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
from collections.abc import Sequence
from concurrent.futures import CancelledError

from colorjax.colorize import batching, failures, jobs
from colorjax.colorize.library import Batch, PhotoColorizer
from colorjax.colorize.painters import Colouring, seed_of
from colorjax.errors import UserError, one_of
from colorjax.inputs import AUTO
from colorjax.serve.computing import Computing
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
        self.methods = {
            one.colorizer.method.name: one.of_one_method() for one in (photographs, *others)
        }
        self.metrics = metrics or Metrics()
        self._turns: Turns[Task] = Turns()
        self._tickets: OrderedDict[str, Ticket] = OrderedDict()
        self._changed = threading.Condition()
        self._is_closing = False
        self._computing = Computing(limits, self.metrics, self._changed)
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
            raise Full(max(1, round(batches * self._computing.seconds)))

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
        # A mask may have many times the photograph's pixels, and the ticket is kept for minutes.
        batch, job.request = batch.of_read(request)
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
        self._computing.close(is_patient=seconds is None)

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
            tasks = self._next()
            if tasks:
                self._computing.begin(tasks)
            elif self._is_over:  # and not whenever nobody is left: those who waited may have gone
                return
            del tasks  # or their photographs would be kept until others come
            self._computing.advance()

    @property
    def _is_over(self) -> bool:
        with self._changed:
            return self._is_closing and not self._turns and not self._computing.is_busy

    def _next(self) -> list[Task]:
        """Whose turn it is; nobody if all have left, at the end, or while there are runs."""
        computing = self._computing
        with self._changed:
            if not computing.is_busy:
                self._changed.wait_for(lambda: len(self._turns) or self._is_closing)
            first = self._turns.together(1, computing.may_begin)
            if not first:
                return []
            run = computing.shared_run(first[0])
            if run is not None:
                return self._turns.take(run.free, computing.may_begin)
            most = first[0].batch.colorizer.batch_size
            due = first[0].arrived + self.limits.window
            self._changed.wait_for(
                lambda: len(self._turns.together(most)) in (0, most) or self._is_closing,
                timeout=0.0 if computing.is_busy else max(0.0, due - time.monotonic()),
            )
            return self._turns.take(most, computing.may_begin)
