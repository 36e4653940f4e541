"""The whole preparation: plan, make the shards that are missing, assemble, put in place."""

from collections.abc import Sequence

from colorjax.errors import UserError
from colorjax.prepare import assembly, planning, shards, sources, workers
from colorjax.prepare.planning import Request


def prepare(
    request: Request, num_workers: int = 1, runner: str | None = None, beam: Sequence[str] = ()
) -> assembly.Summary:
    """Writes splits, manifest and list of rejections; returns what became of each split.

    The directory appears under its name only when all of it is written; until then the work is in
    `.<name>.partial` beside it. The bytes do not depend on workers, runner or interruptions.

    Args:
        request: what to make of what.
        num_workers: processes of this machine, where there is no runner.
        runner: name of an Apache Beam runner that makes the shards instead.
        beam: Beam's own arguments.

    Raises:
        UserError: an option is out of its range, the output exists and may not be replaced, the
            input is not the data set, nothing of a split is usable, or the runner failed.
    """
    if num_workers < 1:
        raise UserError(f"--workers={num_workers} is too small; give at least 1")
    planning.check(request)
    pipeline = None if runner is None else workers.beam_pipeline(runner, beam)
    partial = assembly.partial_directory(request.output)
    tasks = planning.tasks(request, partial)
    assembly.begin(partial, planning.plan(request, tasks), request.overwrite)
    missing = [task for task in tasks if shards.read_outcome(task) is None]
    if pipeline is None:
        workers.run_processes(missing, num_workers, done=_pictures(tasks) - _pictures(missing))
    elif missing:
        workers.run_beam(missing, pipeline)
    summary = assembly.complete(partial, sources.SOURCES[request.source].title, tasks)
    assembly.put_in_place(partial, request.output.resolve(), tasks)
    return summary


def _pictures(tasks: Sequence[shards.Task]) -> int:
    return sum(len(task.items) for task in tasks)
