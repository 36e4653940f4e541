"""The command that colours photographs: what is to do, what of it is done, the rest in batches.

What can be told before a model is loaded is told then: pictures that are none or too large,
results that are there already, folders that cannot be written to.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from colorjax.colorize import finished
from colorjax.colorize.command import checks, flags, likeness, paths, stages
from colorjax.colorize.command.report import Report, say
from colorjax.colorize.command.tasks import Task, due_of, is_single, requests_of, shard_of
from colorjax.colorize.files import saving
from colorjax.colorize.files.encoding import SUFFIXES
from colorjax.colorize.film import film
from colorjax.colorize.jobs import Outcome, Ready, Request, ready
from colorjax.colorize.options import Chosen, chosen
from colorjax.colorize.processing import process, rendered
from colorjax.colorize.running import PictureColorizer
from colorjax.colorize.words import prompts
from colorjax.colorize.words.automatic import Captioner
from colorjax.colorize.words.instances import Instances
from colorjax.data import profiles
from colorjax.devices import compile_cache, processes
from colorjax.errors import UserError
from colorjax.methods.method import AUTO

INTERRUPTED = 130
_MOST_SECONDS = 30 * 24 * 3600  # that a process waits for the others at its end


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code: 1 if a picture was left out by an error."""
    args = flags.parse(arguments)
    if args.show_settings is not None:
        for line in likeness.told(likeness.note_in(args.show_settings)):
            say(line)
        return 0
    if args.mesh == "all":
        _join(args)
    like = None if args.like is None else likeness.adopt(args)
    prompt = checks.check(args)
    model = chosen(args)
    args.method = model.method
    painter = checks.make_painter(args, prompt)
    report = Report(mode=args.mode)
    requests = requests_of(args, prompt, report)
    batch = 1 if is_single(args, requests) else int(model.settings["batch_size"])
    note = finished.made_by(model.digest, args.method, args.seed, model.settings, str(args.model))
    note |= finished.batched(batch) | dict(painter.about) | finished.of_files(args)
    task = Task(args, prompt, painter, note)
    if like is not None and requests:
        for remark in likeness.remarks(like, task.note_of(requests[0]), requests[0].source):
            report.remark(remark)
    report.start(len(requests))
    due = due_of(task, requests, report)
    left = 0
    if due:
        compile_cache.setup()
        colorizer = model.load()
        if batch > 1:
            colorizer = colorizer.in_batches()
        if prompt != AUTO:
            for remark in prompts.remarks(args.prompt or "", prompt, colorizer.tokenize):
                report.remark(remark)
        captioner = None
        if any(request.prompt == AUTO for request in due):
            captioner = _captioner(model, colorizer)
        due = _with_instances(task, colorizer, due)
        prepared = ready(due, colorizer.buckets, painter, captioner)
        left = len(due) - _colour(colorizer, task, prepared, report)
    report.sum_up(left)
    _write_skipped(args, report)
    if left:
        return INTERRUPTED
    return 1 if report.failed else 0


def _join(args: argparse.Namespace) -> None:
    """Becomes one of the processes of several hosts, if a launcher started them.

    Each reads, colours and writes its own share of the photographs, so one may be done hours before
    another, and there is nothing to be saved together when they are told to end.

    Raises:
        UserError: the others do not answer, or what is to be coloured is one film.
    """
    processes.join(shutdown_seconds=_MOST_SECONDS, heeds_sigterm=False)
    if args.frames and processes.share()[1] > 1:
        raise UserError("--frames is one film, whose frames need each other: give one process")


def _captioner(model: Chosen, colorizer: PictureColorizer) -> Captioner:
    if model.directory is None:
        raise UserError("--prompt auto needs a release, and a .cjx file has no image encoder")
    return Captioner(model.directory, colorizer.tokenize)


def _with_instances(
    task: Task, colorizer: PictureColorizer, requests: Sequence[Request]
) -> list[Request]:
    args = task.args
    if not args.masks:
        return list(requests)
    instances = Instances(
        task.prompt, args.masks, colorizer.tokenize, clipseg=args.clipseg, many=len(requests) > 1
    )
    return [replace(request, instances=instances) for request in requests]


def _colour(
    colorizer: PictureColorizer, task: Task, photographs: Iterator[Ready], report: Report
) -> int:
    """Reads, computes and writes, each in its own thread; returns how many are told of."""
    told = report.done + len(report.failed)
    with stages.Stop() as stop:
        prepared = stages.ahead(photographs, lambda: stop.is_asked)
        frames = film.Film(task.args.seed, task.args.keyframes) if task.args.frames else None
        behind: stages.Behind[Outcome] = stages.Behind(lambda outcome: _write(task, outcome))
        for outcome in _outcomes(colorizer, prepared, task, stop, frames):
            if outcome.error is not None:
                report.fail(outcome.error, outcome.request.source)
                continue
            pixels = 0 if outcome.job is None else outcome.job.pixels
            for done in behind.give(outcome, pixels):
                _tell(report, *done)
            if stop.is_asked:
                break
        for done in behind.rest():
            _tell(report, *done)
    if frames is not None and frames.frames:
        report.film(frames.scenes, frames.figures)
    return report.done + len(report.failed) - told


def _outcomes(
    colorizer: PictureColorizer,
    prepared: Iterator[Ready],
    task: Task,
    stop: stages.Stop,
    frames: film.Film | None,
) -> Iterator[Outcome]:
    """What becomes of photographs, or of a film's frames, in their order."""
    rest = (task.painter, task.args.seed, lambda: stop.is_asked)
    if frames is None:
        yield from process(colorizer, prepared, *rest)
        return
    keyframes = frames.keyframes(prepared)
    for outcome in process(colorizer, keyframes, *rest, lambda: frames.pixels):
        yield from frames.coloured(outcome)
    yield from frames.rest()


def _write(task: Task, outcome: Outcome) -> tuple[float, list[str]]:
    """Renders a photograph's pictures and writes them; how long it took, and what was lost."""
    start = time.monotonic()
    lost: list[str] = []
    request, args = outcome.request, task.args
    assert request.output is not None
    note = None if args.plain else task.note_of(request) | finished.of_photograph(outcome)
    is_only_one = len(task.painter.names(args.seed)) == 1
    for part in rendered(task.painter, outcome):
        if is_only_one and outcome.job is not None:
            outcome.job.let_go()
        levels, profile = part.levels, b""
        if args.keep_profile and "doubt" not in part.about:
            levels, profile = _in_own_space(outcome, np.asarray(levels))
        lost += saving.save_photo(
            paths.part(request.output, part.name),
            levels,
            outcome.metadata,
            args.quality,
            None if note is None else {**note, **part.about},
            profile=profile,
        )
        has_profile = outcome.job is not None and outcome.job.photo.pixels.profile
        if args.keep_profile and has_profile and not profile and "doubt" not in part.about:
            lost.append("a profile that is not for RGB: it is in sRGB")
    return time.monotonic() - start, lost


def _in_own_space(outcome: Outcome, levels: np.ndarray) -> tuple[np.ndarray, bytes]:
    """Levels in the photograph's own space, and its profile; empty if that is not for RGB."""
    profile = outcome.job.photo.pixels.profile if outcome.job else b""
    converted = profiles.from_srgb(levels, profile) if profile else None
    return (levels, b"") if converted is None else (converted, profile)


def _tell(report: Report, outcome: Outcome, future: Any) -> None:
    error = future.exception()
    output = outcome.request.output
    assert output is not None
    if error is None:
        seconds, lost = future.result()
        about = {"file": str(outcome.request.source), "prompt": outcome.prompt}
        if outcome.prompt != outcome.request.prompt:
            about["caption"] = outcome.prompt
        report.succeed(
            output, outcome.seconds + seconds, outcome.compiling, about | dict(outcome.figures)
        )
        if lost:
            report.remark(f"'{output}' has no place for {', '.join(dict.fromkeys(lost))}")
    elif isinstance(error, UserError | OSError | MemoryError):
        report.fail(error, outcome.request.source)
    else:
        raise error


def _write_skipped(args: argparse.Namespace, report: Report) -> None:
    output = Path(args.output)
    if output.suffix.lower() in SUFFIXES and not output.is_dir():
        return
    shard = shard_of(args)
    name = "skipped.jsonl" if shard.of == 1 else f"skipped-{shard.number}-of-{shard.of}.jsonl"
    report.write_skipped(output, name)
