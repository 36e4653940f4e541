"""Diffusing Colors measured: steps and noise, scaling, decoders, the automatic mode's strategies.

    python -m benchmarks.cold_diffusion steps --model DIR... --limit=500

WHAT is `steps` (steps by model), `distilled` (one evaluation, by fidelity), `decoders`, `scaling`
(in every step or afterwards) or `strategies` (what the automatic mode is told). CIFAR-10 test
pictures, the input's lightness kept, as `colorjax.evaluate` measures; the Frechet distance is of
VGG16's features and is no FID.
"""

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from colorjax import errors, release
from colorjax.colorize.colorizer import Colorizer
from colorjax.data import captions
from colorjax.devices import compile_cache
from colorjax.evaluate.pictures import Batch, Selection, batches, coloured, seeds_of, shown
from colorjax.maths import color, distributions, metrics
from colorjax.methods.distances import read_lpips
from colorjax.methods.method import DECODER, Pictures
from colorjax.methods.vividness import CANDIDATES
from colorjax.models.layers import apply
from colorjax.models.perceptual import Lpips, enlarged

STEPS = (1, 2, 4, 10, 20, 50)
FIDELITIES = (1.0, 0.95, 0.9, 0.75, 0.5, 0.25, 0.0)
BATCH = 100
VGG_SIZE = 48  # what pictures are enlarged to: at 32 VGG16's last map is 2x2


class Scores:
    """Pooled PSNR, colourfulness and the Frechet distance of VGG16 features, over batches."""

    def __init__(self, weights: Any) -> None:
        network = Lpips("vgg16")

        def features(image: jax.Array) -> jax.Array:
            image = enlarged(color.from_unit(image), VGG_SIZE)
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
    return distributions.frechet_distance(*moments[0], *moments[1])


class Measure(NamedTuple):
    """What is measured, on which pictures."""

    selection: Selection
    models: tuple[str, ...]
    captions: tuple[str, ...]
    steps: tuple[int, ...]
    scores: Scores


def outputs(
    selection: Selection, colorizer: Colorizer, level: str
) -> tuple[np.ndarray, np.ndarray]:
    """What the model makes of the pictures, and the truth."""
    pictures, truths = [], []
    for batch in batches(selection, colorizer, level):
        lightness = color.lightness(batch.truth)
        pictures.append(
            shown(
                coloured(colorizer, lightness, batch.input_ids, seeds_of(batch.places)), lightness
            )
        )
        truths.append(batch.truth)
    return np.concatenate(pictures), np.concatenate(truths)


def steps(measure: Measure) -> dict[str, Any]:
    """Every model at every number of steps, complete and generic captions, nothing scaled."""
    rows = {}
    for model in measure.models:
        for count in measure.steps:
            colorizer = cold(model, num_steps=count, vividness=1.0, guidance_scale=1.0)
            for level in measure.captions:
                name = f"{Path(model).parent.name}, {level}, {count} steps"
                rows[name] = measure.scores(*outputs(measure.selection, colorizer, level))
                say(name, rows[name])
    return rows


def distilled(measure: Measure) -> dict[str, Any]:
    """One evaluation of the distilled UNet at every fidelity, and the walk that it stands for."""
    rows = {}
    model = measure.models[0]
    one = cold(model, num_steps="distilled")
    ways = {f"distilled, fidelity {f:g}": one.changed(fidelity=f) for f in FIDELITIES}
    ways |= {f"{count} steps": cold(model, num_steps=count) for count in measure.steps}
    for way, colorizer in ways.items():
        for level in measure.captions:
            name = f"{way}, {level}"
            rows[name] = measure.scores(*outputs(measure.selection, colorizer, level))
            say(name, rows[name])
    return rows


def decoders(measure: Measure) -> dict[str, Any]:
    """Both decoders."""
    rows = {}
    for decoder in reversed(DECODER.choices):
        colorizer = cold(measure.models[0], decoder=decoder)
        rows[decoder] = measure.scores(*outputs(measure.selection, colorizer, "complete"))
        say(decoder, rows[decoder])
    return rows


def scaling(measure: Measure) -> dict[str, Any]:
    """Colourfulness over s, scaled in every step (as the paper) and after the last."""
    rows: dict[str, Any] = {}
    afterwards: list[np.ndarray] = []
    colorizer = cold(measure.models[0], num_steps=10)  # of one evaluation both are the same
    truths = []
    for batch in batches(measure.selection, colorizer, "complete"):
        candidates = colorizer.candidates(gray_of(batch))
        afterwards.append(color.to_unit(candidates.images))
        truths.append(batch.truth)
    whole, reference = np.concatenate(afterwards), np.concatenate(truths)
    for i, scale in enumerate(CANDIDATES):
        rows[f"afterwards, s = {scale}"] = measure.scores(whole[:, i], reference)
        scaled = colorizer.changed(vividness=scale)
        rows[f"every step, s = {scale}"] = measure.scores(
            *outputs(measure.selection, scaled, "complete")
        )
        for kind in ("afterwards", "every step"):
            say(f"{kind}, s = {scale}", rows[f"{kind}, s = {scale}"])
    return rows


def gray_of(batch: Batch) -> Pictures:
    """Gray versions of a batch, with the noise that `outputs` gives them."""
    lightness = color.lightness(batch.truth)[..., 0]
    return Pictures(lightness, batch.input_ids, seeds_of(batch.places))


def strategies(measure: Measure) -> dict[str, Any]:
    """The automatic mode: what it is told, with and without negative prompt, and the ranker."""
    said = {
        "empty": "none",
        "generic": "scarce",
        "caption without colours (the class, truly)": "uncoloured",
        "caption of the true colours (leaks them)": "complete",
    }
    model = measure.models[0]
    negative = release.read_config(release.locate(model))["cold_colorize"]
    rows = {}
    for name, level in said.items():
        for prompt in ("", negative["negative_prompt"]):
            for vividness in (1.0, "auto"):
                colorizer = cold(model, vividness=vividness, negative_prompt=prompt)
                row = f"{name}; negative prompt {'yes' if prompt else 'no'}; s = {vividness}"
                rows[row] = measure.scores(*outputs(measure.selection, colorizer, level))
                say(row, rows[row])
    return rows


def cold(model: str, **settings: Any) -> Colorizer:
    """Diffusing Colors, for this module's batches."""
    return Colorizer(release.locate(model), "diffusing_colors", batch_size=BATCH, **settings)


def say(name: str, row: dict[str, float]) -> None:
    print(f"{name:70}" + "".join(f"{value:10.2f}" for value in row.values()), flush=True)


def add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", default="cifar10", help="a name in data/, or a directory")
    parser.add_argument("--split", default="test")
    parser.add_argument("--limit", type=int, default=500, help="the first pictures only")
    parser.add_argument("--json", type=Path)


def keep(figures: Any, path: Path | None) -> None:
    if path:
        path.write_text(json.dumps(figures, indent=1) + "\n")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    measures = {f.__name__: f for f in (steps, distilled, decoders, scaling, strategies)}
    parser.add_argument("what", choices=measures)
    parser.add_argument("--model", nargs="+", default=["bundled"])
    parser.add_argument("--captions", nargs="+", default=["complete"], choices=captions.LEVELS)
    parser.add_argument("--steps", nargs="+", type=int, default=STEPS)
    add_data(parser)
    args = parser.parse_args(arguments)
    compile_cache.setup()
    measure = Measure(
        Selection.find(args.data, args.split, args.limit),
        tuple(args.model),
        tuple(args.captions),
        tuple(args.steps),
        Scores(read_lpips("vgg16")),
    )
    figures = measures[args.what](measure)
    keep(figures, args.json)
    return 0


if __name__ == "__main__":
    errors.run(main)
