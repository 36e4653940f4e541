"""How good the averaged weights are while a stage trains: figures of held-out pictures.

The pictures are what the stage shows in its samples, by its own sampler, with the photograph's
lightness put back. `python -m colorjax.evaluate` measures more, of a release.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from colorjax import files
from colorjax.data import obedience
from colorjax.devices import processes
from colorjax.errors import UserError, one_of
from colorjax.maths import color, metrics, regions
from colorjax.maths.distributions import Moments, frechet_distance
from colorjax.maths.types import Image, Params
from colorjax.methods.distances import read_lpips
from colorjax.models.layers import apply
from colorjax.models.perceptual import Lpips, enlarged
from colorjax.train.samples import SHOWN

PREFIX = "held_out/"
SHEETS = "held_out"  # of a run's folder: sheets of the first pictures, at every measured step
VGG_SIDE = 64  # smaller pictures are enlarged to it, or VGG16's last maps have nothing to see
# Which end is better; of a difference to the truth, the lower one.
BEST: dict[str, Callable[[float, float], bool]] = {
    "psnr_pooled": float.__gt__,
    "delta_colourfulness": float.__lt__,
    "frechet_vgg16": float.__lt__,
    "obedience": float.__gt__,
}
_BEST_FILE = "best.json"
_SCHEMA = {
    "type": "object",
    "required": ["metric", "value", "step"],
    "properties": {
        "metric": {"type": "string"},
        "value": {"type": "number"},
        "step": {"type": "integer"},
    },
}
Figures = dict[str, float]


class Pictures(NamedTuple):
    """The first held-out pictures: as a stage takes them, and their sentences."""

    examples: dict[str, Any]  # image and token ids of every caption level
    captions: Mapping[str, Sequence[str]]  # by level


def measure(
    columns: Mapping[str, Image], pictures: Pictures, vgg16: Params | None = None
) -> Figures:
    """The figures of every column of outputs, `<column>/<measure>`.

    `psnr_pooled` in dB, `colourfulness`, `delta_colourfulness` (of means), with VGG16's weights
    `frechet_vgg16`, and `obedience` of the columns that are called like a caption level.
    """
    truth = color.unit_from_bytes(np.asarray(pictures.examples["image"]))
    figures: Figures = {}
    for name, shown in with_lightness(columns, pictures).items():
        figures |= {
            f"{name}/{measure}": value for measure, value in _values(shown, truth, vgg16).items()
        }
        if name in pictures.captions:
            figures |= _obedience(name, shown, pictures.captions[name])
    return figures


def with_lightness(columns: Mapping[str, Image], pictures: Pictures) -> dict[str, np.ndarray]:
    """The outputs among the columns, sRGB in [0,1], with the photographs' lightness."""
    truth = color.unit_from_bytes(np.asarray(pictures.examples["image"]))
    lightness = color.lightness(truth)
    outputs = {name: column for name, column in columns.items() if name not in SHOWN}
    return {
        name: color.with_lightness(
            np.clip(color.to_unit(np.asarray(column, np.float32)), 0.0, 1.0), lightness
        )
        for name, column in outputs.items()
    }


def _values(
    shown: Float[np.ndarray, "b h w 3"], truth: Float[np.ndarray, "b h w 3"], vgg16: Params | None
) -> Figures:
    error = metrics.mse(jnp.asarray(shown), jnp.asarray(truth))
    own, true = (metrics.colourfulness(jnp.asarray(side)) for side in (shown, truth))
    figures = {
        "psnr_pooled": min(60.0, float(metrics.psnr_pooled(error))),
        "colourfulness": float(own.mean()),
        "delta_colourfulness": float(metrics.delta_colourfulness_of_means(own, true)),
    }
    if vgg16 is not None and len(shown) > 1:
        moments = [Moments.of(np.asarray(_features(vgg16, side))) for side in (shown, truth)]
        gaussians = [part for one in moments for part in (one.mean, one.covariance)]
        figures["frechet_vgg16"] = frechet_distance(*gaussians)
    return figures


@jax.jit
def _features(vgg16: Params, shown: Any) -> jax.Array:
    image = enlarged(color.from_unit(jnp.asarray(shown)), VGG_SIDE)
    features: jax.Array = apply(Lpips("vgg16"), vgg16, image, method="pooled")
    return features


def _obedience(name: str, shown: Float[np.ndarray, "b h w 3"], captions: Sequence[str]) -> Figures:
    masks = np.repeat(regions.inner_and_outer(*shown.shape[1:3])[None], len(shown), axis=0)
    labs = np.asarray(regions.region_means(color.srgb_to_lab(jnp.asarray(shown)), masks))
    shares = obedience.shares([obedience.of_caption(one) for one in captions], labs[:, None])
    return {} if np.isnan(shares).all() else {f"{name}/obedience": float(np.nanmean(shares))}


def vgg16(config: ConfigDict) -> Params | None:
    """The weights of the Frechet distance, if they are where the loss would look for them."""
    try:
        return read_lpips("vgg16", config.lpips)
    except UserError:
        return None


def check(config: ConfigDict) -> None:
    """Checks what can be seen before a stage begins.

    Raises:
        UserError: `keep_best` names no measure, or is never measured.
    """
    if not config.keep_best:
        return
    one_of("keep_best's measure", config.keep_best.rpartition("/")[2], BEST)
    if not config.evaluate_every:
        raise UserError(
            f"keep_best is {config.keep_best!r}, and evaluate_every is 0: nothing is measured; "
            "set --config.evaluate_every=STEPS"
        )


class Best:
    """The best step so far by one measure, remembered beside its checkpoint."""

    def __init__(self, directory: Path, metric: str) -> None:
        """Of a run's folder; `metric` is COLUMN/MEASURE, or a measure of the first column."""
        # Beside the folder of checkpoints, in which nothing else may lie.
        self.directory, self._path, self._metric = (
            directory / "best",
            directory / _BEST_FILE,
            metric,
        )
        path = self._path
        self.value, self.step = math.nan, -1
        if path.exists():
            before = files.read_json(path, _SCHEMA, advice="delete it and the folder 'best'")
            if before["metric"] == metric:
                self.value, self.step = float(before["value"]), int(before["step"])

    def improves(self, step: int, figures: Figures) -> bool:
        """Whether this step is the best one, which it then is remembered as.

        Raises:
            UserError: the stage does not measure it; the sentence lists what it does.
        """
        measure = self._metric.rpartition("/")[2]
        names = [name for name in figures if name == self._metric]
        if "/" not in self._metric:
            names = [name for name in figures if name.rpartition("/")[2] == measure]
        if not names:
            one_of("keep_best", self._metric, figures)
        value = figures[names[0]]
        if step == self.step or not (math.isnan(self.value) or BEST[measure](value, self.value)):
            return False
        self.value, self.step = value, step
        return True

    def remember(self) -> None:
        """Writes which step it is, once its checkpoint is whole."""
        content = {"metric": self._metric, "value": self.value, "step": self.step}
        text = json.dumps(content, indent=1) + "\n"
        processes.on_first(lambda: files.write_text(self._path, text), "writing the best step")
