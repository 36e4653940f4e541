"""What is believed of a release's colourings, measured: `colourings` of its config.json.

    python -m benchmarks.beliefs --limit=400

Colourings of gray training pictures at all candidates' vividness, whose true colourfulness is
known: of a grid of beliefs (`methods.vividness.Beliefs`) those are printed by which most choices
are near the right one, and of those within 1 % the ones nearest in colourfulness.
"""

import argparse
import itertools
import json
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from benchmarks.cold_diffusion import add_data, cold, gray_of
from benchmarks.color_ranker import NEAR, SCALES, cf
from colorjax import errors
from colorjax.colorize.colorizer import Colorizer
from colorjax.devices import compile_cache
from colorjax.evaluate.pictures import Selection, batches
from colorjax.maths import metrics
from colorjax.methods import vividness

WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.5, 1.0)
COLOURFULNESS_SPREADS = (0.3, 0.5, 0.8, 1.2)
NEEDED = (0.9, 1.0, 1.1, 1.2, 1.3, 1.5)
SCALE_SPREADS = (0.2, 0.35, 0.6, 9.0)
TOLERANCE = 0.01


class Colourings(NamedTuple):
    """Of each picture the candidates' scores and colourfulness, and the true colourfulness."""

    scores: np.ndarray
    colourfulness: np.ndarray
    true: np.ndarray


def colourings(selection: Selection, colorizer: Colorizer) -> Colourings:
    """All candidates of the pictures, by complete captions."""
    parts = []
    for batch in batches(selection, colorizer, "complete"):
        candidates = colorizer.candidates(gray_of(batch))
        true = np.asarray(metrics.colourfulness(jnp.asarray(batch.truth)))
        parts.append((candidates.scores, cf(candidates.images), true))
    return Colourings(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def measure(of: Colourings, beliefs: vividness.Beliefs) -> tuple[float, float]:
    """The share of choices within 0.15 of the best scale, and the mean distance to the truth's
    colourfulness."""
    scales = jnp.asarray(SCALES)
    evidence = beliefs(jnp.asarray(of.scores), jnp.asarray(of.colourfulness), scales)
    chosen = np.asarray(vividness.likeliest(evidence, scales))
    distance = np.abs(of.colourfulness - of.true[:, None])
    near = np.abs(SCALES[chosen] - SCALES[distance.argmin(axis=1)]) < NEAR
    return float(near.mean()), float(distance[np.arange(len(chosen)), chosen].mean())


def best(of: Colourings, usual: float) -> tuple[vividness.Beliefs, tuple[float, float]]:
    """Those of the grid."""
    grid = itertools.product(WEIGHTS, COLOURFULNESS_SPREADS, NEEDED, SCALE_SPREADS)
    rows = []
    for weight, spread, scale, scale_spread in grid:
        beliefs = vividness.Beliefs(weight, usual, spread, scale, scale_spread)
        rows.append((beliefs, measure(of, beliefs)))
    most = max(share for _, (share, _) in rows)
    return min((row for row in rows if row[1][0] >= most - TOLERANCE), key=lambda row: row[1][1])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--model", default="bundled")
    add_data(parser)
    parser.set_defaults(split="train", limit=400)
    args = parser.parse_args(arguments)
    compile_cache.setup()
    colorizer = cold(args.model)
    usual = round(float(colorizer.model.cold.colourfulness), 2)
    of = colourings(Selection.find(args.data, args.split, args.limit), colorizer)
    beliefs, (share, distance) = best(of, usual)
    print(f"within 0.15 of the best scale: {share:.3f}; |CF - true CF|: {distance:.2f}")
    section = {colorizer.method.name: beliefs._asdict()}
    print(json.dumps({vividness.BELIEFS: section}, indent=1, sort_keys=True))
    return 0


if __name__ == "__main__":
    errors.run(main)
