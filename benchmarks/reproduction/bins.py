"""The classes of chroma of Zhang, Isola and Efros (2016), "Colorful Image Colorization" (CIC).

The ab plane is cut into squares of 10 units, of which those are classes that some colour of sRGB
falls into. A pixel's target is its five nearest classes, by a Gaussian of sigma 5; rare classes
weigh more (their Eq. 4, lambda 1/2); a prediction is the annealed mean at temperature 0.38 (Eq. 5).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from colorjax.maths import color
from colorjax.maths.types import Array

GRID = 10.0
SIGMA = 5.0
NEIGHBOURS = 5
UNIFORM_SHARE = 0.5  # lambda
TEMPERATURE = 0.38
_LEVELS = 64  # of each channel of sRGB, from which the classes are collected


@functools.cache
def centres() -> Float[np.ndarray, "q 2"]:
    """The middle of each class in a and b."""
    axis = np.linspace(0.0, 1.0, _LEVELS, dtype=np.float32)
    rgb = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(-1, 3)
    ab = np.asarray(color.srgb_to_lab(rgb))[:, 1:]
    middles: np.ndarray = np.unique(np.round(ab / GRID), axis=0).astype(np.float32) * GRID
    return middles


def _gaussian(distance: Float[Array, "..."]) -> Float[Array, "..."]:
    return jnp.exp(-0.5 * jnp.square(distance / SIGMA))


def soft_targets(ab: Float[Array, "n 2"]) -> tuple[Int[Array, "n k"], Float[Array, "n k"]]:
    """The nearest classes of each colour, and their weights, which sum to 1."""
    distance = jnp.linalg.norm(ab[:, None] - centres(), axis=-1)
    near, places = jax.lax.top_k(-distance, NEIGHBOURS)
    weights = _gaussian(near)
    return places, weights / jnp.maximum(weights.sum(axis=1, keepdims=True), 1e-12)


def frequencies(ab: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, " q"]:
    """How often each class is a colour's nearest one, smoothed by the Gaussian in a and b."""
    middles = centres()
    keys = {tuple(middle): place for place, middle in enumerate(middles.tolist())}
    rounded, counts = np.unique(np.round(ab / GRID) * GRID, axis=0, return_counts=True)
    share = np.zeros(len(middles))
    for colour, count in zip(rounded.tolist(), counts, strict=True):
        place = keys.get(tuple(colour))
        if place is None:  # rounding put it beside the last class
            place = int(np.linalg.norm(middles - colour, axis=1).argmin())
        share[place] += count
    spread = np.exp(-0.5 * (np.linalg.norm(middles[:, None] - middles, axis=-1) / SIGMA) ** 2)
    smooth = (share / share.sum()) @ (spread / spread.sum(axis=1, keepdims=True))
    return np.asarray(smooth / smooth.sum(), np.float32)


def rebalancing(share: Float[np.ndarray, " q"]) -> Float[np.ndarray, " q"]:
    """Weights of the classes, whose mean over colours is 1: the rarer, the heavier."""
    weights = 1.0 / ((1.0 - UNIFORM_SHARE) * share + UNIFORM_SHARE / len(share))
    return np.asarray(weights / (share * weights).sum(), np.float32)


def loss(
    logits: Float[Array, "n q"], ab: Float[Array, "n 2"], weights: Float[Array, " q"]
) -> Float[Array, ""]:
    """The cross-entropy with the soft targets, each colour by the weight of its nearest class."""
    places, shares = soft_targets(ab)
    logs = jnp.take_along_axis(jax.nn.log_softmax(logits, axis=1), places, axis=1)
    nearest = jnp.asarray(weights)[places[:, 0]]
    return -(nearest * (shares * logs).sum(axis=1)).mean()


def annealed_mean(logits: Float[Array, "... q"]) -> Float[Array, "... 2"]:
    """The mean colour of the distribution, sharpened by the temperature."""
    return jax.nn.softmax(logits / TEMPERATURE, axis=-1) @ jnp.asarray(centres())
