"""The colour ranker against three baselines: constant 0.8, constant 1, the mean colourfulness.

    python -m benchmarks.color_ranker --model=bundled --limit=500

On photographs, whose own chroma is right; on photographs whose chroma was scaled in secret; on
colourings of gray pictures, where right is the truth's colourfulness.
"""

import argparse
import json
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.cold_diffusion import BATCH, add_data, batches, cold, keep
from colorjax import errors
from colorjax.colorize.cold_colorizer import ColdColorizer
from colorjax.devices import compile_cache
from colorjax.maths import color, metrics
from colorjax.methods import diffusing_colors
from colorjax.train.stages import ranker as ranker_stage


def versions_of_truth(colorizer: ColdColorizer, scales: Any) -> Any:
    """Jitted: pictures to their versions at scales, and the ranker's scores."""
    model = colorizer.model

    @jax.jit
    def make(params: Any, image: jax.Array, scales: jax.Array) -> Any:
        luminance = color.luminance(image)
        gray = diffusing_colors.gray_image(luminance)
        z_color, z_gray = (diffusing_colors.encode(model, params, of) for of in (image, gray))
        made = diffusing_colors.versions(model, params, z_color, z_gray, luminance, scales)
        return made, diffusing_colors.rank(model, params, made)

    return lambda image, scales: jax.device_get(make(colorizer.params, image, scales))


def colourful(args, colorizer: ColdColorizer) -> Iterator[np.ndarray]:
    """Pictures with a colourfulness above 15, in [-1,1], full batches: one program for all."""
    waiting: list[np.ndarray] = []
    for truth, _ in batches(args, colorizer.tokenize, "none"):
        waiting += list(truth[np.asarray(metrics.colourfulness(jnp.asarray(truth))) > 15.0])
        while len(waiting) >= BATCH:
            yield np.stack(waiting[:BATCH]) * 2.0 - 1.0
            waiting = waiting[BATCH:]


def on_photographs(args, colorizer: ColdColorizer) -> dict[str, Any]:
    """Is the version nearest to the true chroma ranked first?"""
    scales = np.asarray(diffusing_colors.CANDIDATES, np.float32)
    training = np.asarray(ranker_stage.SCALES, np.float32)
    make = versions_of_truth(colorizer, scales)
    chosen, right = [], []
    for image in colourful(args, colorizer):
        _, found = make(image, np.tile(scales, (len(image), 1)))
        chosen.append(scales[np.asarray(diffusing_colors.choose(found, scales))])
        each = np.tile(training, (len(image), 1))
        _, found = make(image, each)
        right.append(ranker_stage.loss(found, each, np.ones(len(image)))[1]["pairs_right"])
    values = np.concatenate(chosen)
    print("chosen on photographs:", dict(zip(*np.unique(values, return_counts=True))))
    return {
        "pictures": len(values),
        "top-1 within 0.15 of 1": float((np.abs(values - 1.0) < 0.151).mean()),
        "top-1 is 1": float((np.abs(values - 1.0) < 0.01).mean()),
        "pairs right": float(np.mean(right)),
        "chance of within 0.15": 3 / 9,
    }


def on_hidden(args, colorizer: ColdColorizer) -> dict[str, Any]:
    """The picture has been scaled by f in 0.7..1.3 already: s f should be 1."""
    scales = np.asarray(diffusing_colors.CANDIDATES, np.float32)
    make = versions_of_truth(colorizer, scales)
    mean = colorizer.model.cold.colourfulness
    rng = np.random.default_rng(0)
    errors: dict[str, list[np.ndarray]] = {}
    for image in colourful(args, colorizer):
        hidden = rng.uniform(0.7, 1.3, (len(image), 1)).astype(np.float32)
        images, found = make(image, hidden * scales)
        for name, picks in choices(images, found, scales, mean).items():
            errors.setdefault(name, []).append(np.abs(picks * hidden[:, 0] - 1.0))
    return {
        name: {
            "mean |s f - 1|": float(np.mean(e)),
            "within 0.15": float((np.concatenate(e) <= 0.15).mean()),
        }
        for name, e in errors.items()
    }


def on_outputs(args, colorizer: ColdColorizer) -> dict[str, Any]:
    """Colourings of gray pictures: how far the chosen one's colourfulness is from the truth's."""
    scales = np.asarray(diffusing_colors.CANDIDATES, np.float32)
    mean = colorizer.model.cold.colourfulness
    errors: dict[str, list[np.ndarray]] = {}
    for truth, ids in batches(args, colorizer.tokenize, "complete"):
        light = color.lightness(truth)[..., 0]
        found = colorizer.candidates(light, ids, range(len(ids)), 0)
        of = cf(found.images)
        target = np.asarray(metrics.colourfulness(jnp.asarray(truth)))
        best = np.abs(of - target[:, None]).argmin(axis=1)
        picks = choices(found.images, found.scores, scales, mean) | {"best possible": scales[best]}
        for name, pick in picks.items():
            index = np.abs(scales - pick[:, None]).argmin(axis=1)
            distance = np.abs(of[np.arange(len(of)), index] - target)
            near = np.abs(pick - scales[best]) < 0.151
            errors.setdefault(name, []).append(np.stack([distance, near]))
    return {
        name: dict(
            zip(
                ("mean |CF - true CF|", "within 0.15 of best s"),
                np.concatenate(e, axis=1).mean(axis=1).tolist(),
                strict=True,
            )
        )
        for name, e in errors.items()
    }


def cf(images: np.ndarray) -> np.ndarray:
    flat = jnp.asarray((images + 1.0) / 2.0).reshape(-1, *images.shape[2:])
    return np.asarray(metrics.colourfulness(flat)).reshape(images.shape[:2])


def choices(
    images: np.ndarray, scores: np.ndarray, scales: np.ndarray, mean: float
) -> dict[str, np.ndarray]:
    """What the ranker and the three baselines take."""
    count = len(images)
    return {
        "ranker": scales[np.asarray(diffusing_colors.choose(scores, scales))],
        "constant 0.8": np.full(count, 0.8, np.float32),
        "constant 1": np.ones(count, np.float32),
        "mean colourfulness": scales[np.abs(cf(images) - mean).argmin(axis=1)],
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="bundled")
    add_data(parser)
    args = parser.parse_args(arguments)
    compile_cache.setup()
    colorizer = cold(args.model)
    figures = {
        "photographs": on_photographs(args, colorizer),
        "photographs with a hidden scale": on_hidden(args, colorizer),
        "outputs": on_outputs(args, colorizer),
    }
    print(json.dumps(figures, indent=1))
    keep(figures, args.json)
    return 0


if __name__ == "__main__":
    errors.run(main)
