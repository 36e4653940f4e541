"""The command that colours photographs: what is to do, what of it is done, the rest in batches.

What can be told before a model is loaded is told then: pictures that are none or too large,
results that are there already, folders that cannot be written to.
"""

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from colorjax import files, release
from colorjax.colorize import finished
from colorjax.colorize.colorizer import Colorizer
from colorjax.colorize.command import checks, flags, likeness, paths, stages
from colorjax.colorize.command.report import Report, say
from colorjax.colorize.command.selection import Prompts, Shard, beside, listed
from colorjax.colorize.files import photos, saving
from colorjax.colorize.files.encoding import SUFFIXES
from colorjax.colorize.film import film
from colorjax.colorize.jobs import Outcome, Painter, Ready, Request, process, ready, rendered
from colorjax.colorize.options import make_colorizer, method_of, resolved
from colorjax.colorize.words import prompts
from colorjax.colorize.words.automatic import Captioner
from colorjax.colorize.words.instances import Instances
from colorjax.data import profiles
from colorjax.devices import compile_cache, processes
from colorjax.errors import UserError
from colorjax.methods.method import AUTO

Note = Mapping[str, Any]
INTERRUPTED = 130


@dataclass(frozen=True)
class Task:
    """What a command line asks for, before anything is loaded."""

    args: argparse.Namespace
    prompt: str
    painter: Painter
    note: Note

    def note_of(self, request: Request) -> dict[str, Any]:
        """What made a photograph's result, up to the photograph itself."""
        return {**self.note, **finished.of_request(request, self.args.masks)}


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code: 1 if a picture was left out by an error."""
    args = flags.parse(arguments)
    if args.show_settings is not None:
        for line in likeness.told(likeness.note_in(args.show_settings)):
            say(line)
        return 0
    like = None if args.like is None else likeness.adopt(args)
    prompt = checks.check(args)
    directory = release.locate(args.model)
    args.method = method_of(args, directory)
    painter = checks.make_painter(args, prompt)
    settings = resolved(args, directory)
    report = Report(mode=args.mode)
    requests = _requests(args, prompt, report)
    batch = 1 if _is_single(args, requests) else int(settings["batch_size"])
    digest = finished.digest_of_model(directory)
    note = finished.made_by(digest, args.method, args.seed, settings, str(args.model))
    note |= finished.batched(batch) | dict(painter.about) | finished.of_files(args)
    task = Task(args, prompt, painter, note)
    if like is not None:
        for remark in likeness.remarks(like, task.note_of(requests[0]), requests[0].source):
            report.remark(remark)
    report.start(len(requests))
    due = _due(task, requests, report)
    left = 0
    if due:
        compile_cache.setup()
        colorizer = make_colorizer(args, directory)
        if batch > 1:
            colorizer = colorizer.in_batches()
        if prompt != AUTO:
            for remark in prompts.remarks(args.prompt or "", prompt, colorizer.tokenize):
                report.remark(remark)
        captioner = None
        if any(request.prompt == AUTO for request in due):
            captioner = Captioner(directory, colorizer.tokenize)
        due = _with_instances(task, colorizer, due)
        prepared = ready(due, colorizer.buckets, painter, captioner)
        left = len(due) - _colour(colorizer, task, prepared, report)
    report.sum_up(left)
    _write_skipped(args, report)
    if left:
        return INTERRUPTED
    return 1 if report.failed else 0


def _is_single(args: argparse.Namespace, requests: Sequence[Request]) -> bool:
    """Whether one picture is coloured once, in which a result to be made again has the last word.

    What of it is finished does not count: all of a folder is coloured by the same programs,
    however often it was stopped.
    """
    if args.batch is not None:
        return bool(args.batch == 1)
    samples = max(args.variations, args.doubt)
    return len(requests) == 1 and samples <= 1 and args.pages != "all" and args.shard is None


def _requests(args: argparse.Namespace, prompt: str, report: Report) -> list[Request]:
    """The photographs that the command line means, and where their results go."""
    exclude = Path(args.output) if Path(args.output).is_dir() else None
    photographs = paths.find_photos(listed(args.list) if args.list else args.inputs, exclude)
    if args.frames:
        photographs.pictures.sort(key=lambda picture: film.in_order(picture[0]))
    for problem in photographs.problems:
        report.fail(problem)
    if photographs.told:
        report.remark(f"left out: {photographs.told}")
    suffix = None if args.format is None else f".{args.format}"
    outputs = paths.output_paths(photographs.pictures, args.output, suffix)
    shard, texts = Shard.parse(args.shard), Prompts(args.prompts, prompt)
    requests = []
    for (path, folder), output in zip(photographs.pictures, outputs, strict=True):
        relative = folder / path.name
        if shard.has(relative):
            try:
                requests.append(_request(args, path, texts.of(path, relative), output))
            except UserError as error:
                report.fail(error, path)
    if texts.unused and shard.of == 1:
        some = ", ".join(map(repr, texts.unused[:3]))
        report.remark(f"prompts for {len(texts.unused)} names that no photograph has: {some}")
    return requests


def _request(args: argparse.Namespace, path: Path, prompt: str, output: Path) -> Request:
    return Request(
        path,
        prompt,
        output=output,
        most_pixels=args.max_pixels,
        hints=beside(args.hints, path, (".png", ".json")),
        inside=beside(args.only_masked, path, (".png", ".npy"), must=True),
        page=0 if args.pages == "all" else int(args.pages) - 1,
        restore=args.restore,
    )


def _due(task: Task, requests: Sequence[Request], report: Report) -> list[Request]:
    """Those that can be coloured, by their headers, and are not finished; each page by itself.

    Raises:
        UserError: results cannot be written.
    """
    due: list[Request] = []
    kept: list[Request] = []
    for request in requests:
        assert isinstance(request.source, Path) and request.output is not None
        try:
            pages = photos.check(request.source, request.most_pixels)
            if request.page >= pages:
                raise UserError(f"'{request.source}' has no page {request.page + 1}, but {pages}")
        except UserError as error:
            report.fail(error, request.source)
            continue
        every = _pages(request, pages) if task.args.pages == "all" else [request]
        todo = [part for part in every if task.args.overwrite or not _is_finished(task, part)]
        if not todo:
            kept.append(request)
        due += todo
    if task.args.frames and due:  # each needs the one before
        due, kept = list(requests), []
    for request in kept:
        assert request.output is not None
        report.keep(request.output)
    if processes.is_first():
        outputs = [output for request in due for output in _outputs(task, request)]
        if len(set(outputs)) < len(outputs):
            twice = next(output for output in outputs if outputs.count(output) > 1)
            raise UserError(f"'{twice}' would be two results; give one of the photographs alone")
        paths.check_writable(outputs, task.args.output)
        folders = {request.output.parent for request in requests if request.output is not None}
        if swept := sum(map(files.sweep, folders)):
            report.remark(f"unfinished files of a killed run, now removed: {swept}")
    return due


def _pages(request: Request, pages: int) -> list[Request]:
    assert request.output is not None
    return [
        replace(request, page=i, output=paths.part(request.output, f".page{i + 1}" if i else ""))
        for i in range(pages)
    ]


def _outputs(task: Task, request: Request) -> list[Path]:
    assert request.output is not None
    return [paths.part(request.output, name) for name, _ in task.painter.names(task.args.seed)]


def _is_finished(task: Task, request: Request) -> bool:
    assert isinstance(request.source, Path) and request.output is not None
    if task.args.plain:
        return False  # nothing in a result says what it is
    note = task.note_of(request)
    return all(
        finished.is_finished(paths.part(request.output, name), {**note, **about}, request.source)
        for name, about in task.painter.names(task.args.seed)
    )


def _with_instances(task: Task, colorizer: Colorizer, requests: Sequence[Request]) -> list[Request]:
    args = task.args
    if not args.masks:
        return list(requests)
    instances = Instances(
        task.prompt, args.masks, colorizer.tokenize, clipseg=args.clipseg, many=len(requests) > 1
    )
    return [replace(request, instances=instances) for request in requests]


def _colour(colorizer: Colorizer, task: Task, photographs: Iterator[Ready], report: Report) -> int:
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
    colorizer: Colorizer,
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
    for part in rendered(task.painter, outcome):
        if not processes.is_first():
            continue
        levels, profile = part.levels, b""
        if args.keep_profile and "doubt" not in part.about:
            levels, profile = _in_own_space(outcome, levels)
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
    shard = Shard.parse(args.shard)
    name = "skipped.jsonl" if shard.of == 1 else f"skipped-{shard.number}-of-{shard.of}.jsonl"
    if processes.is_first():
        report.write_skipped(output, name)
