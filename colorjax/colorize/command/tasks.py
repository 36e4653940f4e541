"""What a command line asks for: which photographs, where to, and what of it is still to be done."""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from colorjax import files
from colorjax.colorize import finished
from colorjax.colorize.command import paths
from colorjax.colorize.command.report import Report
from colorjax.colorize.command.selection import Prompts, Shard, beside, listed
from colorjax.colorize.files import photos
from colorjax.colorize.film import film
from colorjax.colorize.jobs import Painter, Request
from colorjax.devices import processes
from colorjax.errors import UserError

Note = Mapping[str, Any]


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


def is_single(args: argparse.Namespace, requests: Sequence[Request]) -> bool:
    """Whether one picture is coloured once, in which a result to be made again has the last word.

    What of it is finished does not count: all of a folder is coloured by the same programs,
    however often it was stopped.
    """
    if args.batch is not None:
        return bool(args.batch == 1)
    samples = max(args.variations, args.doubt)
    is_alone = args.shard is None and processes.share()[1] == 1
    return len(requests) == 1 and samples <= 1 and args.pages != "all" and is_alone


def requests_of(args: argparse.Namespace, prompt: str, report: Report) -> list[Request]:
    """The photographs that the command line means, and where their results go."""
    exclude = Path(args.output) if Path(args.output).is_dir() else None
    inputs = _listed(args.list, report) if args.list else args.inputs
    photographs = paths.find_photos(inputs, exclude)
    if args.frames:
        photographs.pictures.sort(key=lambda picture: film.in_order(picture[0]))
    for problem in photographs.problems:
        report.fail(problem)
    if photographs.told:
        report.remark(f"left out: {photographs.told}")
    suffix = None if args.format is None else f".{args.format}"
    outputs = paths.output_paths(photographs.pictures, args.output, suffix)
    shard, texts = shard_of(args), Prompts(args.prompts, prompt, hold=args.frames)
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
        more = f" and {len(texts.unused) - 3} more" if len(texts.unused) > 3 else ""
        report.remark(f"prompts for names that no photograph has: {some}{more}")
    return requests


def _listed(path: str, report: Report) -> list[Path]:
    """What a list names and is there; what is not is told, as any photograph that is bad.

    Raises:
        UserError: nothing is there.
    """
    names = listed(path)
    present = [name for name in names if os.path.lexists(name)]
    advice = "names in a list start from the folder that the command runs in"
    if not present:
        raise UserError(f"of list '{path}' nothing exists, such as '{names[0]}'; {advice}")
    for name in names:
        if not os.path.lexists(name):
            report.fail(UserError(f"'{name}' does not exist; {advice}"), name)
    return present


def shard_of(args: argparse.Namespace) -> Shard:
    """What of the photographs is this process's: of `--shard`, or of all of them.

    Raises:
        UserError: `--shard` is none.
    """
    return Shard.parse(args.shard).divided(*processes.share())


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


def due_of(task: Task, requests: Sequence[Request], report: Report) -> list[Request]:
    """Those that can be coloured, by their headers, and are not finished; each page by itself.

    Raises:
        UserError: results cannot be written.
    """
    due: list[Request] = []
    kept: list[Request] = []
    readable: list[Request] = []
    for request in requests:
        assert isinstance(request.source, Path) and request.output is not None
        try:
            pages = photos.check(request.source, request.most_pixels)
            if request.page >= pages:
                raise UserError(f"'{request.source}' has no page {request.page + 1}, but {pages}")
        except UserError as error:
            report.fail(error, request.source)
            continue
        readable.append(request)
        every = _pages(request, pages) if task.args.pages == "all" else [request]
        todo = [part for part in every if task.args.overwrite or not _is_finished(task, part)]
        if not todo:
            kept.append(request)
        due += todo
    if task.args.frames and due:  # each needs the one before
        due, kept = readable, []
    for request in kept:
        assert request.output is not None
        report.keep(request.output, request.source)
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
