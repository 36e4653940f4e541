"""What keyframes of a film save and what they cost: flicker, error and work.

    python -m benchmarks.film

A view that moves over colour photographs is a film whose colours are known. It is coloured frame by
frame, and by keyframes at several distances. Flicker is the mean change of ab from frame to frame
along the motion, error the mean distance of ab from the photograph's; both in units of ab.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from colorjax import release
from colorjax.colorize import jobs, processing
from colorjax.colorize.chroma import recombine
from colorjax.colorize.colorizer import Colorizer
from colorjax.colorize.film import film, motion
from colorjax.colorize.painters import Colouring
from colorjax.devices import compile_cache
from colorjax.maths import color

ROOT = Path(__file__).parent.parent
PHOTOGRAPHS = ("astronaut.jpg", "coffee.jpg", "chelsea.jpg")
SHARE, STEP = 0.6, (3, 1)  # of a photograph that a view has; pixels right and down each frame


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--method", default="diffusing_colors")
    args = parser.parse_args()
    compile_cache.setup()
    colorizer = Colorizer(release.BUNDLED, args.method).in_batches()
    films = [views(ROOT / "examples" / name, args.frames) for name in PHOTOGRAPHS]
    for frames in films:
        list(coloured(colorizer, frames[:1], None))  # each shape is compiled before
    print(f"{len(films)} films of {args.frames} frames, {args.method}")
    headings = ("model", "flicker", "error", "seconds")
    print(f"{'keyframes':>14}" + "".join(f"{heading:>10}" for heading in headings))
    for interval in (None, 1, 4, 8, 16):
        start, measured, by_model = time.process_time(), [], 0
        results = []
        for frames in films:
            reel = None if interval is None else film.Film(0, interval)
            results.append(coloured(colorizer, frames, reel))
            by_model += len(frames) if reel is None else reel.by_model
        seconds = time.process_time() - start
        measured = [figures(*pair) for pair in zip(films, results, strict=True)]
        flicker, error = np.mean(measured, axis=0)
        name = "frame by frame" if interval is None else f"every {interval}"
        print(f"{name:>14}{by_model:10}{flicker:10.2f}{error:10.2f}{seconds:10.2f}", flush=True)


def views(path: Path, count: int) -> list[np.ndarray]:
    """Frames of a moving view, sRGB in [0,1]."""
    with Image.open(path) as picture:
        picture = picture.convert("RGB")
        scale = 480 / max(picture.size)
        size = [round(side * scale) for side in picture.size]
        whole = np.asarray(picture.resize(size), np.float32) / np.float32(255.0)
    height, width = (round(side * SHARE) for side in whole.shape[:2])
    frames = []
    for i in range(count):
        left, top = i * STEP[0], i * STEP[1]
        frames.append(whole[top : top + height, left : left + width])
    return [frame for frame in frames if frame.shape == frames[0].shape]


def coloured(
    colorizer: Colorizer, frames: Sequence[np.ndarray], reel: film.Film | None
) -> list[np.ndarray]:
    """Each frame's ab at the size that motion is measured at."""
    requests = [jobs.Request(gray(frame), "a colorful image") for frame in frames]
    prepared = jobs.ready(requests, colorizer.buckets, Colouring())
    if reel is None:
        outcomes = list(processing.process(colorizer, prepared, Colouring(), 0))
        return [own for outcome in outcomes if (own := film.own_colours(outcome)) is not None]
    outcomes = []
    for outcome in processing.process(colorizer, reel.keyframes(prepared), Colouring(), 0):
        outcomes += reel.coloured(outcome)
    return [outcome.computed[1][0].ab for outcome in [*outcomes, *reel.rest()]]


def gray(frame: np.ndarray) -> np.ndarray:
    """The frame without its colours."""
    lab = color.srgb_to_lab(frame)
    lab[..., 1:] = 0.0
    return np.clip(color.lab_to_srgb(lab), 0.0, 1.0)


def figures(frames: Sequence[np.ndarray], shown: Sequence[np.ndarray]) -> tuple[float, float]:
    """The flicker and the error of a film."""
    size = shown[0].shape[:2]
    labs = [color.srgb_to_lab(recombine.colours_to_model_size(frame, *size)) for frame in frames]
    lights = [np.ascontiguousarray(lab[..., 0]) for lab in labs]
    ways = [motion.between(here, there)[0] for here, there in zip(lights[1:], lights)]
    flicker = [motion.change(*step) for step in zip(shown[1:], shown, ways)]
    error = [
        np.linalg.norm(ab - lab[..., 1:], axis=-1).mean()
        for ab, lab in zip(shown, labs, strict=True)
    ]
    return float(np.mean(flicker)), float(np.mean(error))


if __name__ == "__main__":
    main()
