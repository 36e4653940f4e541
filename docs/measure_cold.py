"""Measures Diffusing Colors: `python docs/measure_cold.py WHAT --model=DIR... [--limit=N]`.

WHAT is `steps` (steps by model), `decoders`, `scaling` (in every step or afterwards), `strategies`
(what the automatic mode is told) or `ranker`. Prints a table; `--json` writes it.
CIFAR-10 test pictures, the input's lightness kept, as `colorjax.evaluate` measures.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from colorjax import color, metrics, release, runtime
from colorjax.cold_inference import ColdColorizer
from colorjax.data import captions, pipeline
from colorjax.evaluate import coloured, shown
from colorjax.methods import diffusing_colors
from colorjax.models.layers import apply
from colorjax.models.perceptual import Lpips, enlarged
from colorjax.stages import ranker as ranker_stage

ROOT = Path(__file__).parent.parent
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


def batches(tokenize: Any, level: str, limit: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Truth in [0,1] and token ids, full batches only."""
    found = pipeline.eval_batches(
        ROOT / "data" / "cifar10",
        "test",
        size=32,
        batch_size=BATCH,
        level=level,
        tokenize=tokenize,
        limit=limit // BATCH * BATCH,
    )
    for batch in found:
        yield batch["image"].astype(np.float32) / 255.0, batch["input_ids"]


def outputs(colorizer: ColdColorizer, level: str, limit: int) -> tuple[np.ndarray, np.ndarray]:
    made, truths = [], []
    for truth, ids in batches(colorizer.tokenize, level, limit):
        lightness = color.lightness(truth)
        made.append(shown(coloured(colorizer, lightness, ids, 0), lightness))
        truths.append(truth)
    return np.concatenate(made), np.concatenate(truths)


def steps(args: argparse.Namespace, scores: Scores) -> dict[str, Any]:
    """Every model at every number of steps, complete and generic captions, nothing scaled."""
    rows = {}
    for model in args.model:
        for count in args.steps:
            colorizer = cold(model, num_steps=count, vividness=1.0, guidance_scale=1.0)
            for level in args.captions:
                name = f"{Path(model).parent.name}, {level}, {count} steps"
                rows[name] = scores(*outputs(colorizer, level, args.limit))
                say(name, rows[name])
    return rows


def decoders(args: argparse.Namespace, scores: Scores) -> dict[str, Any]:
    rows = {}
    for decoder in diffusing_colors.DECODERS:
        colorizer = cold(args.model[0], decoder=decoder)
        rows[decoder] = scores(*outputs(colorizer, "complete", args.limit))
        say(decoder, rows[decoder])
    return rows


def scaling(args: argparse.Namespace, scores: Scores) -> dict[str, Any]:
    """Colourfulness over s, scaled in every step (as the paper) and after the last."""
    rows: dict[str, Any] = {}
    candidates = diffusing_colors.CANDIDATES
    afterwards: list[np.ndarray] = []
    colorizer = cold(args.model[0])
    truths = []
    for truth, ids in batches(colorizer.tokenize, "complete", args.limit):
        light = color.lightness(truth)[..., 0]
        found = colorizer.candidates(light, ids, np.arange(len(ids)), 0)
        afterwards.append((found.images + 1.0) / 2.0)
        truths.append(truth)
    whole, reference = np.concatenate(afterwards), np.concatenate(truths)
    for i, scale in enumerate(candidates):
        rows[f"afterwards, s = {scale}"] = scores(whole[:, i], reference)
        colorizer.vividness = scale
        rows[f"every step, s = {scale}"] = scores(*outputs(colorizer, "complete", args.limit))
        for kind in ("afterwards", "every step"):
            say(f"{kind}, s = {scale}", rows[f"{kind}, s = {scale}"])
    return rows


def strategies(args: argparse.Namespace, scores: Scores) -> dict[str, Any]:
    """The automatic mode: what it is told, with and without negative prompt, and the ranker."""
    said = {
        "empty": "none",
        "generic": "scarce",
        "caption of the gray picture (class only)": "uncoloured",
        "caption of the true colours (leaks them)": "complete",
    }
    negative = release.read_config(release.locate(args.model[0]))["cold_colorize"]
    rows = {}
    for name, level in said.items():
        for prompt in ("", negative["negative_prompt"]):
            for vividness in (1.0, 0.8, "auto"):
                colorizer = cold(args.model[0], vividness=vividness, negative_prompt=prompt)
                row = f"{name}; negative prompt {'yes' if prompt else 'no'}; s = {vividness}"
                rows[row] = scores(*outputs(colorizer, level, args.limit))
                say(row, rows[row])
    return rows


def ranker(args: argparse.Namespace, scores: Scores) -> dict[str, Any]:
    """The ranker on photographs and on outputs, against constants and the mean colourfulness."""
    colorizer = cold(args.model[0])
    return {
        "photographs": on_photographs(colorizer, args.limit),
        "photographs with a hidden scale": on_hidden(colorizer, args.limit),
        "outputs": on_outputs(colorizer, args.limit),
    }


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


def colourful(colorizer: ColdColorizer, limit: int) -> Iterator[np.ndarray]:
    """Test pictures with a colourfulness above 15, in [-1,1], full batches."""
    waiting: list[np.ndarray] = []
    for truth, _ in batches(colorizer.tokenize, "none", limit):
        waiting += list(truth[np.asarray(metrics.colourfulness(jnp.asarray(truth))) > 15.0])
        while len(waiting) >= BATCH:
            yield np.stack(waiting[:BATCH]) * 2.0 - 1.0
            waiting = waiting[BATCH:]


def on_photographs(colorizer: ColdColorizer, limit: int) -> dict[str, Any]:
    """Is the version nearest to the true chroma ranked first?"""
    scales = np.asarray(diffusing_colors.CANDIDATES, np.float32)
    training = np.asarray(ranker_stage.SCALES, np.float32)
    make = versions_of_truth(colorizer, scales)
    chosen, right = [], []
    for image in colourful(colorizer, limit):
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


def on_hidden(colorizer: ColdColorizer, limit: int) -> dict[str, Any]:
    """The picture has been scaled by f in 0.7..1.3 already: s f should be 1."""
    scales = np.asarray(diffusing_colors.CANDIDATES, np.float32)
    make = versions_of_truth(colorizer, scales)
    mean = colorizer.model.cold.colourfulness
    rng = np.random.default_rng(0)
    errors: dict[str, list[np.ndarray]] = {}
    for image in colourful(colorizer, limit):
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


def on_outputs(colorizer: ColdColorizer, limit: int) -> dict[str, Any]:
    """Colourings of gray pictures: how far the chosen one's colourfulness is from the truth's."""
    scales = np.asarray(diffusing_colors.CANDIDATES, np.float32)
    mean = colorizer.model.cold.colourfulness
    errors: dict[str, list[np.ndarray]] = {}
    for truth, ids in batches(colorizer.tokenize, "complete", limit):
        light = color.lightness(truth)[..., 0]
        found = colorizer.candidates(light, ids, np.arange(len(ids)), 0)
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


def cold(model: str, **sampling: Any) -> ColdColorizer:
    return ColdColorizer(release.locate(model), BATCH, **sampling)


def say(name: str, row: dict[str, float]) -> None:
    print(f"{name:70}" + "".join(f"{value:10.2f}" for value in row.values()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    measures = {f.__name__: f for f in (steps, decoders, scaling, strategies, ranker)}
    parser.add_argument("what", choices=measures)
    parser.add_argument("--model", nargs="+", default=["bundled"])
    parser.add_argument("--captions", nargs="+", default=["complete"], choices=captions.LEVELS)
    parser.add_argument("--steps", nargs="+", type=int, default=STEPS)
    parser.add_argument("--limit", type=int, default=1000)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    runtime.setup()
    scores = Scores(release.read_lpips("vgg16"))
    figures = measures[args.what](args, scores)
    if args.what == "ranker":
        print(json.dumps(figures, indent=1))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
