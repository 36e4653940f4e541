"""The photograph's own lightness and the model's chroma, put together at full size.

On the host: every photograph has another size, and none may cost a compilation.
"""

import cv2
import numpy as np
from jaxtyping import Float

from colorjax.maths import color

# Chosen on scikit-image's photographs with the true chroma at 32, 64 and 256 pixels: windows of
# 3x3 cells and a slope penalty of a lightness deviation of 2 beat wider ones at every size.
_RADIUS = 1
_SLOPE_PENALTY = 4.0
_MAX_CHROMA = 110.0
_STRIP_PIXELS = 1 << 17  # stays in the cache


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


def _to_rgb(lightness: np.ndarray, ab: np.ndarray) -> np.ndarray:
    lab = np.concatenate((lightness[..., None], ab), axis=-1)
    rgb: np.ndarray = color.lab_to_srgb(lab)
    # Channel by channel: a reduction over an axis of 3 is several times slower.
    outside = np.zeros(lightness.shape, bool)
    for channel in range(3):
        outside |= (rgb[..., channel] < -1e-5) | (rgb[..., channel] > 1.0 + 6e-5)
    rgb[outside] = color.lab_to_srgb(color.fit_gamut(lab[outside]))
    shown: np.ndarray = np.clip(rgb, 0.0, 1.0)
    return shown


def lightness_of(rgb: Float[np.ndarray, "H W 3"]) -> Float[np.ndarray, "H W"]:
    """L in 0..100 of sRGB in [0,1], in strips: beyond the result, memory does not grow."""
    height, width = rgb.shape[:2]
    result = np.empty((height, width), np.float32)
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        strip = slice(top, top + rows)
        result[strip] = color.lightness(rgb[strip])[..., 0]
    return result


def to_model_size(
    lightness: Float[np.ndarray, "H W"], height: int, width: int
) -> Float[np.ndarray, "h w"]:
    """Lightness at the size the model works at: averaged where it shrinks, cubic where it grows."""
    shrinks = height * width < lightness.size
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    small = cv2.resize(
        np.asarray(lightness, np.float32), (width, height), interpolation=interpolation
    )
    return np.clip(small, 0.0, 100.0)


def colours_to_model_size(
    rgb: Float[np.ndarray, "H W 3"], height: int, width: int
) -> Float[np.ndarray, "h w 3"]:
    """sRGB at the size the model works at, as `to_model_size`."""
    shrinks = height * width < rgb.shape[0] * rgb.shape[1]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    small = cv2.resize(np.asarray(rgb, np.float32), (width, height), interpolation=interpolation)
    return np.clip(small, 0.0, 1.0)


def full_picture(
    raw: Float[np.ndarray, "h w 3"],
    lightness: Float[np.ndarray, "H W"],
    lightness_small: Float[np.ndarray, "h w"],
) -> Float[np.ndarray, "H W 3"]:
    """A model's picture in [-1,1] as a photograph: its chroma, the photograph's lightness."""
    ab = color.srgb_to_lab(np.clip(color.to_unit(raw), 0.0, 1.0))[..., 1:]
    return to_full_size(lightness, ab, lightness_small)


def with_change(
    rgb: Float[np.ndarray, "H W 3"],
    raw: Float[np.ndarray, "h w 3"],
    before: Float[np.ndarray, "h w 3"],
    lightness_small: Float[np.ndarray, "h w"],
) -> Float[np.ndarray, "H W 3"]:
    """A colour photograph in [0,1] with the chroma by which `raw` differs from `before`, both
    models' pictures in [-1,1]: what the photograph has of colour detail stays."""
    small = [np.clip(color.to_unit(image), 0.0, 1.0) for image in (raw, before)]
    change = color.srgb_to_lab(small[0])[..., 1:] - color.srgb_to_lab(small[1])[..., 1:]
    lab = color.srgb_to_lab(rgb)
    return to_full_size(lab[..., 0], change, lightness_small, own=lab[..., 1:])


def to_full_size(
    lightness: Float[np.ndarray, "H W"],
    ab_small: Float[np.ndarray, "h w 2"],
    lightness_small: Float[np.ndarray, "h w"],
    own: Float[np.ndarray, "H W 2"] | None = None,
) -> Float[np.ndarray, "H W 3"]:
    """sRGB in [0,1] with the given lightness (0..100) and the chroma computed at model size.

    Chroma is brought to full size by a fast guided filter (He and Sun 2015): around every cell of
    the small picture ab is a linear function of L, the functions are interpolated and applied to
    the full-size L, so colours change where the photograph does and not in blocks. A result never
    leaves the range of chroma of the 3x3 cells around it: texture does not extrapolate.
    Lightness is kept, colours that do not exist at it lose chroma at constant hue. For equal
    sizes and lightness ab is unchanged. `lightness_small` is what the model saw, of the same
    framing as `lightness`; ab outside of [-110,110] is clamped. `own` is chroma of the photograph
    itself, to which the small one is added.

    Works in strips: beyond the result, memory does not grow with the height.
    """
    height, width = lightness.shape
    lightness = np.clip(np.asarray(lightness, np.float32), 0.0, 100.0)
    guide = np.ascontiguousarray(np.clip(lightness_small, 0.0, 100.0), np.float32)
    ab = np.ascontiguousarray(np.clip(ab_small, -_MAX_CHROMA, _MAX_CHROMA), np.float32)
    maps = np.concatenate((*_linear_model(guide, ab), *_local_range(ab)), axis=-1)
    left, right, across = _sample(maps.shape[1], width)
    upper, lower, down = _sample(maps.shape[0], height)
    result = np.empty((height, width, 3), np.float32)
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        strip = slice(top, min(top + rows, height))
        first, last = upper[strip][0], lower[strip][-1]
        cells = maps[first : last + 1]
        rows_of_cells = cells[:, left]
        rows_of_cells += (cells[:, right] - rows_of_cells) * across[:, None]
        full = rows_of_cells[upper[strip] - first]
        full += (rows_of_cells[lower[strip] - first] - full) * down[strip][:, None, None]
        chroma = full[..., 0:2] * lightness[strip][..., None] + full[..., 2:4]
        chroma = np.clip(chroma, full[..., 4:6], full[..., 6:8])
        if own is not None:
            chroma = np.clip(chroma + own[strip], -_MAX_CHROMA, _MAX_CHROMA)
        result[strip] = _to_rgb(lightness[strip], chroma)
    return result
