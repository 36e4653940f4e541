"""Colours photographs: `python -m colorjax.colorize PHOTO_OR_FOLDER... [--prompt TEXT]`.

Colour is computed at the model's size and brought to the photograph's, whose lightness, width and
height are kept. Pictures that cannot be read are reported and skipped; then the exit code is 1.
"""

import argparse
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from colorjax import errors, release
from colorjax.colorize import painters, photos
from colorjax.colorize.colorizer import bucket_for
from colorjax.colorize.instances import Instances
from colorjax.colorize.options import add_sampling, make_colorizer
from colorjax.colorize.painters import Job, Painter
from colorjax.data import captions
from colorjax.devices import compile_cache, processes
from colorjax.errors import UserError

MAX_PENDING_PIXELS = 128 * 10**6


@dataclass
class Wish:
    """What is asked for all photographs."""

    prompt: str
    seed: int
    painter: Painter
    instances: Instances | None = None


@dataclass
class Report:
    done: int = 0
    failed: list[str] = field(default_factory=list)

    def fail(self, error: Exception) -> None:
        self.failed.append(str(error))
        print(f"colorjax: skipped: {error}", file=sys.stderr, flush=True)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="colorjax.colorize", description=__doc__.split("\n")[0])
    parser.add_argument("inputs", nargs="+", help="photographs, or folders of them")
    parser.add_argument("--prompt", help="what it shows, in which colours; default: says nothing")
    parser.add_argument("--output", default="outputs", help="a folder, or a file for one input")
    parser.add_argument("--model", default="bundled", help="'bundled' or a release directory")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other colours")
    cold = add_sampling(parser)
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
    cold.add_argument(
        "--vividness_grid", action="store_true", help="all vividnesses with the ranker's scores"
    )
    cold.add_argument(
        "--enhance",
        nargs="?",
        const="auto",
        metavar="T0",
        help="add colour to faded colour photographs; T0 near 1: they have almost none",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    if not 0 <= args.seed < 2**32:
        raise UserError(f"seed is {args.seed}; it must be in 0..{2**32 - 1}")
    prompt = captions.SCARCE[0] if args.prompt is None else args.prompt
    if args.prompt is None and (args.masks or args.levels):
        raise UserError("--masks and --levels are about what a prompt says: give --prompt TEXT")
    if not args.masks and args.refine_step_size is not None:
        raise UserError("--refine_step_size is about --masks, which are not given")
    if args.masks != "clipseg" and args.clipseg is not None:
        raise UserError("--clipseg is about --masks clipseg, which is not asked for")
    if args.masks and args.levels:
        raise UserError("--masks and --levels do not go together: masks belong to one prompt")
    if not prompt.isprintable():
        raise UserError(f"prompt {prompt!r} holds characters that are no text; type it again")
    directory = release.locate(args.model)
    exclude = Path(args.output) if Path(args.output).is_dir() else None
    found = photos.find_photos([Path(p) for p in args.inputs], exclude)
    outputs = photos.output_paths(found, Path(args.output))
    compile_cache.setup()
    colorizer = make_colorizer(args, directory)
    if lost := colorizer.tokenize.lost_words(prompt):
        print(f"colorjax: the prompt is too long; these words are lost: {lost}", file=sys.stderr)
    instances = None
    if args.masks:
        many = len(found) > 1
        instances = Instances(prompt, args.masks, colorizer.tokenize, args.clipseg, many)
    wish = Wish(prompt, args.seed, make_painter(args, prompt, instances), instances)
    report = colorize_all(colorizer, found, outputs, wish)
    if report.failed:
        print(f"colorjax: {report.done} coloured, {len(report.failed)} skipped", file=sys.stderr)
    return 1 if report.failed else 0


def make_painter(args: argparse.Namespace, prompt: str, instances: Instances | None) -> Painter:
    """What the command line asks for; `UserError` for two things at once."""
    kinds = [name for name in ("levels", "vividness_grid", "enhance") if getattr(args, name)]
    if len(kinds) > 1:
        raise UserError(f"--{kinds[0]} and --{kinds[1]} exclude each other; give one of them")
    if args.enhance:
        if args.vividness == "auto":
            raise UserError(
                "--vividness=auto is for gray photographs; with --enhance give a number"
            )
        return painters.enhance(args.enhance)
    if args.vividness_grid:
        return painters.vividness_grid()
    return painters.levels(prompt) if args.levels else painters.colour(instances)


def colorize_all(colorizer, found, outputs, wish: Wish) -> Report:
    """Photographs wait until their bucket's batch is full, or until they take too much memory."""
    report = Report()
    waiting: dict[tuple[int, int], list[Job]] = {}
    pixels = 0

    def flush(bucket: tuple[int, int]) -> None:
        nonlocal pixels
        jobs = waiting.pop(bucket)
        pixels -= sum(job.pixels for job in jobs)
        finish(colorizer, jobs, wish, report)

    for (path, _), output in zip(found, outputs, strict=True):
        try:
            job = prepare(path, output, colorizer.buckets, wish)
        except UserError as error:
            report.fail(error)
            continue
        bucket = job.small.shape
        waiting.setdefault(bucket, []).append(job)
        pixels += job.pixels
        if len(waiting[bucket]) == colorizer.batch_size:
            flush(bucket)
        while pixels > MAX_PENDING_PIXELS:
            flush(next(iter(waiting)))
    while waiting:
        flush(next(iter(waiting)))
    return report


def prepare(path: Path, output: Path, sizes, wish: Wish) -> Job:
    photo = photos.load_photo(path)
    height, width = photo.rgb.shape[:2]
    job = painters.to_job(photo, output, bucket_for(height, width, sizes), wish.painter)
    if wish.instances:
        job.masks = wish.instances.masks(path, job.lightness, *job.small.shape)
    return job


def finish(colorizer, jobs: list[Job], wish: Wish, report: Report) -> None:
    start = time.monotonic()
    made = wish.painter.compute(colorizer, jobs, wish.prompt, wish.seed)
    computed = time.monotonic() - start
    for job, of_job in zip(jobs, made, strict=True):
        start = time.monotonic()
        picture = wish.painter.render(job, of_job)
        try:
            if processes.is_first():
                photos.save_photo(job.output, picture, job.exif)
        except (UserError, OSError) as error:
            report.fail(error)
            continue
        report.done += 1
        seconds = computed / len(jobs) + time.monotonic() - start
        print(f"{job.output}  {seconds:.1f} s", flush=True)


def command() -> None:
    errors.run(main)


if __name__ == "__main__":
    command()
