"""What the measures say: means, straight lines with their R^2, a linear probe."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from colorjax.maths import metrics

Figures = dict[str, Any]  # what is written as JSON

RANGES = {"0..1": (0.0, 1.0), "0..1.5": (0.0, 1.5), "1..2": (1.0, 2.0)}


def summary(tables: dict[str, np.ndarray], scales: Sequence[float]) -> Figures:
    """Means over the pictures, the straight lines, and the probe."""
    at_one, at_zero = scales.index(1.0), scales.index(0.0)
    colours = ("colourfulness", "chroma")
    means = {name: tables[name].mean(axis=0) for name in colours}
    curves = {name: mean / mean[at_one] for name, mean in means.items()}
    places = np.asarray(scales)
    return {
        "pictures": len(tables["chroma"]),
        "scales": list(scales),
        "ratio to s = 1": {name: curve.tolist() for name, curve in curves.items()},
        "line": {
            name: {span: straight_line(places, curve, *ends) for span, ends in RANGES.items()}
            for name, curve in curves.items()
        },
        "hue drift in degrees": tables["hue_drift"].mean(axis=0).tolist(),
        "luma PSNR": [
            float(metrics.psnr_pooled(jnp.asarray(column))) for column in tables["luma_mse"].T
        ],
        "at s = 1": {name: float(tables[name][:, at_one].mean()) for name in colours},
        "decoder on gray": {name: float(tables[name][:, at_zero].mean()) for name in colours},
        "probe": probe(tables["latents"], tables["lab"]),
        "residual, deviation of each channel": tables["residual"].std(axis=(0, 1)).tolist(),
    }


def straight_line(
    places: Float[np.ndarray, " n"], values: Float[np.ndarray, " n"], first: float, last: float
) -> dict[str, float]:
    """Least squares on places in first..last: slope, offset and R^2."""
    x, y = places.astype(np.float64), values.astype(np.float64)
    inside = (x >= first - 1e-9) & (x <= last + 1e-9)
    slope, offset = np.polyfit(x[inside], y[inside], 1)
    return {
        "slope": float(slope),
        "offset": float(offset),
        "r2": r_squared(y[inside], slope * x[inside] + offset),
    }


def r_squared(values: np.ndarray, fitted: np.ndarray) -> float:
    """Share of the variance that a fit explains; 1 for a constant that is met."""
    spread = ((values - values.mean()) ** 2).sum()
    rest = ((values - fitted) ** 2).sum()
    return float(1.0 - rest / spread) if spread > 0 else float(rest == 0)


def probe(latents: Float[np.ndarray, "n p c"], lab: Float[np.ndarray, "n p 3"]) -> Figures:
    """An affine map from one latent to the mean Lab of its pixels.

    It is fitted on the first half of the pictures and has its R^2 from the second. Beside it
    stands each channel's correlation with L, a and b.
    """
    half = len(latents) // 2

    def design(part: Float[np.ndarray, "m p c"]) -> Float[np.ndarray, "mp d"]:
        flat = part.reshape(-1, part.shape[-1]).astype(np.float64)
        return np.concatenate([flat, np.ones((len(flat), 1))], axis=1)

    weights, *_ = np.linalg.lstsq(design(latents[:half]), lab[:half].reshape(-1, 3), rcond=None)
    predicted, truth = design(latents[half:]) @ weights, lab[half:].reshape(-1, 3)
    flat = np.concatenate([latents.reshape(-1, latents.shape[-1]), lab.reshape(-1, 3)], axis=1)
    correlation = np.corrcoef(flat, rowvar=False)[:-3, -3:]
    return {
        "r2": {name: r_squared(truth[:, i], predicted[:, i]) for i, name in enumerate("Lab")},
        "weights": weights[:-1].tolist(),
        "offset": weights[-1].tolist(),
        "correlation of channels with L, a, b": correlation.tolist(),
    }
