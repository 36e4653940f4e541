"""Chroma of a small picture brought to any rows of a larger one, along its own edges.

A fast guided filter (He and Sun 2015): around every cell of the small picture ab is a linear
function of L, the functions are interpolated and applied to the L of the large picture.
"""

from typing import Any

import cv2
import numpy as np
from jaxtyping import Float

# Chosen on scikit-image's photographs with the true chroma at 32, 64 and 256 pixels: windows of
# 3x3 cells and a slope penalty of a lightness deviation of 2 beat wider ones at every size.
_RADIUS = 1
_SLOPE_PENALTY = 4.0
MAX_CHROMA = 110.0


def _mean(grid: np.ndarray) -> np.ndarray:
    side = 2 * _RADIUS + 1
    return cv2.blur(grid, (side, side), borderType=cv2.BORDER_REPLICATE)


def _local_range(ab: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    kernel = np.ones((2 * _RADIUS + 1,) * 2, np.uint8)
    return (
        cv2.erode(ab, kernel, borderType=cv2.BORDER_REPLICATE),
        cv2.dilate(ab, kernel, borderType=cv2.BORDER_REPLICATE),
    )


def _linear_model(
    lightness: Float[np.ndarray, "h w"], ab: Float[np.ndarray, "h w 2"]
) -> tuple[Float[np.ndarray, "h w 2"], Float[np.ndarray, "h w 2"]]:
    """Slope and offset of ab ~ slope * L + offset around every cell (He et al. 2013, eq. 5-8).

    What the smoothed model misses of `ab` at model size is in the offset, so the model returns
    `ab` itself for `lightness`.
    """
    guide = lightness[..., None]
    mean_guide, mean_ab = _mean(lightness)[..., None], _mean(ab)
    # Around the mean: squares of lightness near 100 would lose the small variances in float32.
    centre = np.float32(lightness.mean())
    centred, mean_centred = guide - centre, mean_guide - centre
    variance = _mean(centred[..., 0] ** 2)[..., None] - mean_centred**2
    covariance = _mean(centred * ab) - mean_centred * mean_ab
    slope = covariance / (np.maximum(variance, 0.0) + np.float32(_SLOPE_PENALTY))
    slope = _mean(slope)
    return slope, ab - slope * guide


def _sample(length: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lower and upper cell and the upper one's weight of each pixel, pixel centres aligned."""
    position = (np.arange(size) + 0.5) * (length / size) - 0.5
    position = np.clip(position, 0.0, length - 1.0)
    lower = np.floor(position).astype(np.intp)
    return lower, np.minimum(lower + 1, length - 1), (position - lower).astype(np.float32)


class Enlarged:
    """Chroma of any rows of a larger picture, see `recombine.to_full_size`."""

    def __init__(self, ab_small: np.ndarray, lightness_small: np.ndarray, size: Any) -> None:
        guide = np.ascontiguousarray(np.clip(lightness_small, 0.0, 100.0), np.float32)
        ab = np.ascontiguousarray(np.clip(ab_small, -MAX_CHROMA, MAX_CHROMA), np.float32)
        maps = np.concatenate((*_linear_model(guide, ab), *_local_range(ab)), axis=-1)
        self._planes = np.ascontiguousarray(maps.transpose(2, 0, 1))
        height, width = size
        self._left, self._right, self._across = _sample(self._planes.shape[2], width)
        self._upper, self._lower, self._down = _sample(self._planes.shape[1], height)

    def __call__(
        self, strip: slice, lightness: Float[np.ndarray, "rows W"]
    ) -> Float[np.ndarray, "rows W 2"]:
        """The chroma of some rows, of the given lightness."""
        upper, lower, down = (of[strip] for of in (self._upper, self._lower, self._down))
        cells = self._planes[:, upper[0] : lower[-1] + 1]
        wide = cells[:, :, self._left]
        wide += (cells[:, :, self._right] - wide) * self._across
        full = np.empty((len(wide), len(upper), wide.shape[2]), np.float32)
        # Rows between the same two rows of cells at once.
        starts = np.flatnonzero(np.diff(upper, prepend=-1))
        for start, stop in zip(starts, [*starts[1:], len(upper)]):
            above, below = wide[:, upper[start] - upper[0]], wide[:, lower[start] - upper[0]]
            rows = full[:, start:stop]
            np.multiply((below - above)[:, None], down[start:stop, None], out=rows)
            rows += above[:, None]
        chroma = np.empty((*lightness.shape, 2), np.float32)
        for i in range(2):
            values = full[i]
            values *= lightness
            values += full[2 + i]
            chroma[..., i] = np.clip(values, full[4 + i], full[6 + i], out=values)
        return chroma
