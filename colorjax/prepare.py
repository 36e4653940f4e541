"""Turns a public data set into records: `python -m colorjax.prepare --source=coco ...`.

Every picture is decoded; what cannot be used is left out and named in `rejected.jsonl`. A run that
was interrupted goes on where it stopped, by the same command.
"""

import argparse
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

from colorjax import __version__, errors
from colorjax.data import captioner, cores, records, running, shards, sources
from colorjax.errors import UserError

REJECTED = "rejected.jsonl"
_PLAN = "plan.json"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m colorjax.prepare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--source", required=True, choices=sorted(sources.SOURCES))
    parser.add_argument("--input", required=True, type=Path, help="downloaded archive or folder")
    parser.add_argument("--output", required=True, type=Path, help="directory to make")
    parser.add_argument("--captions", type=Path, help="file or folder of captions, if elsewhere")
    parser.add_argument("--splits", help="comma-separated; all of the source's if not given")
    parser.add_argument("--limit", type=int, help="only the first so many names of each split")
    parser.add_argument("--short_side", type=int, help="shrink to this many pixels; 320 fits 256")
    parser.add_argument(
        "--gray",
        choices=("drop", "keep"),
        help="what to do with gray pictures; if not given, dropped from training splits only",
    )
    parser.add_argument("--captioner", type=Path, help="folder of a BLIP model that describes them")
    parser.add_argument(
        "--captioner_sees",
        choices=captioner.SEEN,
        default="colour",
        help="colour: its sentences replace the source's; gray: they are for automatic captions",
    )
    parser.add_argument("--shard_size", type=int, help="pictures to a file")
    parser.add_argument("--workers", type=int, default=cores.available(), help="processes")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output")
    parser.add_argument(
        "--runner",
        help="run as an Apache Beam pipeline: DirectRunner, DataflowRunner, FlinkRunner, ...; "
        "further arguments are Beam's. Its workers must see input and output under these paths",
    )
    return parser


@dataclass(frozen=True)
class Request:
    """What the user asked for; see the command line's help. None means the source's default."""

    source: str
    input: Path
    output: Path
    captions: Path | None = None
    splits: Sequence[str] | None = None
    limit: int | None = None
    short_side: int | None = None
    gray: str | None = None
    captioner: Path | None = None
    captioner_sees: str = "colour"
    shard_size: int | None = None
    overwrite: bool = False


Summary = dict[str, shards.Outcome]


def prepare(
    request: Request, workers: int = 1, runner: str | None = None, beam: Sequence[str] = ()
) -> Summary:
    """Writes splits, manifest and list of rejections; returns what became of each split.

    The directory appears under its name only when all of it is written; until then the work is in
    `.<name>.partial` beside it. The bytes do not depend on workers, runner or interruptions.

    Raises:
        UserError: an option is out of its range, the output exists and may not be replaced, the
            input is not the data set, or nothing of a split is usable.
    """
    source = sources.SOURCES[request.source]
    _check_options(request, workers)
    splits = _splits(request, source)
    output = request.output.resolve()
    partial = output.with_name(f".{output.name}.partial")
    tasks = [task for split in splits for task in _tasks(request, source, split, partial)]
    _begin(partial, _plan(request, tasks), request.overwrite)
    missing = [task for task in tasks if shards.read_outcome(task) is None]
    if runner is None:
        running.run_processes(missing, workers, done=_pictures(tasks) - _pictures(missing))
    else:
        running.run_beam(missing, runner, beam)
    summary = _finish(partial, source.title, tasks)
    _replace(partial, output)
    for name in (_PLAN, *(shards.outcome_file(task).name for task in tasks)):
        (output / name).unlink()
    return summary


def _check_options(request: Request, workers: int) -> None:
    for name, value in {
        "limit": request.limit,
        "short_side": request.short_side,
        "shard_size": request.shard_size,
        "workers": workers,
    }.items():
        if value is not None and value < 1:
            raise UserError(f"--{name}={value} is too small; give at least 1")
    output = request.output
    if output.exists() and not request.overwrite:
        raise UserError(
            f"--output={str(output)!r} exists; choose another directory or add --overwrite"
        )
    if output.exists() and not (output / records.MANIFEST).is_file():
        raise UserError(
            f"--output={str(output)!r} was not written by this command, so --overwrite does not "
            "remove it; choose another directory"
        )


def _splits(request: Request, source: sources.Source) -> tuple[str, ...]:
    known = source.splits(request.input)
    chosen = known if request.splits is None else tuple(request.splits)
    if not chosen or not set(chosen) <= set(known):
        raise UserError(
            f"--splits={','.join(chosen)!r} is not among the splits of {request.source}; choose "
            f"from {', '.join(known)}"
        )
    return chosen


def _tasks(
    request: Request, source: sources.Source, split: str, partial: Path
) -> Iterator[shards.Task]:
    listed = source.read(request.input, split, request.captions)
    items = list(islice(sources.unique(listed), request.limit))
    if not any(isinstance(item, sources.Entry) for item in items):
        raise UserError(
            f"split {split!r} has no pictures in {str(request.input)!r}; check --input and "
            f"--captions{_first(items)}"
        )
    drop_gray = split in source.drops_gray if request.gray is None else request.gray == "drop"
    options = shards.Options(
        request.short_side,
        drop_gray,
        source.measured,
        None if request.captioner is None else str(request.captioner),
        request.captioner_sees,
    )
    size = request.shard_size or source.shard_size
    count = -(-len(items) // size)
    for index in range(count):
        part = items[index * size : (index + 1) * size]
        yield shards.Task(str(partial), split, index, count, part, options)


def _first(rejections: Sequence[Any]) -> str:
    if not rejections:
        return ""
    return f" (the first of {len(rejections)}: {rejections[0].key}: {rejections[0].reason})"


def _pictures(tasks: Sequence[shards.Task]) -> int:
    return sum(len(task.items) for task in tasks)


def _plan(request: Request, tasks: Sequence[shards.Task]) -> dict[str, Any]:
    """What decides the shards: another plan must not go on with them."""
    return {
        "version": __version__,
        "source": request.source,
        "tasks": [
            {
                "shard": task.path.name,
                "options": asdict(task.options),
                "items": sha256(repr(task.items).encode(errors="backslashreplace")).hexdigest(),
            }
            for task in tasks
        ],
    }


def _begin(partial: Path, plan: dict[str, Any], overwrite: bool) -> None:
    """Makes the working directory, or goes on in one that has the same plan."""
    file, text = partial / _PLAN, json.dumps(plan) + "\n"
    begun = file.read_text(encoding="utf-8") if file.exists() else ""
    if begun == text:
        return
    if begun.endswith("\n") and not overwrite:
        raise UserError(
            f"{str(partial)!r} has an unfinished preparation of other data or with other options; "
            "repeat that command, or delete the directory or add --overwrite"
        )
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    file.write_text(text, encoding="utf-8")


def _finish(partial: Path, title: str, tasks: Sequence[shards.Task]) -> Summary:
    """Puts outcomes together: manifest and list of rejections."""
    summary: Summary = {}
    files: dict[str, list[records.Shard]] = {}
    with (partial / REJECTED).open("w", encoding="utf-8") as rejected:
        for task in tasks:
            outcome = shards.read_outcome(task)
            if outcome is None or outcome.shard is None:
                raise UserError(
                    f"{task.path.name!r} was not made; workers must see {task.directory!r}, and "
                    "the same command makes what is missing"
                )
            files.setdefault(task.split, []).append(outcome.shard)
            _add(summary.setdefault(task.split, shards.Outcome()), outcome)
            for rejection in outcome.rejected:
                row = {"split": task.split} | asdict(rejection)
                rejected.write(json.dumps(row, ensure_ascii=False) + "\n")
    for split, of_split in files.items():
        if not any(shard.records for shard in of_split):
            raise UserError(
                f"no picture of split {split!r} is usable; {str(partial / REJECTED)!r} says why"
                f"{_first(summary[split].rejected)}"
            )
    _write_manifest(partial, title, tasks, summary, files)
    return summary


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
    files: dict[str, list[records.Shard]],
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
        partial, title, files, options=options, counts=counts, colorjax_version=__version__
    )


def _replace(partial: Path, output: Path) -> None:
    """Renames `partial` to `output`; what was there is removed only after it stepped aside."""
    if not output.exists():
        partial.rename(output)
        return
    old = output.with_name(f".{output.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    output.rename(old)
    partial.rename(output)
    shutil.rmtree(old)


def reasons(rejections: Sequence[sources.Rejection]) -> dict[str, int]:
    """How often each reason came, the most frequent first."""
    return dict(Counter(rejection.reason for rejection in rejections).most_common())


def histogram_table(histogram: shards.Histogram) -> str:
    """Colour words, most frequent first: pictures with the word in each region and in either."""
    lines = [f"{'colour':<10}" + "".join(f"{region:>10}" for region in histogram)]
    for word, _ in histogram["either"].most_common():
        lines.append(f"{word:<10}" + "".join(f"{of[word]:>10}" for of in histogram.values()))
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; prints what became of the pictures, and measured colours if there are."""
    parser = _parser()
    args, rest = parser.parse_known_args(argv)
    if rest and args.runner is None:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    request = Request(
        args.source,
        args.input,
        args.output,
        args.captions,
        args.splits.split(",") if args.splits is not None else None,
        args.limit,
        args.short_side,
        args.gray,
        args.captioner,
        args.captioner_sees,
        args.shard_size,
        args.overwrite,
    )
    summary = prepare(request, args.workers, args.runner, rest)
    counts = records.read_manifest(args.output)["splits"]
    for split, outcome in summary.items():
        print(f"{split}: {counts[split]['records']} pictures, {outcome.captions} captions")
        for reason, count in reasons(outcome.rejected).items():
            print(f"  left out: {count} {reason}")
    if any(outcome.rejected for outcome in summary.values()):
        print(f"{os.path.join(args.output, REJECTED)} names what was left out")
    split, outcome = next(iter(summary.items()))
    if outcome.colours["either"]:
        print(f"pictures of the {split} split with each colour word")
        print(histogram_table(outcome.colours))
    return 0


if __name__ == "__main__":
    errors.run(main)
