"""Diffusing Colors measured: steps and noise, scaling, decoders, the automatic mode's strategies.

    python -m benchmarks.cold_diffusion steps --model DIR... --limit=500

WHAT is `steps` (steps by model), `decoders`, `scaling` (in every step or afterwards) or
`strategies` (what the automatic mode is told). CIFAR-10 test pictures, the input's lightness kept,
as `colorjax.evaluate` measures; the Frechet distance is of VGG16's features and is no FID.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from colorjax import errors, release
from colorjax.colorize.cold_colorizer import ColdColorizer
from colorjax.data import captions, pipeline
from colorjax.devices import compile_cache
from colorjax.evaluate import coloured, shown
from colorjax.maths import color, metrics
from colorjax.methods import diffusing_colors
from colorjax.models.layers import apply
from colorjax.models.perceptual import Lpips, enlarged

STEPS = (1, 2, 4, 10, 20, 50)
BATCH = 100
VGG_SIZE = 48  # what pictures are enlarged to: at 32 VGG16's last map is 2x2


class Scores:
    """Pooled PSNR, colourfulness and the Frechet distance of VGG16 features, over batches."""

    def __init__(self, weights: Any) -> None:
        network = Lpips("vgg16")

        def features(image: jax.Array) -> jax.Array:
            image = enlarged(2.0 * image - 1.0, VGG_SIZE)
            return apply(network, weights, image, method="pooled")

        self.features = jax.jit(features)
        self.truth: dict[str, np.ndarray] = {}

    def __call__(self, images: np.ndarray, truth: np.ndarray) -> dict[str, float]:
        images = np.round(images * 255.0) / 255.0
        squared = metrics.mse(jnp.asarray(images), jnp.asarray(truth))
        key = str(len(truth))
        if key not in self.truth:
            self.truth[key] = self._all(truth)
        return {
            "psnr_pooled": float(metrics.psnr_pooled(squared)),
            "colourfulness": float(metrics.colourfulness(jnp.asarray(images)).mean()),
            "frechet_vgg16": frechet(self._all(images), self.truth[key]),
        }

    def _all(self, images: np.ndarray) -> np.ndarray:
        parts = [images[i : i + BATCH] for i in range(0, len(images), BATCH)]
        return np.concatenate([np.asarray(self.features(part)) for part in parts])


def frechet(one: np.ndarray, other: np.ndarray) -> float:
    moments = [(of.mean(axis=0), np.cov(of, rowvar=False)) for of in (one, other)]
    return metrics.frechet_distance(*moments[0], *moments[1])


def batches(args, tokenize: Any, level: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Truth in [0,1] and token ids, without padding."""
    found = pipeline.eval_batches(
        args.data,
        args.split,
        size=32,
        batch_size=BATCH,
        level=level,
        tokenize=tokenize,
        limit=args.limit,
    )
    for batch in found:
        count = int(batch["weights"].sum())
        yield batch["image"][:count].astype(np.float32) / 255.0, batch["input_ids"][:count]


def outputs(args, colorizer: ColdColorizer, level: str) -> tuple[np.ndarray, np.ndarray]:
    made, truths = [], []
    for truth, ids in batches(args, colorizer.tokenize, level):
        lightness = color.lightness(truth)
        made.append(shown(coloured(colorizer, lightness, ids, 0), lightness))
        truths.append(truth)
    return np.concatenate(made), np.concatenate(truths)


def steps(args, scores: Scores) -> dict[str, Any]:
    """Every model at every number of steps, complete and generic captions, nothing scaled."""
    rows = {}
    for model in args.model:
        for count in args.steps:
            colorizer = cold(model, num_steps=count, vividness=1.0, guidance_scale=1.0)
            for level in args.captions:
                name = f"{Path(model).parent.name}, {level}, {count} steps"
                rows[name] = scores(*outputs(args, colorizer, level))
                say(name, rows[name])
    return rows


def decoders(args, scores: Scores) -> dict[str, Any]:
    rows = {}
    for decoder in diffusing_colors.DECODERS:
        colorizer = cold(args.model[0], decoder=decoder)
        rows[decoder] = scores(*outputs(args, colorizer, "complete"))
        say(decoder, rows[decoder])
    return rows


def scaling(args, scores: Scores) -> dict[str, Any]:
    """Colourfulness over s, scaled in every step (as the paper) and after the last."""
    rows: dict[str, Any] = {}
    candidates = diffusing_colors.CANDIDATES
    afterwards: list[np.ndarray] = []
    colorizer = cold(args.model[0])
    truths = []
    for truth, ids in batches(args, colorizer.tokenize, "complete"):
        light = color.lightness(truth)[..., 0]
        found = colorizer.candidates(light, ids, range(len(ids)), 0)
        afterwards.append((found.images + 1.0) / 2.0)
        truths.append(truth)
    whole, reference = np.concatenate(afterwards), np.concatenate(truths)
    for i, scale in enumerate(candidates):
        rows[f"afterwards, s = {scale}"] = scores(whole[:, i], reference)
        colorizer.vividness = scale
        rows[f"every step, s = {scale}"] = scores(*outputs(args, colorizer, "complete"))
        for kind in ("afterwards", "every step"):
            say(f"{kind}, s = {scale}", rows[f"{kind}, s = {scale}"])
    return rows


def strategies(args, scores: Scores) -> dict[str, Any]:
    """The automatic mode: what it is told, with and without negative prompt, and the ranker."""
    said = {
        "empty": "none",
        "generic": "scarce",
        "caption without colours (the class, truly)": "uncoloured",
        "caption of the true colours (leaks them)": "complete",
    }
    negative = release.read_config(release.locate(args.model[0]))["cold_colorize"]
    rows = {}
    for name, level in said.items():
        for prompt in ("", negative["negative_prompt"]):
            for vividness in (1.0, "auto"):
                colorizer = cold(args.model[0], vividness=vividness, negative_prompt=prompt)
                row = f"{name}; negative prompt {'yes' if prompt else 'no'}; s = {vividness}"
                rows[row] = scores(*outputs(args, colorizer, level))
                say(row, rows[row])
    return rows


def cold(model: str, **sampling: Any) -> ColdColorizer:
    return ColdColorizer(release.locate(model), BATCH, **sampling)


def say(name: str, row: dict[str, float]) -> None:
    print(f"{name:70}" + "".join(f"{value:10.2f}" for value in row.values()), flush=True)


def add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", default="data/cifar10")
    parser.add_argument("--split", default="test")
    parser.add_argument("--limit", type=int, default=500, help="the first pictures only")
    parser.add_argument("--json", type=Path)


def keep(figures: Any, path: Path | None) -> None:
    if path:
        path.write_text(json.dumps(figures, indent=1) + "\n")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    measures = {f.__name__: f for f in (steps, decoders, scaling, strategies)}
    parser.add_argument("what", choices=measures)
    parser.add_argument("--model", nargs="+", default=["bundled"])
    parser.add_argument("--captions", nargs="+", default=["complete"], choices=captions.LEVELS)
    parser.add_argument("--steps", nargs="+", type=int, default=STEPS)
    add_data(parser)
    args = parser.parse_args(arguments)
    compile_cache.setup()
    figures = measures[args.what](args, Scores(release.read_lpips("vgg16")))
    keep(figures, args.json)
    return 0


if __name__ == "__main__":
    errors.run(main)
