"""Making shards in processes of this machine, or on many by Apache Beam."""

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from tqdm import tqdm

from colorjax.errors import UserError
from colorjax.prepare import shards, stored

_REFRESH_SECONDS = 0.5
_MOST_CHARACTERS = 500  # of what went wrong in a pipeline; the end of it tells the most
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


def beam_pipeline(runner: str, arguments: Sequence[str]) -> Any:
    """An empty Apache Beam pipeline for the runner.

    Raises:
        UserError: Beam is not installed, knows no such runner, or not all of its arguments.
    """
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError:
        raise UserError(
            "--runner needs Apache Beam; install it with pip install 'colorjax[beam]'"
        ) from None
    options = PipelineOptions(list(arguments))
    # Beam itself warns of them and goes on without, also where our own are misspelt.
    everything = set(options.get_all_options(retain_unknown_options=True))
    unknown = sorted(everything - set(PipelineOptions([]).get_all_options()))
    if unknown:
        raise UserError(f"--{unknown[0]} is an option neither of this command nor of Apache Beam")
    try:
        return beam.Pipeline(runner=runner, options=options)
    except (ValueError, ImportError) as error:
        raise UserError(f"--runner={runner!r} cannot be used: {_one_line(error)}") from None


def run_beam(tasks: Sequence[shards.Task], pipeline: Any) -> None:
    """Makes the shards by a pipeline of `beam_pipeline` and waits for its end.

    What is to be made is written to a file for each shard: services take pipelines of a few
    megabytes, and the names of ImageNet's pictures are more.

    Raises:
        UserError: the pipeline failed.
    """
    import apache_beam as beam

    files = [stored.store(task) for task in tasks]
    (
        pipeline
        | "Shards to make" >> beam.Create(files)
        | "Spread" >> beam.Reshuffle()  # or one worker would make what Create gave it
        | "Make" >> beam.Map(stored.make)
    )
    try:
        pipeline.run().wait_until_finish()
    # Runners and their services raise what they like; details are in Beam's own log.
    except Exception as error:
        raise UserError(
            f"the pipeline failed: {_one_line(error)}; the same command makes what is missing"
        ) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[-_MOST_CHARACTERS:]
