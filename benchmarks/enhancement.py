"""`--enhance` measured: photographs whose chroma was taken away in secret, and what comes back.

    python -m benchmarks.enhancement --limit=200 --page

Each picture's a and b are scaled by a factor drawn from 0.2..0.6; the error is the mean distance
to the true a and b. Beside `--enhance` (T0 estimated, by the ranker or without it, and the true T0)
stand doing nothing, and a constant gain: the inverse of the mean factor, and the best one there is,
chosen on these very pictures.
"""

import argparse
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from benchmarks import pages
from benchmarks.cold_diffusion import add_data, cold, keep
from colorjax import errors
from colorjax.colorize.colorizer import Colorizer
from colorjax.devices import compile_cache
from colorjax.evaluate.pictures import Batch, Selection, batches, seeds_of
from colorjax.maths import color, metrics
from colorjax.methods import fading
from colorjax.methods.method import Pictures

PAGE = pages.ROOT / "docs" / "reproduction.md"
LEAST, MOST = 0.2, 0.6
GAINS = np.arange(1.0, 5.01, 0.1)
COLOURFULNESS = "colourfulness of the truth"
MEAN_GAIN = 2.0 / (LEAST + MOST)


class Faded(NamedTuple):
    """A batch with less chroma than it had, as a file of 8 bits holds it."""

    lab: np.ndarray
    true_ab: np.ndarray
    factors: np.ndarray
    rgb: np.ndarray  # [0,1]


def fade(batch: Batch, rng: np.random.Generator) -> Faded:
    """The pictures with a and b scaled by a factor of their own."""
    lab = np.asarray(color.srgb_to_lab(batch.truth))
    factors = rng.uniform(LEAST, MOST, len(lab)).astype(np.float32)
    scaled = lab[..., 1:] * factors[:, None, None, None]
    rgb = np.clip(color.lab_to_srgb(np.concatenate([lab[..., :1], scaled], axis=-1)), 0, 1)
    rgb = np.round(rgb * 255.0).astype(np.float32) / 255.0
    return Faded(np.asarray(color.srgb_to_lab(rgb)), lab[..., 1:], factors, rgb)


def enhanced(
    colorizer: Colorizer, batch: Batch, faded: Faded, times: np.ndarray | None
) -> np.ndarray:
    """The a and b of `--enhance`: the faded ones by their gain, and the model's share."""
    raw = color.from_unit(faded.rgb)
    start = colorizer.starting_times(raw) if times is None else times
    tokens = colorizer.tokenize(batch.captions)
    pictures = Pictures(faded.lab[..., 0], tokens, seeds_of(batch.places), faded=raw, t_start=start)
    shown = np.clip(color.to_unit(colorizer.enhance(pictures)), 0, 1)
    own, model = (weight[:, None, None, None] for weight in fading.weights(start))
    return np.asarray(own * faded.lab[..., 1:] + model * color.srgb_to_lab(shown)[..., 1:])


def error(ab: np.ndarray, faded: Faded) -> np.ndarray:
    """Each picture's mean distance to the truth, at colours that a screen can show."""
    lab = np.concatenate([faded.lab[..., :1], ab], axis=-1).astype(np.float32)
    shown = np.asarray(color.fit_gamut(lab))[..., 1:]
    return np.linalg.norm(shown - faded.true_ab, axis=-1).mean(axis=(1, 2))


def measure(selection: Selection, colorizer: Colorizer, level: str) -> dict[str, float]:
    """The mean error of every way."""
    rng = np.random.default_rng(0)
    errors_of: dict[str, list[np.ndarray]] = {}
    for batch in batches(selection, colorizer, level):
        faded = fade(batch, rng)
        ways = {
            "doing nothing": faded.lab[..., 1:],
            f"a constant gain of {MEAN_GAIN:g}, the mean factor's inverse": faded.lab[..., 1:]
            * MEAN_GAIN,
            "--enhance": enhanced(colorizer, batch, faded, None),
            "--enhance at the true T0": enhanced(colorizer, batch, faded, 1.0 - faded.factors),
        }
        ways |= {f"gain {gain:.1f}": faded.lab[..., 1:] * gain for gain in GAINS}
        for name, ab in ways.items():
            errors_of.setdefault(name, []).append(error(ab, faded))
        true = metrics.colourfulness(jnp.asarray(batch.truth))
        errors_of.setdefault(COLOURFULNESS, []).append(np.asarray(true))
    means = {name: float(np.concatenate(parts).mean()) for name, parts in errors_of.items()}
    gains = {name: means.pop(name) for name in [f"gain {gain:.1f}" for gain in GAINS]}
    best = min(gains, key=lambda name: gains[name])
    return means | {f"the best constant, {best}, chosen on these pictures": gains[best]}


def table(figures: dict[str, dict[str, float]]) -> str:
    """Every way's error, by what the model is told."""
    ways = [name for name in next(iter(figures.values())) if name != COLOURFULNESS]
    rows = [[name, *(f"{of[name]:.2f}" for of in figures.values())] for name in ways]
    return pages.table(["", *(f"{level} captions" for level in figures)], rows)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--captions", nargs="+", default=["scarce", "complete"])
    parser.add_argument("--page", action="store_true", help="put the table into the page")
    add_data(parser)
    args = parser.parse_args(arguments)
    compile_cache.setup()
    colorizer = cold(args.model)
    selection = Selection.find(args.data, args.split, args.limit)
    figures = {}
    for level in args.captions:
        figures[level] = measure(selection, colorizer, level)
        for name, value in figures[level].items():
            print(f"{level:10}{name:40}{value:8.2f}", flush=True)
    keep(figures, args.json)
    if args.page:
        pages.fill(PAGE, "enhancement", table(figures))
    return 0


if __name__ == "__main__":
    errors.run(main)
