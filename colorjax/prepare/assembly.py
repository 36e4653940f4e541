"""The directory of prepared data while it is made: begun, gone on with, completed, put in place."""

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from colorjax import __version__, files
from colorjax.data import records
from colorjax.errors import UserError
from colorjax.prepare import planning, shards, sources

REJECTED = "rejected.jsonl"
PLAN = "plan.json"

Summary = dict[str, shards.Outcome]


def partial_directory(output: Path) -> Path:
    """Where the work is until all of it is done: `.<name>.partial` beside the output."""
    output = output.resolve()
    return output.with_name(f".{output.name}.partial")


def begin(partial: Path, plan: dict[str, Any], overwrite: bool) -> None:
    """Makes the working directory, or goes on in one that has the same plan.

    Raises:
        UserError: it has another plan and `overwrite` is not set, or it cannot be made.
    """
    file, text = partial / PLAN, json.dumps(plan) + "\n"
    try:
        begun = file.read_text(encoding="utf-8") if file.exists() else ""
        if begun == text:
            return
        if begun and not overwrite:
            raise UserError(
                f"{str(partial)!r} has an unfinished preparation of other data or with other "
                "options; repeat that command, or delete the directory or add --overwrite"
            )
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        files.write_text(file, text)
    except OSError as error:
        raise UserError(
            f"--output: {str(partial)!r} cannot be made: {error.strerror}; choose a directory that "
            "you may write to"
        ) from None


def complete(partial: Path, title: str, tasks: Sequence[shards.Task]) -> Summary:
    """Writes what stands beside the shards: the manifest and the list of rejections.

    Returns:
        What became of the pictures of each split.

    Raises:
        UserError: a shard was not made, or nothing of a split is usable.
    """
    summary: Summary = {}
    shards_of: dict[str, list[records.Shard]] = {}
    rejected = []
    for task in tasks:
        outcome = shards.read_outcome(task)
        if outcome is None or outcome.shard is None:
            raise UserError(
                f"{task.path.name!r} was not made; workers must see {task.directory!r}, and "
                "the same command makes what is missing"
            )
        shards_of.setdefault(task.split, []).append(outcome.shard)
        _add(summary.setdefault(task.split, shards.Outcome()), outcome)
        for rejection in outcome.rejected:
            row = {"split": task.split} | asdict(rejection)
            rejected.append(json.dumps(row, ensure_ascii=False) + "\n")
    files.write_text(partial / REJECTED, "".join(rejected))
    for split, of_split in shards_of.items():
        if not any(shard.records for shard in of_split):
            raise UserError(
                f"no picture of split {split!r} is usable; {str(partial / REJECTED)!r} says why"
                f"{planning.first(summary[split].rejected)}"
            )
    _write_manifest(partial, title, tasks, summary, shards_of)
    return summary


def put_in_place(partial: Path, output: Path, tasks: Sequence[shards.Task]) -> None:
    """Renames `partial` to `output`, and removes what only the work on it needed."""
    files.put_in_place(partial, output)
    results = {REJECTED, records.MANIFEST, *(task.path.name for task in tasks)}
    for path in output.iterdir():
        if path.name not in results:
            path.unlink()


def reasons(rejections: Sequence[sources.Rejection]) -> dict[str, int]:
    """Counts the reasons of rejections, the most frequent first."""
    return dict(Counter(rejection.reason for rejection in rejections).most_common())


def _add(total: shards.Outcome, part: shards.Outcome) -> None:
    total.rejected += part.rejected
    total.gray += part.gray
    total.captions += part.captions
    for region, words in part.colours.items():
        total.colours[region].update(words)


def _write_manifest(
    partial: Path,
    title: str,
    tasks: Sequence[shards.Task],
    summary: Summary,
    shards_of: dict[str, list[records.Shard]],
) -> None:
    options = {task.split: asdict(task.options) for task in tasks}
    counts = {
        split: {
            "captions": outcome.captions,
            "gray": outcome.gray,
            "rejected": reasons(outcome.rejected),
        }
        for split, outcome in summary.items()
    }
    records.write_manifest(
        partial, title, shards_of, options=options, counts=counts, colorjax_version=__version__
    )
