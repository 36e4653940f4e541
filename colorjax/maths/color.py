"""sRGB and CIE Lab, and the colours a lightness can have on a screen.

Every function takes NumPy or jax arrays through the array API, computes in float32 and is safe
under `jax.jit` and `jax.grad`. The constants are those of L-CAD and its ancestors
(richzhang/colorization): D65 white (0.95047, 1, 1.08883), strict thresholds 0.04045 and 0.008856,
the linear branch 7.787 f + 16/116. They differ from the exact CIE ratios in the fourth digit, and
the luminance encoder was trained on exactly them.
"""

from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

_RGB_TO_XYZ = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
# The exact inverse, in double precision, so that Lab of sRGB comes back; not the rounded table.
_XYZ_TO_RGB = np.linalg.inv(np.array(_RGB_TO_XYZ)).tolist()
_WHITE = (0.95047, 1.0, 1.08883)

# The matrix does not map (1, 1, 1) exactly to the white point, so L = 100 with no chroma leaves
# the unit cube by 8e-5 in linear light. The tolerance keeps gray in the gamut at every lightness.
_GAMUT_LOW, _GAMUT_HIGH = -1e-6, 1.0 + 1.5e-4
_BISECTIONS = 16


def _mix(matrix: Any, channels: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
    # Written out rather than `@`: on TPUs a float32 matrix product defaults to bfloat16.
    first, second, third = channels
    x, y, z = (row[0] * first + row[1] * second + row[2] * third for row in matrix)
    return x, y, z


def _float32(array: Any) -> tuple[Any, Any]:
    xp = array.__array_namespace__()
    return xp, xp.asarray(array, dtype=xp.float32)


def _linear_channels(lab: Any) -> tuple[Any, Any, Any]:
    """Linear-light red, green, blue of Lab, unclipped."""
    xp = lab.__array_namespace__()
    f_y = (lab[..., 0] + 16.0) / 116.0
    f = (lab[..., 1] / 500.0 + f_y, f_y, f_y - lab[..., 2] / 200.0)
    xyz = tuple(
        white * xp.where(v > 0.2068966, v * v * v, (v - 16.0 / 116.0) / 7.787)
        for v, white in zip(f, _WHITE)
    )
    return _mix(_XYZ_TO_RGB, (xyz[0], xyz[1], xyz[2]))


def _linear_from_srgb(rgb: Any) -> tuple[Any, Any, Any]:
    xp = rgb.__array_namespace__()
    # The inner `where` keeps the power's argument away from 0, whose NaN gradient the outer one
    # would multiply by zero and so pass on.
    high = rgb > 0.04045
    power = ((xp.where(high, rgb, 1.0) + 0.055) / 1.055) ** 2.4
    linear = xp.where(high, power, rgb / 12.92)
    return linear[..., 0], linear[..., 1], linear[..., 2]


def _lab_curve(value: Any) -> Any:
    xp = value.__array_namespace__()
    high = value > 0.008856
    root = xp.where(high, value, 1.0) ** (1.0 / 3.0)
    return xp.where(high, root, 7.787 * value + 16.0 / 116.0)


def to_unit(image: Float[Any, "*shape"]) -> Float[Any, "*shape"]:
    """[-1,1], what networks see, to [0,1], what colour science is written in."""
    return (image + 1.0) / 2.0


def from_unit(rgb: Float[Any, "*shape"]) -> Float[Any, "*shape"]:
    """[0,1] to [-1,1]: the inverse of `to_unit`."""
    return 2.0 * rgb - 1.0


def from_bytes(pixels: UInt8[Any, "*shape"]) -> Float[Any, "*shape"]:
    """0..255 to [-1,1], float32."""
    xp = pixels.__array_namespace__()
    return xp.asarray(pixels, dtype=xp.float32) / 127.5 - 1.0


def to_bytes(image: Float[Any, "*shape"]) -> UInt8[Any, "*shape"]:
    """[-1,1] to 0..255, rounded; what lies outside is clamped."""
    xp = image.__array_namespace__()
    return xp.asarray(xp.round((xp.clip(image, -1.0, 1.0) + 1.0) * 127.5), dtype=xp.uint8)


def unit_from_bytes(pixels: UInt8[Any, "*shape"]) -> Float[Any, "*shape"]:
    """0..255 to [0,1], float32."""
    xp = pixels.__array_namespace__()
    return xp.asarray(pixels, dtype=xp.float32) / 255.0


def unit_to_bytes(rgb: Float[Any, "*shape"]) -> UInt8[Any, "*shape"]:
    """[0,1] to 0..255, rounded; what lies outside is clamped."""
    xp = rgb.__array_namespace__()
    return xp.asarray(xp.round(xp.clip(rgb, 0.0, 1.0) * 255.0), dtype=xp.uint8)


def srgb_to_lab(rgb: Float[Any, "*batch 3"]) -> Float[Any, "*batch 3"]:
    """CIE Lab of gamma-encoded sRGB in [0,1]: L in 0..100, a and b about -110..110."""
    xp, rgb = _float32(rgb)
    xyz = _mix(_RGB_TO_XYZ, _linear_from_srgb(rgb))
    f_x, f_y, f_z = (_lab_curve(value / white) for value, white in zip(xyz, _WHITE))
    return xp.stack((116.0 * f_y - 16.0, 500.0 * (f_x - f_y), 200.0 * (f_y - f_z)), axis=-1)


def lightness(rgb: Float[Any, "*batch 3"]) -> Float[Any, "*batch 1"]:
    """L in 0..100 of gamma-encoded sRGB in [0,1]: the first channel of `srgb_to_lab`, cheaper."""
    _, rgb = _float32(rgb)
    red, green, blue = _linear_from_srgb(rgb)
    weights = _RGB_TO_XYZ[1]
    y = weights[0] * red + weights[1] * green + weights[2] * blue
    return (116.0 * _lab_curve(y) - 16.0)[..., None]


def srgb_curve(linear: Float[Any, "*shape"]) -> Float[Any, "*shape"]:
    """Linear light to gamma-encoded sRGB; below 0 the straight line goes on."""
    xp = linear.__array_namespace__()
    high = linear > 0.0031308
    power = 1.055 * xp.where(high, linear, 1.0) ** (1.0 / 2.4) - 0.055
    return xp.where(high, power, 12.92 * linear)


def lab_to_srgb(lab: Float[Any, "*batch 3"]) -> Float[Any, "*batch 3"]:
    """Gamma-encoded sRGB of CIE Lab, unclipped: a colour no screen can show leaves [0,1]."""
    xp, lab = _float32(lab)
    return srgb_curve(xp.stack(_linear_channels(lab), axis=-1))


def luminance_from_lightness(lightness: Float[Any, "*shape"]) -> Float[Any, "*shape"]:
    """L-CAD's luminance, L/127.5 - 1: for L in 0..100 it spans [-1, -0.2157], not [-1, 1]."""
    return lightness / 127.5 - 1.0


def luminance(image: Float[Any, "*batch 3"]) -> Float[Any, "*batch 1"]:
    """Luminance, in L-CAD's unit L/127.5 - 1, of a colour image in [-1,1]."""
    return luminance_from_lightness(lightness(to_unit(image)))


def gray(lightness: Float[Any, "*batch 1"]) -> Float[Any, "*batch 3"]:
    """sRGB in [0,1] of L in 0..100 without chroma: what `with_lightness` makes of no colour."""
    xp, lightness = _float32(lightness)
    none = xp.zeros_like(lightness)
    return xp.clip(lab_to_srgb(xp.concat((lightness, none, none), axis=-1)), 0.0, 1.0)


def fit_gamut(lab: Float[Any, "*batch 3"]) -> Float[Any, "*batch 3"]:
    """Scales chroma down, at constant lightness and hue, until the sRGB colour is within [0,1].

    The scale is the largest one that fits, found by bisection to 2**-16 from below; a colour
    inside the gamut comes back unchanged. "Within" allows for 1.5e-4 in linear light, which is
    what pure white needs. L is expected in 0..100: outside of it no chroma fits and gray remains.
    Between gray and a yellow of L 94..98 a line may leave the gamut and enter it again (1 of
    10,000 colours of the Lab cube); there the scale fits but need not be the largest.
    """
    xp, lab = _float32(lab)
    lightness, ab = lab[..., :1], lab[..., 1:]

    def is_inside(scale: Any) -> Any:
        red, green, blue = _linear_channels(xp.concat((lightness, ab * scale), axis=-1))
        low = xp.minimum(xp.minimum(red, green), blue)
        high = xp.maximum(xp.maximum(red, green), blue)
        return ((low >= _GAMUT_LOW) & (high <= _GAMUT_HIGH))[..., None]

    # A fixed number of halvings instead of a loop until it is near enough: every pixel does the
    # same, and jax can unroll it.
    low = xp.zeros_like(lightness)
    step = 0.5
    for _ in range(_BISECTIONS):
        low = xp.where(is_inside(low + step), low + step, low)
        step /= 2.0
    scale = xp.where(is_inside(xp.ones_like(low)), 1.0, low)
    return xp.concat((lightness, ab * scale), axis=-1)


def with_lightness(
    rgb: Float[Any, "*batch 3"], lightness: Float[Any, "*batch 1"]
) -> Float[Any, "*batch 3"]:
    """The colours of `rgb` (sRGB in [0,1]) at another lightness (L in 0..100), sRGB in [0,1].

    Takes a and b of `rgb`; where they do not exist at the given lightness, `fit_gamut` decides.
    The lightness of the result is the given one up to 8e-5 in linear light (the tolerance).
    """
    xp, lab = _float32(srgb_to_lab(rgb))
    lightness = xp.asarray(lightness, dtype=xp.float32)
    fitted = fit_gamut(xp.concat((lightness, lab[..., 1:]), axis=-1))
    return xp.clip(lab_to_srgb(fitted), 0.0, 1.0)
