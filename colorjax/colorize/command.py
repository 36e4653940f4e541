"""The command that colours photographs: what is to do, what of it is done, the rest in batches.

What can be told before a model is loaded is told then: pictures that are none or too large,
results that are there already, folders that cannot be written to.
"""

import argparse
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from colorjax import release
from colorjax.colorize import finished, flags, paths, photos, prompts, saving
from colorjax.colorize.colorizer import Colorizer
from colorjax.colorize.instances import Instances
from colorjax.colorize.jobs import Outcome, Request, process
from colorjax.colorize.options import make_colorizer, resolved
from colorjax.colorize.report import Report, say
from colorjax.devices import compile_cache, processes
from colorjax.errors import UserError

Note = Mapping[str, Any]


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code: 1 if a picture was left out by an error."""
    args = flags.parse(arguments)
    prompt = flags.check(args)
    painter = flags.make_painter(args, prompt)
    directory = release.locate(args.model)
    report = Report()
    note = _note(args, prompt, directory, painter)
    requests = _due(args, note, _requests(args, prompt, report), report)
    if requests:
        compile_cache.setup()
        colorizer = make_colorizer(args, directory)
        for remark in prompts.remarks(args.prompt or "", prompt, colorizer.tokenize):
            say(f"colorjax: {remark}", error=True)
        requests = _with_instances(args, prompt, colorizer, requests)
        save_all(process(colorizer, requests, painter, args.seed), note, report)
    report.sum_up()
    return 1 if report.failed else 0


def _note(args: argparse.Namespace, prompt: str, directory: Path, painter: object) -> Note:
    settings = resolved(args, directory)
    note = finished.made_by(directory, args.method, args.seed, args.masks, settings)
    return note | {"prompt": prompt, "painter": repr(painter)}


def _requests(args: argparse.Namespace, prompt: str, report: Report) -> list[Request]:
    """The photographs that the command line means, and where their results go."""
    exclude = Path(args.output) if Path(args.output).is_dir() else None
    photographs = paths.find_photos(args.inputs, exclude)
    for problem in photographs.problems:
        report.fail(problem)
    if photographs.told:
        say(f"colorjax: left out: {photographs.told}", error=True)
    outputs = paths.output_paths(photographs.pictures, args.output)
    most = round(args.max_megapixels * 10**6)
    return [
        Request(path, prompt, None, output, most)
        for (path, _), output in zip(photographs.pictures, outputs, strict=True)
    ]


def _due(
    args: argparse.Namespace, note: Note, requests: Sequence[Request], report: Report
) -> list[Request]:
    """Those that can be coloured, by their headers, and are not finished.

    Raises:
        UserError: results cannot be written.
    """
    due = []
    for request in requests:
        assert isinstance(request.source, Path) and request.output is not None
        try:
            photos.check(request.source, request.most_pixels)
        except UserError as error:
            report.fail(error)
            continue
        if not args.again and finished.is_finished(request.output, note, request.source):
            report.keep(request.output)
        else:
            due.append(request)
    if processes.is_first():
        paths.check_writable([r.output for r in due if r.output is not None], args.output)
    return due


def _with_instances(
    args: argparse.Namespace, prompt: str, colorizer: Colorizer, requests: Sequence[Request]
) -> list[Request]:
    if not args.masks:
        return list(requests)
    instances = Instances(
        prompt, args.masks, colorizer.tokenize, clipseg=args.clipseg, many=len(requests) > 1
    )
    return [Request(r.source, r.prompt, instances, r.output, r.most_pixels) for r in requests]


def save_all(outcomes: Iterable[Outcome], note: Note, report: Report) -> None:
    """Writes what comes, and tells of what cannot be."""
    for outcome in outcomes:
        if outcome.error is not None:
            report.fail(outcome.error)
            continue
        assert outcome.rgb is not None and outcome.request.output is not None
        start = time.monotonic()
        try:
            if processes.is_first():
                whole = {**note, finished.INPUT: outcome.digest}
                saving.save_photo(outcome.request.output, outcome.rgb, outcome.metadata, note=whole)
        except (UserError, OSError, MemoryError) as error:
            report.fail(error)
            continue
        report.succeed(outcome.request.output, outcome, time.monotonic() - start)
