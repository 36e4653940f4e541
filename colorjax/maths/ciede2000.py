"""CIEDE2000, the difference of two colours as people see it."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from colorjax.maths.types import Array

_TWO_PI = 2.0 * np.pi


def difference(lab: Float[Array, "*b 3"], other: Float[Array, "*b 3"]) -> Float[Array, "*b"]:
    """CIEDE2000 of two CIE Lab colours with all three weights 1; about 2.3 is just noticeable.

    Sharma, Wu and Dalal, *The CIEDE2000 color-difference formula* (2005), whose equation numbers
    are in the comments. The root's gradient at equal colours is not defined.
    """
    lightness, lightness_2 = lab[..., 0], other[..., 0]
    chroma, hue, chroma_2, hue_2 = _polar(lab, other)
    both_coloured = chroma * chroma_2 > 0.0

    delta_lightness, delta_chroma = lightness_2 - lightness, chroma_2 - chroma  # 8, 9
    turn = hue_2 - hue  # 10: the short way around
    turn = jnp.where(turn > np.pi, turn - _TWO_PI, turn)
    turn = jnp.where(turn < -np.pi, turn + _TWO_PI, turn)
    turn = jnp.where(both_coloured, turn, 0.0)
    delta_hue = 2.0 * jnp.sqrt(chroma * chroma_2) * jnp.sin(turn / 2.0)  # 11

    mean_lightness, mean_chroma = (lightness + lightness_2) / 2.0, (chroma + chroma_2) / 2.0
    total = hue + hue_2  # 14: the mean on the short way; of a gray the other's hue
    beyond = jnp.where(total < _TWO_PI, total + _TWO_PI, total - _TWO_PI)
    total = jnp.where(jnp.abs(hue - hue_2) > np.pi, beyond, total)
    mean_hue = jnp.where(both_coloured, total / 2.0, total)

    shifted = jnp.square(mean_lightness - 50.0)
    scale_lightness = 1.0 + 0.015 * shifted / jnp.sqrt(20.0 + shifted)  # 16
    scale_chroma = 1.0 + 0.045 * mean_chroma  # 17
    scale_hue = 1.0 + 0.015 * mean_chroma * _hue_weight(mean_hue)  # 18
    # 19 to 21: blues, whose hue and chroma are not told apart as elsewhere.
    angle = jnp.exp(-jnp.square((jnp.degrees(mean_hue) - 275.0) / 25.0)) * np.radians(60.0)
    rotation = -jnp.sin(angle) * 2.0 * _saturating(mean_chroma)

    by_chroma, by_hue = delta_chroma / scale_chroma, delta_hue / scale_hue
    squared = jnp.square(delta_lightness / scale_lightness) + jnp.square(by_chroma)
    squared += jnp.square(by_hue) + rotation * by_chroma * by_hue  # 22
    return jnp.sqrt(jnp.maximum(squared, 0.0))


def _polar(lab: Array, other: Array) -> tuple[Array, Array, Array, Array]:
    """Chroma and hue in 0..2 pi of both, with a stretched near gray (equations 2 to 7)."""
    mean = (jnp.hypot(lab[..., 1], lab[..., 2]) + jnp.hypot(other[..., 1], other[..., 2])) / 2.0
    stretch = 1.5 - 0.5 * _saturating(mean)
    parts: list[Array] = []
    for side in (lab, other):
        a, b = side[..., 1] * stretch, side[..., 2]
        parts += [jnp.hypot(a, b), jnp.arctan2(b, a) % _TWO_PI]
    return parts[0], parts[1], parts[2], parts[3]


def _saturating(chroma: Array) -> Array:
    """sqrt(c^7 / (c^7 + 25^7)), with the quotient first: c^7 alone would be 1e14."""
    ratio = (chroma / 25.0) ** 7
    return jnp.sqrt(ratio / (ratio + 1.0))


def _hue_weight(hue: Array) -> Array:
    """T of equation 15."""
    return (
        1.0
        - 0.17 * jnp.cos(hue - np.radians(30.0))
        + 0.24 * jnp.cos(2.0 * hue)
        + 0.32 * jnp.cos(3.0 * hue + np.radians(6.0))
        - 0.20 * jnp.cos(4.0 * hue - np.radians(63.0))
    )
