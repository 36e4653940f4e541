"""The photograph's own lightness and the model's chroma, put together at full size.

On the host: every photograph has another size, and none may cost a compilation.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Float
from numpy.typing import DTypeLike

from colorjax.colorize.chroma.enlarging import MAX_CHROMA, Enlarged
from colorjax.data.rows import Rows, strips
from colorjax.maths import color

_STRIP_ROWS = 256
_FADED_SHARE = 0.5  # percent of pixels at either end
_MOST_LEVEL = 65535  # of 16 bits


class Chroma(NamedTuple):
    """What a photograph is coloured with: ab, and the lightness that it was computed for."""

    ab: Float[np.ndarray, "h w 2"]
    lightness: Float[np.ndarray, "h w"]


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


def lightness_of(rgb: Float[np.ndarray, "H W 3"] | Rows, *, in_place: bool = False) -> Any:
    """L in 0..100, [H,W], of sRGB in [0,1], in strips: beyond the result, memory does not grow.

    Of rows that are computed it is such rows.

    Args:
        in_place: whether a gray picture's values may be replaced by their lightness, of which no
            copy is made then.
    """
    height, width = rgb.shape[:2]
    if isinstance(rgb, Rows):
        return rgb.mapped(_lightness, (height, width))
    result = _memory_of(rgb) if in_place and rgb.strides[-1] == 0 else None
    result = np.empty((height, width), np.float32) if result is None else result
    for strip in strips(height, width):
        result[strip] = _lightness(rgb[strip])
    return result


def _lightness(rgb: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w"]:
    if rgb.strides[-1] == 0:  # one channel shown as three
        return _gray_lightness(rgb[..., 0])
    light: np.ndarray = color.lightness(rgb)[..., 0]
    return light


@functools.cache
def _gray_levels() -> Float[np.ndarray, " n"]:
    """L of all gray levels of 16 bits, among which are those of 8."""
    levels = np.arange(_MOST_LEVEL + 1, dtype=np.float32) / np.float32(_MOST_LEVEL)
    light: np.ndarray = color.lightness(np.stack([levels] * 3, axis=-1))[..., 0]
    return light


def _gray_lightness(levels: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """By a table: four powers a pixel take longer than reading the file."""
    places = np.clip(levels, 0.0, 1.0) * np.float32(_MOST_LEVEL)
    light: np.ndarray = _gray_levels()[np.rint(places, out=places).astype(np.uint16)]
    return light


def _memory_of(rgb: np.ndarray) -> Float[np.ndarray, "H W"] | None:
    """The array that a gray picture, shown as three channels, is a view of, if it is all of it."""
    owner = rgb
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    height, width = rgb.shape[:2]
    is_all = owner.size == height * width and owner.flags.c_contiguous and owner.flags.writeable
    starts = {array.__array_interface__["data"][0] for array in (owner, rgb)}
    is_upright = rgb.strides[:2] == (width * rgb.itemsize, rgb.itemsize) and len(starts) == 1
    return owner.reshape(height, width) if is_all and is_upright else None


def restored(lightness: Float[np.ndarray, "H W"]) -> Float[np.ndarray, "H W"]:
    """A faded scan's lightness stretched to the whole range.

    The darkest and the lightest 0.5 percent become black and white: levels as in every darkroom
    program. A picture of one lightness stays as it is.
    """
    some = lightness.ravel()[:: lightness.size // 10**6 + 1]
    low, high = np.percentile(some, (_FADED_SHARE, 100.0 - _FADED_SHARE)).astype(np.float32)
    if high - low < 1.0:
        return lightness
    result: np.ndarray = np.subtract(lightness, low, dtype=np.float32)
    result *= np.float32(100.0) / (high - low)
    np.clip(result, 0.0, 100.0, out=result)
    return result


def to_model_size(
    lightness: Float[np.ndarray, "H W"] | Rows, height: int, width: int
) -> Float[np.ndarray, "h w"]:
    """Lightness at the size the model works at: averaged where it shrinks, cubic where it grows."""
    if isinstance(lightness, Rows) and height <= lightness.shape[0] and width <= lightness.shape[1]:
        small = _averaged(lightness, height, width)
        return np.clip(small, 0.0, 100.0, out=small)
    shrinks = height * width < lightness.size
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    small = cv2.resize(
        np.asarray(lightness, np.float32), (width, height), interpolation=interpolation
    )
    return np.clip(small, 0.0, 100.0)


def _averaged(rows: Rows, height: int, width: int) -> Float[np.ndarray, "h w"]:
    """What OpenCV's INTER_AREA makes of a whole picture, strip by strip, up to rounding."""
    total = np.zeros((height, width))
    edges = np.arange(height + 1) * (len(rows) / height)  # of cells, in rows
    for strip in strips(*rows.shape):
        across = cv2.resize(
            rows[strip], (width, strip.stop - strip.start), interpolation=cv2.INTER_AREA
        )
        above = np.arange(strip.start, strip.stop)
        first = np.searchsorted(edges, strip.start, "right") - 1
        last = np.searchsorted(edges, strip.stop, "left")
        upper, lower = edges[first:last, None], edges[first + 1 : last + 1, None]
        shares = np.clip(np.minimum(lower, above + 1) - np.maximum(upper, above), 0.0, 1.0)
        total[first:last] += shares @ across
    result: np.ndarray = (total * (height / len(rows))).astype(np.float32)
    return result


def colours_to_model_size(
    rgb: Float[np.ndarray, "H W 3"], height: int, width: int
) -> Float[np.ndarray, "h w 3"]:
    """sRGB at the size the model works at, as `to_model_size`."""
    shrinks = height * width < rgb.shape[0] * rgb.shape[1]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    small = cv2.resize(np.asarray(rgb, np.float32), (width, height), interpolation=interpolation)
    return np.clip(small, 0.0, 1.0)


def chroma_of(raw: Float[np.ndarray, "h w 3"], lightness_small: Float[np.ndarray, "h w"]) -> Chroma:
    """The chroma of a model's picture in [-1,1], without its lightness."""
    return Chroma(
        color.srgb_to_lab(np.clip(color.to_unit(raw), 0.0, 1.0))[..., 1:], lightness_small
    )


def full_picture(
    raw: Float[np.ndarray, "h w 3"],
    lightness: Float[np.ndarray, "H W"],
    lightness_small: Float[np.ndarray, "h w"],
) -> Float[np.ndarray, "H W 3"]:
    """A model's picture in [-1,1] as a photograph: its chroma, the photograph's lightness."""
    rgb: np.ndarray = to_full_size(lightness, *chroma_of(raw, lightness_small))
    return rgb


def quantized(rgb: Float[np.ndarray, "*shape"], dtype: DTypeLike) -> np.ndarray:
    """Numbers in [0,1] as levels of 8 or 16 bits; what lies outside is clamped."""
    levels = np.empty(rgb.shape, dtype)
    most = np.float32(np.iinfo(dtype).max)
    for top in range(0, len(rgb), _STRIP_ROWS):
        strip = slice(top, top + _STRIP_ROWS)
        levels[strip] = np.round(np.clip(rgb[strip], 0.0, 1.0) * most)
    return levels


def mixed(own: np.ndarray, new: np.ndarray, share: Float[np.ndarray, "H W"]) -> np.ndarray:
    """Levels of `new` by their share of each pixel, in [0,1]; where it is 0 they are `own`'s."""
    for top in range(0, len(own), _STRIP_ROWS):
        strip = slice(top, top + _STRIP_ROWS)
        part = share[strip][..., None]
        new[strip] = np.round(own[strip] * (1.0 - part) + new[strip] * part)
    return new


def with_chroma(
    rgb: Float[np.ndarray, "H W 3"], gain: float, chroma: Chroma
) -> Float[np.ndarray, "H W 3"]:
    """A colour photograph in [0,1] with its own chroma times `gain`, and another one added to it
    that is smaller: what the photograph has of colour detail stays."""
    lab = color.srgb_to_lab(rgb)
    own = np.multiply(lab[..., 1:], gain, dtype=np.float32)
    changed: np.ndarray = to_full_size(lab[..., 0], *chroma, own=own)
    return changed


def to_full_size(
    lightness: Float[np.ndarray, "H W"] | Rows,
    ab_small: Float[np.ndarray, "h w 2"],
    lightness_small: Float[np.ndarray, "h w"],
    own: Float[np.ndarray, "H W 2"] | None = None,
    dtype: DTypeLike = np.float32,
) -> Any:
    """sRGB, [H,W,3], with the given lightness (0..100) and the chroma computed at model size.

    Chroma is brought to full size by a fast guided filter (He and Sun 2015): around every cell of
    the small picture ab is a linear function of L, the functions are interpolated and applied to
    the full-size L, so colours change where the photograph does and not in blocks. A result never
    leaves the range of chroma of the 3x3 cells around it: texture does not extrapolate.
    Lightness is kept, colours that do not exist at it lose chroma at constant hue. For equal
    sizes and lightness ab is unchanged. `lightness_small` is what the model saw, of the same
    framing as `lightness`; ab outside of [-110,110] is clamped. `own` is chroma of the photograph
    itself, to which the small one is added. `dtype` is float32 for values in [0,1], or uint8 or
    uint16 for levels.

    Works in strips: beyond the result, memory does not grow with the height.
    """
    height, width = lightness.shape
    render = renderer(lightness, Chroma(ab_small, lightness_small), own, dtype)
    result = np.empty((height, width, 3), dtype)
    for strip in strips(height, width):
        result[strip] = render(strip)
    return result


def rows_at_full_size(lightness: Rows, chroma: Chroma, dtype: DTypeLike) -> Rows:
    """As `to_full_size`, levels that are computed when they are asked for."""
    render = renderer(lightness, chroma, None, dtype)
    height, width = lightness.shape

    def compute(rows: slice) -> np.ndarray:
        result = np.empty((rows.stop - rows.start, width, 3), dtype)
        for strip in strips(len(result), width):
            result[strip] = render(slice(rows.start + strip.start, rows.start + strip.stop))
        return result

    return Rows((height, width, 3), dtype, compute, lightness.kept)


def renderer(
    lightness: Float[np.ndarray, "H W"] | Rows,
    small: Chroma,
    own: Float[np.ndarray, "H W 2"] | None,
    dtype: DTypeLike,
) -> Callable[[slice], np.ndarray]:
    """Any rows of what `to_full_size` makes."""
    chroma_at = Enlarged(*small, lightness.shape)

    def render(strip: slice) -> np.ndarray:
        light = np.clip(np.asarray(lightness[strip], np.float32), 0.0, 100.0)
        chroma = chroma_at(strip, light)
        if own is not None:
            chroma = np.clip(chroma + own[strip], -MAX_CHROMA, MAX_CHROMA)
        rgb = _to_rgb(light, chroma)
        return rgb if np.dtype(dtype).kind == "f" else quantized(rgb, dtype)

    return render


def enlarged(chroma: Chroma, lightness: Float[np.ndarray, "H W"]) -> Chroma:
    """The chroma brought to another lightness's size, as `to_full_size` does."""
    chroma_at = Enlarged(chroma.ab, chroma.lightness, lightness.shape)
    ab = np.empty((*lightness.shape, 2), np.float32)
    for strip in strips(*lightness.shape):
        ab[strip] = chroma_at(strip, lightness[strip])
    return Chroma(ab, lightness)
