"""Colours photographs: `python -m colorjax.colorize PHOTO_OR_FOLDER... [--prompt TEXT]`.

Colour is computed at the model's size and brought to the photograph's, whose lightness, width and
height are kept. Pictures that cannot be read are reported and skipped; then the exit code is 1.
"""

import argparse
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float

from colorjax import color, errors, recombine, release, runtime
from colorjax.data import captions, photos, phrases
from colorjax.errors import UserError
from colorjax.inference import Colorizer, add_sampling_flags, bucket_for, fingerprint, sampling
from colorjax.instances import Instances

MAX_PENDING_PIXELS = 128 * 10**6


@dataclass
class Job:
    """A photograph on its way: full-size lightness, its small version, where it goes."""

    output: Path
    exif: bytes
    lightness: Float[np.ndarray, "height width"]
    small: Float[np.ndarray, "h w"]
    masks: Float[np.ndarray, "k h w"] | None = None


@dataclass
class Wish:
    """What is asked for all photographs; more than one prompt gives a row of pictures."""

    prompts: list[str]
    seed: int
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
    add_sampling_flags(parser)
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
    runtime.setup()
    aware = bool(args.masks)
    colorizer = Colorizer(directory, args.batch_size, instance_aware=aware, **sampling(args))
    if lost := colorizer.tokenize.lost_words(prompt):
        print(f"colorjax: the prompt is too long; these words are lost: {lost}", file=sys.stderr)
    instances = None
    if args.masks:
        many = len(found) > 1
        instances = Instances(prompt, args.masks, colorizer.tokenize, args.clipseg, many)
    prompts = levels(prompt) if args.levels else [prompt]
    report = colorize_all(colorizer, found, outputs, Wish(prompts, args.seed, instances))
    if report.failed:
        print(f"colorjax: {report.done} coloured, {len(report.failed)} skipped", file=sys.stderr)
    return 1 if report.failed else 0


def levels(prompt: str) -> list[str]:
    """L-CAD's three levels of detail of one description: complete, partial, scarce."""
    found = phrases.colour_phrases(prompt)
    if not found:
        raise UserError(f"--levels takes colours out of the prompt, and {prompt!r} names none")
    # Of several phrases the first keeps its colour.
    partial = phrases.without_colours(prompt, found[1:] or found)
    return [prompt, partial, captions.SCARCE[0]]


def colorize_all(colorizer, found, outputs, wish: Wish) -> Report:
    """Photographs wait until their bucket's batch is full, or until they take too much memory."""
    report = Report()
    waiting: dict[tuple[int, int], list[Job]] = {}
    pixels = 0

    def flush(bucket: tuple[int, int]) -> None:
        nonlocal pixels
        jobs = waiting.pop(bucket)
        pixels -= sum(job.lightness.size for job in jobs)
        finish(colorizer, jobs, wish, report)

    for (path, _), output in zip(found, outputs, strict=True):
        try:
            job = prepare(path, output, colorizer.buckets, wish)
        except UserError as error:
            report.fail(error)
            continue
        bucket = job.small.shape
        waiting.setdefault(bucket, []).append(job)
        pixels += job.lightness.size
        if len(waiting[bucket]) == colorizer.batch_size:
            flush(bucket)
        while pixels > MAX_PENDING_PIXELS:
            flush(next(iter(waiting)))
    while waiting:
        flush(next(iter(waiting)))
    return report


def prepare(path: Path, output: Path, sizes, wish: Wish) -> Job:
    photo = photos.load_photo(path)
    lightness = color.lightness(photo.rgb)[..., 0]
    height, width = bucket_for(lightness.shape[0], lightness.shape[1], sizes)
    small = recombine.to_model_size(lightness, height, width)
    masks = wish.instances.masks(path, lightness, height, width) if wish.instances else None
    return Job(output, photo.exif, lightness, small, masks)


def finish(colorizer, jobs: list[Job], wish: Wish, report: Report) -> None:
    start = time.monotonic()
    columns = [images_of(colorizer, jobs, prompt, wish) for prompt in wish.prompts]
    computed = time.monotonic() - start
    for job, images in zip(jobs, zip(*columns, strict=True), strict=True):
        start = time.monotonic()
        pictures = [recombine.full_picture(im, job.lightness, job.small) for im in images]
        if len(pictures) > 1:
            gray = recombine.full_picture(np.zeros_like(images[0]), job.lightness, job.small)
            pictures.insert(0, gray)
        try:
            photos.save_photo(job.output, np.concatenate(pictures, axis=1), job.exif)
        except (UserError, OSError) as error:
            report.fail(error)
            continue
        report.done += 1
        seconds = computed / len(jobs) + time.monotonic() - start
        print(f"{job.output}  {seconds:.1f} s", flush=True)


def images_of(colorizer, jobs: list[Job], prompt: str, wish: Wish) -> np.ndarray:
    """The model's pictures of a batch, at its size."""
    spans = masks = None
    if wish.instances:
        spans = np.repeat(wish.instances.spans[None], len(jobs), axis=0)
        if jobs[0].masks is not None:
            masks = np.stack([np.asarray(job.masks) for job in jobs])
    return colorizer(
        np.stack([job.small for job in jobs]),
        np.repeat(colorizer.tokenize([prompt]), len(jobs), axis=0),
        [fingerprint(job.lightness) for job in jobs],
        wish.seed,
        spans,
        masks,
    )


def command() -> None:
    errors.run(main)


if __name__ == "__main__":
    command()
