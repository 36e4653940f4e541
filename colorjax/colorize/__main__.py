"""Colours photographs: `python -m colorjax.colorize PHOTO_OR_FOLDER... [--prompt TEXT]`.

Colour is computed at the model's size and brought to the photograph's, whose lightness, width and
height are kept. Pictures that cannot be read are reported and skipped; then the exit code is 1.
"""

import argparse
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from colorjax import errors, release
from colorjax.colorize import painters, paths, photos
from colorjax.colorize.instances import Instances
from colorjax.colorize.jobs import (
    Outcome,
    Painter,
    Request,
    check_prompt,
    check_seed,
    process,
)
from colorjax.colorize.options import add_sampling, make_colorizer
from colorjax.data import captions
from colorjax.devices import compile_cache, processes
from colorjax.errors import UserError
from colorjax.methods import registry
from colorjax.methods.method import AUTO, OF_MASKS

KINDS = ("levels", "vividness_grid", "enhance")


@dataclass
class Report:
    """What has been done so far, said as it happens."""

    done: int = 0
    failed: list[str] = field(default_factory=list)

    def succeed(self, output: Path, seconds: float) -> None:
        self.done += 1
        print(f"{output}  {seconds:.1f} s", flush=True)

    def fail(self, error: Exception) -> None:
        self.failed.append(str(error))
        print(f"colorjax: skipped: {error}", file=sys.stderr, flush=True)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line's values; None is what it does not say."""
    parser = argparse.ArgumentParser(
        prog="colorjax.colorize", description=str(__doc__).split("\n")[0]
    )
    parser.add_argument("inputs", nargs="+", help="photographs, or folders of them")
    parser.add_argument("--prompt", help="what it shows, in which colours; default: says nothing")
    parser.add_argument("--output", default="outputs", help="a folder, or a file for one input")
    parser.add_argument("--model", default="bundled", help="'bundled' or a release directory")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other colours")
    add_sampling(parser)
    parser.add_argument(
        "--masks",
        metavar="PATH|clipseg|attention",
        help="tie the prompt's phrases to their parts of the picture: masks in files, found by "
        "words, or found by the model itself",
    )
    parser.add_argument("--clipseg", type=Path, metavar="DIR", help="converted CLIPSeg weights")
    parser.add_argument(
        "--levels",
        action="store_true",
        help="a row of pictures: gray, by the whole prompt, by it without its colours, without it",
    )
    parser.add_argument(
        "--vividness_grid", action="store_true", help="all vividnesses with the ranker's scores"
    )
    parser.add_argument(
        "--enhance",
        nargs="?",
        const="auto",
        metavar="T0",
        help="add colour to faded colour photographs; T0 near 1: they have almost none",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    args = parse(arguments)
    prompt = captions.SCARCE[0] if args.prompt is None else args.prompt
    check(args, prompt)
    painter = make_painter(args, prompt)
    directory = release.locate(args.model)
    exclude = Path(args.output) if Path(args.output).is_dir() else None
    photographs = paths.find_photos(args.inputs, exclude)
    outputs = paths.output_paths(photographs, args.output)
    compile_cache.setup()
    colorizer = make_colorizer(args, directory)
    if lost := colorizer.tokenize.lost_words(prompt):
        print(f"colorjax: the prompt is too long; these words are lost: {lost}", file=sys.stderr)
    instances = None
    if args.masks:
        many = len(photographs) > 1
        instances = Instances(
            prompt, args.masks, colorizer.tokenize, clipseg=args.clipseg, many=many
        )
    requests = [
        Request(path, prompt, instances, output)
        for (path, _), output in zip(photographs, outputs, strict=True)
    ]
    report = save_all(process(colorizer, requests, painter, args.seed))
    if report.failed:
        print(f"colorjax: {report.done} coloured, {len(report.failed)} skipped", file=sys.stderr)
    return 1 if report.failed else 0


def check(args: argparse.Namespace, prompt: str) -> None:
    """Raises `UserError` for what does not go together, before anything is loaded."""
    check_seed(args.seed)
    if args.prompt is None and (args.masks or args.levels):
        raise UserError("--masks and --levels are about what a prompt says: give --prompt TEXT")
    for row in OF_MASKS:
        if not args.masks and getattr(args, row.name) is not None:
            raise UserError(f"--{row.name} is about --masks, which are not given")
    if args.masks != "clipseg" and args.clipseg is not None:
        raise UserError("--clipseg is about --masks clipseg, which is not asked for")
    if args.masks and args.levels:
        raise UserError("--masks and --levels do not go together: masks belong to one prompt")
    check_prompt(prompt)


def make_painter(args: argparse.Namespace, prompt: str) -> Painter:
    """What the command line asks for.

    Raises:
        UserError: two things at once, or one that the method cannot do.
    """
    kinds = [name for name in KINDS if getattr(args, name)]
    if len(kinds) > 1:
        raise UserError(f"--{kinds[0]} and --{kinds[1]} exclude each other; give one of them")
    if args.enhance:
        able = [name for name, method in registry.METHODS.items() if method.colourfulness]
        if args.method not in able:
            raise UserError(f"--enhance is a setting of --method={able[0]}, not of {args.method}")
        if args.vividness == AUTO:
            raise UserError(
                "--vividness=auto is for gray photographs; with --enhance give a number"
            )
        return painters.Enhancement.of(args.enhance)
    if args.vividness_grid:
        return painters.VividnessGrid()
    return painters.Levels.of(prompt) if args.levels else painters.Colouring()


def save_all(outcomes: Iterable[Outcome]) -> Report:
    """Writes what comes, and tells of what cannot be."""
    report = Report()
    for outcome in outcomes:
        if outcome.error is not None:
            report.fail(outcome.error)
            continue
        assert outcome.rgb is not None and outcome.request.output is not None
        start = time.monotonic()
        try:
            if processes.is_first():
                photos.save_photo(outcome.request.output, outcome.rgb, outcome.exif)
        except (UserError, OSError) as error:
            report.fail(error)
            continue
        report.succeed(outcome.request.output, outcome.seconds + time.monotonic() - start)
    return report


def command() -> None:
    """The console script."""
    errors.run(main)


if __name__ == "__main__":
    command()
