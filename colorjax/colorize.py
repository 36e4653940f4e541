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
from colorjax.data import captions, photos
from colorjax.errors import UserError
from colorjax.inference import Colorizer, bucket_for, fingerprint

MAX_PENDING_PIXELS = 128 * 10**6


@dataclass
class Job:
    """A photograph on its way: full-size lightness, its small version, where it goes."""

    output: Path
    exif: bytes
    lightness: Float[np.ndarray, "height width"]
    small: Float[np.ndarray, "h w"]


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
    parser.add_argument("--guidance_scale", type=float, help="how strictly to follow the prompt")
    parser.add_argument("--num_steps", type=int, help="sampling steps")
    parser.add_argument("--spacing", choices=("released", "even"), help="which timesteps")
    parser.add_argument("--temperature", type=float, help="below 1: less variety, fewer mistakes")
    parser.add_argument("--batch_size", type=int, help="pictures at a time")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    if not 0 <= args.seed < 2**32:
        raise UserError(f"seed is {args.seed}; it must be in 0..{2**32 - 1}")
    prompt = captions.SCARCE[0] if args.prompt is None else args.prompt
    if not prompt.isprintable():
        raise UserError(f"prompt {prompt!r} holds characters that are no text; type it again")
    directory = release.locate(args.model)
    exclude = Path(args.output) if Path(args.output).is_dir() else None
    found = photos.find_photos([Path(p) for p in args.inputs], exclude)
    outputs = photos.output_paths(found, Path(args.output))
    runtime.setup()
    colorizer = Colorizer(
        directory,
        args.batch_size,
        num_steps=args.num_steps,
        guidance_scale=args.guidance_scale,
        spacing=args.spacing,
        temperature=args.temperature,
    )
    if lost := colorizer.tokenize.lost_words(prompt):
        print(f"colorjax: the prompt is too long; these words are lost: {lost}", file=sys.stderr)
    report = colorize_all(colorizer, found, outputs, prompt, args.seed)
    if report.failed:
        print(f"colorjax: {report.done} coloured, {len(report.failed)} skipped", file=sys.stderr)
    return 1 if report.failed else 0


def colorize_all(colorizer, found, outputs, prompt: str, seed: int) -> Report:
    """Photographs wait until their bucket's batch is full, or until they take too much memory."""
    report = Report()
    waiting: dict[tuple[int, int], list[Job]] = {}
    pixels = 0

    def flush(bucket: tuple[int, int]) -> None:
        nonlocal pixels
        jobs = waiting.pop(bucket)
        pixels -= sum(job.lightness.size for job in jobs)
        finish(colorizer, jobs, prompt, seed, report)

    for (path, _), output in zip(found, outputs, strict=True):
        try:
            job = prepare(photos.load_photo(path), output, colorizer.buckets)
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


def prepare(photo: photos.Photo, output: Path, sizes) -> Job:
    lightness = color.lightness(photo.rgb)[..., 0]
    height, width = bucket_for(lightness.shape[0], lightness.shape[1], sizes)
    return Job(output, photo.exif, lightness, recombine.to_model_size(lightness, height, width))


def finish(colorizer, jobs: list[Job], prompt: str, seed: int, report: Report) -> None:
    start = time.monotonic()
    images = colorizer(
        np.stack([job.small for job in jobs]),
        np.repeat(colorizer.tokenize([prompt]), len(jobs), axis=0),
        [fingerprint(job.lightness) for job in jobs],
        seed,
    )
    computed = time.monotonic() - start
    for job, image in zip(jobs, images, strict=True):
        start = time.monotonic()
        rgb = recombine.full_picture(image, job.lightness, job.small)
        try:
            photos.save_photo(job.output, rgb, job.exif)
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
