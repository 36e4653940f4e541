"""Few steps beside many: quality, time and memory of the bundled model, by sampler and steps.

    python -m benchmarks.few_steps --limit=300 --json=docs/few_steps.json --sheet=docs/few_steps.png

CIFAR-10 test pictures with complete captions, the input's lightness kept. The Frechet distance is
of the release's own CLIP image tower, shown in colour; no stage of colouring was trained with it,
and it is no FID. Time is processor time of all threads; memory is what the compiled program of a
full batch needs beside weights and pictures, by the compiler.
"""

import argparse
import functools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.cold_diffusion import add_data, frechet, keep
from colorjax import errors, release
from colorjax.colorize.colorizer import Colorizer
from colorjax.devices import compile_cache
from colorjax.evaluate.pictures import Selection, batches, coloured, seeds_of, shown
from colorjax.maths import color, metrics
from colorjax.methods import naming
from colorjax.methods.method import Pictures
from colorjax.models.clip import CLIP
from colorjax.train.samples import save_grid

BATCH = 50
SHOWN = (7, 2, 20, 4, 27, 12)  # places of the pictures of the sheet: frog, ship, horse, ...
MIB = 2**20


class Way(NamedTuple):
    """A row: how pictures are coloured."""

    name: str
    method: str
    settings: dict[str, Any]


def ways(model: Path, counts: Sequence[int]) -> list[Way]:
    """The samplers that a release has, at every number of steps that they are for."""
    parts = release.parts_in(model)
    rows = []
    if "distilled_unet" in parts:
        rows += [
            Way(f"cold, distilled, fidelity {f:g}", "diffusing_colors", dict(fidelity=f))
            for f in (0.9, 0.0)
        ]
    walk = dict(guidance_scale=1.15, vividness=1.0)
    rows += [Way(f"cold, {n} steps", "diffusing_colors", walk | dict(num_steps=n)) for n in counts]
    for sampler in ("consistency", "ddim", "dpmpp_2m", "unipc"):
        if sampler == "consistency" and "consistency_unet" not in parts:
            continue
        few = counts if sampler == "ddim" else [n for n in counts if n <= 10]
        rows += [
            Way(
                f"L-CAD, {sampler}, {n} steps",
                "lcad",
                dict(sampler=sampler, num_steps=n, spacing="even"),
            )
            for n in few
        ]
    return rows


class Judge:
    """Pooled PSNR, colourfulness and the Frechet distance of the image tower's features."""

    def __init__(self, model: Path) -> None:
        namer, params = naming.load(model)
        mean, deviation = (jnp.asarray(v) for v in naming.NORMALIZATIONS[namer.normalization])
        side = namer.clip.vision.image_size

        def features(image: jax.Array) -> jax.Array:
            resized = jax.image.resize(image, (len(image), side, side, 3), "bilinear")
            normal = (resized - mean) / deviation
            embedded: jax.Array = namer.clip.apply(
                {"params": params}, normal, method=CLIP.encode_image
            )
            return embedded

        self._features = jax.jit(features)

    def __call__(self, images: np.ndarray, truth: np.ndarray) -> dict[str, float]:
        squared = metrics.mse(jnp.asarray(images), jnp.asarray(truth))
        both = [np.asarray(self._features(jnp.asarray(side))) for side in (images, truth)]
        return {
            "psnr_pooled": float(metrics.psnr_pooled(squared)),
            "colourfulness": float(metrics.colourfulness(jnp.asarray(images)).mean()),
            "frechet_clip": frechet(*both),
        }


def outputs(colorizer: Colorizer, selection: Selection) -> tuple[np.ndarray, np.ndarray, float]:
    """What is made of the pictures, the truth, and processor seconds a picture of full batches."""
    made, truths, seconds = [], [], []
    for batch in batches(selection, colorizer, "complete"):
        lightness = color.lightness(batch.truth)
        start = time.process_time()
        raw = coloured(colorizer, lightness, batch.input_ids, seeds_of(batch.places))
        seconds.append((time.process_time() - start) / len(batch.truth))
        made.append(shown(raw, lightness))
        truths.append(batch.truth)
    return np.concatenate(made), np.concatenate(truths), min(seconds[1:] or seconds)


def memory(colorizer: Colorizer) -> float:
    """MiB that the program of a full batch needs beside its inputs, by the compiler."""
    size, count = colorizer.image_size, BATCH
    light = np.zeros((count, size, size), np.float32)
    tokens = colorizer.tokenize([""] * count)
    program = colorizer.lower(Pictures(light, tokens, np.arange(count))).compile()
    return float(program.memory_analysis().temp_size_in_bytes) / MIB


def save_sheet(path: Path, columns: dict[str, np.ndarray]) -> None:
    """A row for each of `SHOWN`, a column for each way, twice as large."""
    save_grid(path, {k: color.from_unit(v) for k, v in columns.items()}, scale=2)


def measure(args: argparse.Namespace, model: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The rows, and columns of the sheet."""
    selection, judge = Selection.find(args.data, args.split, args.limit), Judge(model)
    places = [place for place in SHOWN if place < args.limit]
    rows: dict[str, Any] = {}
    columns: dict[str, np.ndarray] = {}
    for way in ways(model, args.steps):
        if args.only not in way.name:
            continue
        make = functools.partial(Colorizer, model, way.method, batch_size=BATCH)
        colorizer = make(**way.settings)
        images, truth, seconds = outputs(colorizer, selection)
        if not columns:
            light = color.lightness(truth)
            rows["truth"] = judge(truth, truth)
            rows["gray"] = judge(color.gray(light), truth)
            columns |= {"gray": color.gray(light)[places], "truth": truth[places]}
        figures = judge(images, truth)
        rows[way.name] = figures | {"ms": 1e3 * seconds, "mib": memory(colorizer)}
        columns[way.name] = images[places]
        listed = "".join(f"{value:10.2f}" for value in rows[way.name].values())
        print(f"{way.name:36}{listed}", flush=True)
    return rows, columns


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--steps", nargs="+", type=int, default=(1, 2, 4, 10, 50))
    parser.add_argument("--sheet", type=Path, help="a PNG of what was made of six pictures")
    parser.add_argument("--only", default="", help="rows whose names have this in them")
    add_data(parser)
    args = parser.parse_args(arguments)
    compile_cache.setup()
    rows, columns = measure(args, release.locate(args.model))
    keep(rows, args.json)
    if args.sheet:
        save_sheet(args.sheet, columns)
    return 0


if __name__ == "__main__":
    errors.run(main)
