"""Computes pictures: at once where that takes few steps, otherwise in runs that take turns."""

import dataclasses
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from colorjax.colorize import failures, finished, jobs
from colorjax.colorize.painters import Colouring
from colorjax.serve import runs
from colorjax.serve.metrics import Metrics
from colorjax.serve.orders import Limits, Task


class Computing:
    """What is computed now. One thread calls it; pictures are rendered by others.

    Attributes:
        seconds: that a batch took lately.
    """

    def __init__(self, limits: Limits, metrics: Metrics, lock: threading.Condition) -> None:
        """Computes nothing yet.

        Args:
            lock: under which a picture that is done gets its result, unless it was cancelled.
        """
        self.seconds = 1.0
        self._limits, self._metrics, self._lock = limits, metrics, lock
        self._runs: list[runs.Run] = []
        self._previewed = 0.0
        self._rendering = ThreadPoolExecutor(2, "rendering")

    @property
    def is_busy(self) -> bool:
        """Whether there are runs that are not done."""
        return bool(self._runs)

    def close(self, *, is_patient: bool) -> None:
        """Ends its threads; a patient one renders first what is computed."""
        self._rendering.shutdown(wait=is_patient, cancel_futures=not is_patient)

    def shared_run(self, task: Task) -> runs.Run | None:
        """The run that a picture can be in, or waits for a seat in."""
        return next((run for run in self._runs if run.is_shared and run.group == task.group), None)

    def may_begin(self, task: Task) -> bool:
        """Whether a picture's turn can come now: there is a seat, or room for another run."""
        run = self.shared_run(task)
        if run is not None:
            return run.free > 0
        at_once = task.batch.colorizer.num_steps <= self._limits.steps
        return at_once or len(self._runs) < self._limits.runs

    def begin(self, tasks: Sequence[Task]) -> None:
        """Computes pictures of one group at once if that takes few steps, or gives them seats."""
        if tasks[0].batch.colorizer.num_steps <= self._limits.steps:
            self._compute(tasks)
            return
        run = self.shared_run(tasks[0])
        try:
            if run is None:
                self._runs.append(runs.Run(tasks))
            else:
                run.enter(tasks)
        except Exception:  # of memory, say: then without the others
            self._compute(tasks)

    def advance(self) -> None:
        """Takes each run a piece further; one that fails is computed picture by picture."""
        for run in list(self._runs):
            run.drop()
            start, tasks = time.monotonic(), run.tasks
            if not tasks:
                self._runs.remove(run)
                continue
            try:
                self._finish(run.advance(self._limits.steps))
                if start - self._previewed >= self._limits.preview_seconds:
                    run.preview(start - self._limits.preview_seconds)
                    self._previewed = time.monotonic()
            except Exception:
                self._runs.remove(run)
                self._compute([task for task in run.tasks if not task.future.done()])
                continue
            seconds = time.monotonic() - start
            self._metrics.advanced(len(tasks), seconds)
            self.seconds = seconds * run.num_steps / self._limits.steps
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
        self.seconds = time.monotonic() - start
        batch_size = tasks[0].batch.colorizer.batch_size
        self._metrics.computed(len(tasks), batch_size, self.seconds)

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
            self._metrics.failed.inc()
            return
        with self._lock:
            if not task.future.done():
                task.future.set_result(result)
        self._metrics.finished(time.monotonic() - task.arrived)
