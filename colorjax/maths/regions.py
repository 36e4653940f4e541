"""What parts of a picture show: their mean colours, and whether colour stops at their borders."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from colorjax.maths.types import Array

_REACH = 2  # pixels between the two of a pair: windows of 5 x 5
NOTICEABLE = 2.3  # units of ab, the just noticeable difference of CIE Lab


def region_means(
    lab: Float[Array, "b h w c"], masks: Float[Array, "b k h w"]
) -> Float[Array, "b k c"]:
    """The mean of each mask's pixels, soft edges by their weight; NaN of an empty mask."""
    total = jnp.einsum("bhwc,bkhw->bkc", lab, masks)
    return total / jnp.sum(masks, axis=(2, 3))[..., None]


def colour_discrepancy_ratio(
    ab: Float[Array, "b h w 2"],
    truth: Float[Array, "b h w 2"],
    masks: Float[Array, "b k h w"],
) -> Float[Array, " b"]:
    """CDR: the share of the colour differences across instances' borders that a colouring keeps.

    1 is a border as clear as the truth's, 0 is one that colour has run over entirely. Pairs are
    pixels of one 5 x 5 window that lie in different instances and whose true colours differ by
    more than is noticeable; a pair is kept if its colours in `ab` differ by more than that as
    well. NaN where there is no such pair.

    After the cluster discrepancy ratio of Kim et al. (*Deep Edge-Aware Interactive Colorization
    against Color-Bleeding Effects*, 2021), which compares superpixels; instance masks in their
    place, and so the threshold, are ours.

    Args:
        ab: of the colouring, in units of CIE Lab.
        masks: of the instances; a pixel belongs to the one that weighs most, and to none of them
            below one half.
    """
    strongest = jnp.where(masks.max(axis=1) > 0.5, masks.argmax(axis=1) + 1, 0)
    kept = jnp.zeros(len(ab))
    count = jnp.zeros(len(ab))
    for down in range(_REACH + 1):
        for right in range(-_REACH, _REACH + 1):
            if (down, right) <= (0, 0):
                continue  # each pair once
            first, second = _windows(down, right)
            apart = strongest[first] != strongest[second]
            pair = apart & _differs(truth, first, second)
            count += pair.sum(axis=(1, 2))
            kept += (pair & _differs(ab, first, second)).sum(axis=(1, 2))
    return kept / count


def _windows(down: int, right: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where the first and the second pixel of all pairs are that lie so far apart."""

    def ends(shift: int) -> tuple[slice, slice]:
        if shift >= 0:
            return slice(None, -shift or None), slice(shift, None)
        return slice(-shift, None), slice(None, shift)

    (top, bottom), (left, other) = ends(down), ends(right)
    return (slice(None), top, left), (slice(None), bottom, other)


def _differs(
    ab: Float[Array, "b h w 2"], first: tuple[slice, ...], second: tuple[slice, ...]
) -> Bool[Array, "b p q"]:
    return jnp.linalg.norm(ab[first] - ab[second], axis=-1) > NOTICEABLE


def inner_and_outer(height: int, width: int) -> Float[np.ndarray, "2 {height} {width}"]:
    """Masks of the inner half of each side and of all around it: where CIFAR-10's object is."""
    inner = np.zeros((height, width), np.float32)
    inner[height // 4 : height - height // 4, width // 4 : width - width // 4] = 1.0
    return np.stack([inner, 1.0 - inner])
