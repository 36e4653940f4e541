"""The colour ranker against three baselines: constant 0.8, constant 1, the mean colourfulness.

    python -m benchmarks.color_ranker --model=bundled --limit=500

    python -m benchmarks.color_ranker --limit=400 --page --json=docs/ranker.json

On photographs, whose own chroma is right; on photographs whose chroma was scaled in secret; on
colourings of gray pictures, where right is the truth's colourfulness. `--page` puts the table into
`docs/diffusing_colors.md` and the model card.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import pages
from benchmarks.cold_diffusion import BATCH, add_data, cold, gray_of, keep
from colorjax import errors, release
from colorjax.colorize.colorizer import Colorizer
from colorjax.devices import compile_cache
from colorjax.errors import UserError
from colorjax.evaluate.pictures import Selection, batches
from colorjax.maths import color, metrics
from colorjax.methods import diffusing_colors, vividness
from colorjax.train.stages import ranker as ranker_stage

SCALES = np.asarray(vividness.CANDIDATES, np.float32)
NEAR = 0.15 + 1e-3  # float32 scales are multiples of 0.1 up to rounding
OFF, WITHIN = "mean |s f - 1|", "within 0.15"
OFF_COLOURFULNESS, WITHIN_BEST = "mean |CF - true CF|", "within 0.15 of best s"
NEAR_ONE = "top-1 within 0.15 of 1"
Versions = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def versions_of_truth(model_directory: str) -> Versions:
    """Jitted: pictures to their versions at scales, and the ranker's scores."""
    model, params = diffusing_colors.load(model_directory)

    @jax.jit
    def run(params: Any, image: jax.Array, scales: jax.Array) -> Any:
        luminance = color.luminance(image)
        gray = vividness.gray_image(luminance)
        z_color, z_gray = (diffusing_colors.encode(model, params, each) for each in (image, gray))
        decode = diffusing_colors.decoder_of(model, params, luminance)
        versions = vividness.versions(decode, z_color, z_gray, luminance, scales)
        return versions, vividness.rank(model.ranker, params["ranker"], versions)

    return lambda image, scales: jax.device_get(run(params, image, scales))


def colourful(selection: Selection, colorizer: Colorizer) -> Iterator[np.ndarray]:
    """Pictures with a colourfulness above 15, in [-1,1], full batches: one program for all."""
    waiting: list[np.ndarray] = []
    for batch in batches(selection, colorizer, "none"):
        measured = np.asarray(metrics.colourfulness(jnp.asarray(batch.truth)))
        waiting += list(batch.truth[measured > 15.0])
        while len(waiting) >= BATCH:
            yield color.from_unit(np.stack(waiting[:BATCH]))
            waiting = waiting[BATCH:]


def on_photographs(
    selection: Selection, colorizer: Colorizer, versions: Versions
) -> dict[str, Any]:
    """Is the version nearest to the true chroma ranked first?"""
    training = np.asarray(ranker_stage.SCALES, np.float32)
    chosen, right = [], []
    for image in colourful(selection, colorizer):
        _, scores = versions(image, np.tile(SCALES, (len(image), 1)))
        chosen.append(SCALES[np.asarray(vividness.choose(scores, SCALES))])
        each = np.tile(training, (len(image), 1))
        _, scores = versions(image, each)
        right.append(ranker_stage.loss(scores, each, np.ones(len(image)))[1]["pairs_right"])
    if not chosen:
        raise UserError(
            f"--limit={selection.limit} gives fewer than {BATCH} pictures of a colourfulness above "
            "15, which is a batch: give a larger one"
        )
    values = np.concatenate(chosen)
    print("chosen on photographs:", dict(zip(*np.unique(values, return_counts=True))))
    return {
        "pictures": len(values),
        NEAR_ONE: float((np.abs(values - 1.0) < NEAR).mean()),
        "top-1 is 1": float((np.abs(values - 1.0) < 0.01).mean()),
        "pairs right": float(np.mean(right)),
        "chance of within 0.15": 3 / 9,
    }


def on_hidden(selection: Selection, colorizer: Colorizer, versions: Versions) -> dict[str, Any]:
    """The picture has been scaled by f in 0.7..1.3 already: s f should be 1."""
    mean = colorizer.model.cold.colourfulness
    rng = np.random.default_rng(0)
    errors: dict[str, list[np.ndarray]] = {}
    for image in colourful(selection, colorizer):
        hidden = rng.uniform(0.7, 1.3, (len(image), 1)).astype(np.float32)
        images, scores = versions(image, hidden * SCALES)
        for name, picks in choices(images, scores, mean).items():
            errors.setdefault(name, []).append(np.abs(picks * hidden[:, 0] - 1.0))
    return {
        name: {
            OFF: float(np.mean(e)),
            WITHIN: float((np.concatenate(e) <= 0.15).mean()),
        }
        for name, e in errors.items()
    }


def on_outputs(selection: Selection, colorizer: Colorizer) -> dict[str, Any]:
    """Colourings of gray pictures: how far the chosen one's colourfulness is from the truth's."""
    mean = colorizer.model.cold.colourfulness
    errors: dict[str, list[np.ndarray]] = {}
    for batch in batches(selection, colorizer, "complete"):
        candidates = colorizer.candidates(gray_of(batch))
        measured = cf(candidates.images)
        target = np.asarray(metrics.colourfulness(jnp.asarray(batch.truth)))
        best = SCALES[np.abs(measured - target[:, None]).argmin(axis=1)]
        picks = choices(candidates.images, candidates.scores, mean) | {
            "ranker": SCALES[candidates.chosen],  # with what is believed of colourings
            "ranker alone": SCALES[np.asarray(vividness.choose(candidates.scores, SCALES))],
            "constant 1.3": np.full(len(best), 1.3, np.float32),
            "best possible": best,
        }
        for name, pick in picks.items():
            index = np.abs(SCALES - pick[:, None]).argmin(axis=1)
            distance = np.abs(measured[np.arange(len(measured)), index] - target)
            near = np.abs(pick - best) < NEAR
            errors.setdefault(name, []).append(np.stack([distance, near]))
    return {
        name: dict(
            zip(
                (OFF_COLOURFULNESS, WITHIN_BEST),
                np.concatenate(e, axis=1).mean(axis=1).tolist(),
                strict=True,
            )
        )
        for name, e in errors.items()
    }


def cf(images: np.ndarray) -> np.ndarray:
    """The colourfulness of each version of each picture."""
    flat = color.to_unit(jnp.asarray(images)).reshape(-1, *images.shape[2:])
    return np.asarray(metrics.colourfulness(flat)).reshape(images.shape[:2])


def choices(images: np.ndarray, scores: np.ndarray, mean: float) -> dict[str, np.ndarray]:
    """What the ranker and the three baselines take."""
    count = len(images)
    return {
        "ranker": SCALES[np.asarray(vividness.choose(scores, SCALES))],
        "constant 0.8": np.full(count, 0.8, np.float32),
        "constant 1": np.ones(count, np.float32),
        "mean colourfulness": SCALES[np.abs(cf(images) - mean).argmin(axis=1)],
    }


def tables(figures: dict[str, Any]) -> tuple[str, str]:
    """For the page, and in a sentence for the model card."""
    hidden, outputs = figures["photographs with a hidden scale"], figures["outputs"]
    heads = [
        "",
        "mean of abs(s f - 1)",
        "within 0.15",
        "mean of abs(CF - true CF)",
        "within 0.15 of the best s",
    ]
    rows = [
        [
            name,
            *(_number(hidden.get(name, {}).get(key), key) for key in (OFF, WITHIN)),
            *(_number(of[key], key) for key in (OFF_COLOURFULNESS, WITHIN_BEST)),
        ]
        for name, of in outputs.items()
    ]
    of_photographs = figures["photographs"]
    sentence = (
        f"The ranker's choice is within 0.15 of the true chroma on "
        f"{of_photographs[NEAR_ONE]:.0%} of {of_photographs['pictures']} test photographs, and "
        f"within 0.15 of the scale whose colourfulness is the truth's on "
        f"{outputs['ranker'][WITHIN_BEST]:.0%} of colourings (nearest to the mean colourfulness: "
        f"{outputs['mean colourfulness'][WITHIN_BEST]:.0%}).\n"
    )
    return pages.table(heads, rows), sentence


def _number(value: float | None, key: str) -> str:
    if value is None:
        return "-"
    return f"{value:.0%}" if key in (WITHIN, WITHIN_BEST) else f"{value:.3g}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--page", action="store_true", help="put the figures into the pages")
    add_data(parser)
    args = parser.parse_args(arguments)
    selection = Selection.find(args.data, args.split, args.limit)
    compile_cache.setup()
    colorizer = cold(args.model)
    versions = versions_of_truth(str(release.locate(args.model)))
    figures = {
        "photographs": on_photographs(selection, colorizer, versions),
        "photographs with a hidden scale": on_hidden(selection, colorizer, versions),
        "outputs": on_outputs(selection, colorizer),
    }
    print(json.dumps(figures, indent=1))
    keep(figures, args.json)
    if args.page:
        table, sentence = tables(figures)
        pages.fill(pages.ROOT / "docs" / "diffusing_colors.md", "ranker", sentence + "\n" + table)
        pages.fill(release.BUNDLED / "MODEL_CARD.md", "ranker", sentence)
    return 0


if __name__ == "__main__":
    errors.run(main)
