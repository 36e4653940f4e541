"""Making shards in processes of this machine, or on many by Apache Beam."""

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from tqdm import tqdm

from colorjax.data import shards
from colorjax.errors import UserError

_REFRESH_SECONDS = 0.5
_counter: Any = None  # of this worker process: items done by all


def run_processes(tasks: Sequence[shards.Task], workers: int, done: int = 0) -> None:
    """Makes the shards, in this process if one worker is enough, with a progress bar.

    `done` pictures of an earlier run are shown as done. Raises `UserError` if a worker dies.
    """
    total = done + sum(len(task.items) for task in tasks)
    with tqdm(total=total, initial=done, unit=" pictures", mininterval=_REFRESH_SECONDS) as bar:
        if min(workers, len(tasks)) <= 1:
            for task in tasks:
                shards.make(task, bar.update)
            return
        # Not forked: the progress bar has a thread, and so may whoever calls this.
        context = multiprocessing.get_context("spawn")
        counter = context.Value("q", 0)
        with ProcessPoolExecutor(
            min(workers, len(tasks)), context, initializer=_start_worker, initargs=(counter,)
        ) as pool:
            futures = [pool.submit(_make, task) for task in tasks]
            try:
                _watch(futures, bar, done, counter)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def _start_worker(counter: Any) -> None:
    global _counter
    _counter = counter


def _make(task: shards.Task) -> None:
    shards.make(task, _tick)


def _tick() -> None:
    with _counter.get_lock():
        _counter.value += 1


def _watch(futures: Sequence[Future[None]], bar: tqdm, done: int, counter: Any) -> None:
    pending = set(futures)
    while pending:
        finished, pending = wait(pending, _REFRESH_SECONDS, FIRST_EXCEPTION)
        bar.update(done + counter.value - bar.n)
        for future in finished:
            try:
                future.result()
            except BrokenProcessPool:
                raise UserError(
                    "a worker process died, perhaps for want of memory; repeat the command with "
                    "fewer --workers, it goes on where it stopped"
                ) from None


def run_beam(tasks: Sequence[shards.Task], runner: str, arguments: Sequence[str]) -> None:
    """Makes the shards by an Apache Beam pipeline and waits for its end.

    Raises:
        UserError: Beam is not installed, or knows no such runner.
    """
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError:
        raise UserError(
            "--runner needs Apache Beam; install it with pip install 'colorjax[beam]'"
        ) from None
    try:
        pipeline = beam.Pipeline(runner=runner, options=PipelineOptions(list(arguments)))
    except ValueError as error:
        raise UserError(f"--runner={runner!r} cannot be used: {error}") from None
    with pipeline:
        (
            pipeline
            | "Shards to make" >> beam.Create(list(tasks))
            | "Spread" >> beam.Reshuffle()  # or one worker would make what Create gave it
            | "Make" >> beam.Map(shards.make)
        )
