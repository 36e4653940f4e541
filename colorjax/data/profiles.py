"""Colours of an embedded ICC profile as sRGB, in floats: 8 bits are too few for a linear curve."""

import struct
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageCms

from colorjax.maths import color

Curve = Callable[[np.ndarray], np.ndarray]
# sRGB's own colorants, adapted to the profiles' white D50 (IEC 61966-2-1, ICC.1 appendix E).
_SRGB = np.array(
    [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]]
)
_STRIP_PIXELS = 1 << 17  # stays in the cache
_SAME = 1.0 / 255.0  # what profiles of sRGB itself differ by
# The parameters' places of `para` curves by kind: (g, a, b, c, d, e, f), None is absent.
_PARAMETERS = {0: "g", 1: "gab", 2: "gabc", 3: "gabcd", 4: "gabcdef"}


class _Matrix(NamedTuple):
    """A profile of curves and colorants; of a gray one the colorants are D50 times one curve."""

    curves: tuple[Curve, ...]
    to_srgb: np.ndarray  # linear light to linear sRGB


def to_srgb(values: Float[np.ndarray, "h w c"], profile: bytes) -> Float[np.ndarray, "h w c2"]:
    """sRGB in [0,1] of a profile's colours: gray ones stay one channel, if the profile is gray.

    Gray values with a profile for colours are the same in all three channels. Values come back
    unchanged if the profile is sRGB itself, is not valid, or is of another kind of colour.
    """
    convert = conversion(profile, values.shape[-1])
    return values if convert is None else in_strips(convert, values)


def conversion(profile: bytes, channels: int) -> Curve | None:
    """What `to_srgb` does to the values of a picture of so many channels; None: nothing."""
    try:
        return _conversion(profile, channels)
    except (OSError, ValueError, LookupError, ArithmeticError, struct.error, ImageCms.PyCMSError):
        return None


def from_srgb(levels: np.ndarray, profile: bytes) -> np.ndarray | None:
    """Levels of sRGB, uint8 or uint16 of three channels or four with alpha, in a profile's space.

    None if the profile is not one for RGB, or not valid. Colours that the space does not have are
    clamped. Of a profile made of tables, lcms converts 8 bits.
    """
    try:
        matrix = _matrix_profile(profile)
        if profile[16:20] != b"RGB ":
            return None
        convert = _back_by_tables(profile) if matrix is None else _back_by_matrix(matrix)
    except (OSError, ValueError, LookupError, ArithmeticError, struct.error, ImageCms.PyCMSError):
        return None
    most = np.float32(np.iinfo(levels.dtype).max)
    result = levels.copy()
    rows = max(1, _STRIP_PIXELS // levels.shape[1])
    for top in range(0, len(levels), rows):
        strip = levels[top : top + rows, :, :3].astype(np.float32) / most
        result[top : top + rows, :, :3] = np.round(np.clip(convert(strip), 0.0, 1.0) * most)
    return result


def _back_by_matrix(matrix: _Matrix) -> Curve:
    places = np.linspace(0.0, 1.0, 1 << 14, dtype=np.float32)
    light = [curve(places) for curve in matrix.curves]
    from_srgb = np.linalg.inv(matrix.to_srgb).astype(np.float32)

    def convert(values: np.ndarray) -> np.ndarray:
        linear = np.where(values > 0.04045, ((values + 0.055) / 1.055) ** 2.4, values / 12.92)
        mixed = linear @ from_srgb.T
        channels = [np.interp(mixed[..., i], light[i], places) for i in range(3)]
        return np.stack(channels, axis=-1).astype(np.float32)

    return convert


def _back_by_tables(profile: bytes) -> Curve:
    parsed = ImageCms.ImageCmsProfile(BytesIO(profile))
    transform = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), parsed, "RGB", "RGB")

    def convert(values: np.ndarray) -> np.ndarray:
        levels = np.round(values * np.float32(255.0)).astype(np.uint8)
        picture = ImageCms.applyTransform(Image.fromarray(levels), transform)
        assert picture is not None  # as it is not changed in place
        return color.unit_from_bytes(np.asarray(picture))

    return convert


def in_strips(convert: Curve, values: np.ndarray) -> Float[np.ndarray, "h w c2"]:
    """Row by row or several: what a conversion needs beside its result does not grow."""
    rows = max(1, _STRIP_PIXELS // values.shape[1])
    first = convert(values[:rows])
    result = np.empty((len(values), *first.shape[1:]), np.float32)
    result[:rows] = first
    for top in range(rows, len(values), rows):
        result[top : top + rows] = convert(values[top : top + rows])
    return result


def by_gamma(values: Float[np.ndarray, "h w c"], gamma: float) -> Float[np.ndarray, "h w c"]:
    """sRGB of values that are light to the power of `gamma`, as a PNG says it without a profile."""
    convert = conversion_by_gamma(gamma)
    return values if convert is None else in_strips(convert, values)


def conversion_by_gamma(gamma: float) -> Curve | None:
    """What `by_gamma` does to values; None: nothing."""
    if not 0.05 < gamma < 5.0 or abs(gamma - 1.0 / 2.2) < 0.01:
        return None
    power = np.float32(1.0 / gamma)
    return lambda values: color.srgb_curve(values**power)


def _conversion(profile: bytes, channels: int) -> Curve | None:
    """From the profile's colours, which a picture has so many channels of; None leaves them."""
    matrix = _matrix_profile(profile)
    if matrix is None:
        return _by_tables(profile)
    if len(matrix.curves) == 1 < channels or _is_srgb(matrix):
        return None

    def convert(values: np.ndarray) -> np.ndarray:
        if len(matrix.curves) == 3:
            values = np.broadcast_to(values, (*values.shape[:2], 3))
        return _by_matrix(values, matrix)

    return convert


def _by_matrix(values: np.ndarray, matrix: _Matrix) -> np.ndarray:
    linear = [curve(values[..., i]) for i, curve in enumerate(matrix.curves)]
    rows = matrix.to_srgb.astype(np.float32)
    mixed = [sum(row[i] * channel for i, channel in enumerate(linear)) for row in rows]
    light = np.nan_to_num(np.stack(mixed, axis=-1), nan=0.0)
    return color.srgb_curve(np.clip(light, 0.0, 1.0))


def _is_srgb(matrix: _Matrix) -> bool:
    ramp = np.linspace(0.0, 1.0, 256, dtype=np.float32)[:, None]
    if len(matrix.curves) == 1:
        probes = ramp
    else:
        hues = [[1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1], [1, 0, 1]]
        probes = np.concatenate([ramp * np.array(hue, np.float32) for hue in hues])
    return bool(np.abs(_by_matrix(probes, matrix) - probes).max() < _SAME)


def _matrix_profile(profile: bytes) -> _Matrix | None:
    """None of a profile that is made of tables."""
    if len(profile) < 132 or profile[36:40] != b"acsp":
        raise ValueError("no profile")
    space, connection = profile[16:20], profile[20:24]
    tags = _tags(profile)
    if space == b"GRAY" and b"kTRC" in tags:
        curve = _curve(tags[b"kTRC"])
        if connection == b"Lab ":
            return _Matrix((lambda values: _light(curve(values)),), np.ones((1, 1)))
        return _Matrix((curve,), np.ones((1, 1)))
    if space != b"RGB ":
        raise ValueError("of other colours")
    if b"A2B0" in tags or b"rXYZ" not in tags:
        return None
    curves = tuple(_curve(tags[name + b"TRC"]) for name in (b"r", b"g", b"b"))
    colorants = np.array([_xyz(tags[name + b"XYZ"]) for name in (b"r", b"g", b"b")]).T
    return _Matrix(curves, np.linalg.inv(_SRGB) @ colorants)


def _tags(profile: bytes) -> Mapping[bytes, bytes]:
    (count,) = struct.unpack(">I", profile[128:132])
    rows = (struct.unpack(">4sII", profile[at : at + 12]) for at in _places(count))
    return {name: profile[start : start + size] for name, start, size in rows}


def _places(count: int) -> range:
    return range(132, 132 + 12 * min(count, 100), 12)


def _xyz(content: bytes) -> list[float]:
    return [part / 65536.0 for part in struct.unpack(">3i", content[8:20])]


def _curve(content: bytes) -> Curve:
    """Values to light, both in [0,1]."""
    kind, (count,) = content[:4], struct.unpack(">I", content[8:12])
    if kind == b"para":
        return _parametric(content)
    if kind != b"curv":
        raise ValueError("an unknown curve")
    if count == 0:
        return lambda values: values
    numbers = np.frombuffer(content[12 : 12 + 2 * count], ">u2")
    if count == 1:
        gamma = np.float32(int(numbers[0]) / 256.0)
        return lambda values: values**gamma
    light = numbers.astype(np.float32) / np.float32(65535.0)
    places = np.linspace(0.0, 1.0, len(light), dtype=np.float32)
    return lambda values: np.interp(values, places, light).astype(np.float32)


def _parametric(content: bytes) -> Curve:
    """The curves of ICC.1:2022, table 68: a power above d, a straight line below."""
    names = _PARAMETERS[struct.unpack(">H", content[8:10])[0]]
    numbers = struct.unpack(f">{len(names)}i", content[12 : 12 + 4 * len(names)])
    given = {name: number / 65536.0 for name, number in zip(names, numbers)}
    power, a, b = given["g"], given.get("a", 1.0), given.get("b", 0.0)
    if "d" in given:
        slope, start = given["c"], given["d"]
        above, below = given.get("e", 0.0), given.get("f", 0.0)
    else:
        slope, start = 0.0, -b / a
        above = below = given.get("c", 0.0)

    def light(values: np.ndarray) -> np.ndarray:
        base = np.maximum(a * values + b, 0.0)
        return np.where(values >= start, base**power + above, slope * values + below).astype(
            np.float32
        )

    return light


def _light(lightness: np.ndarray) -> np.ndarray:
    """Relative luminance of L* / 100."""
    y = (lightness * 100.0 + 16.0) / 116.0
    return np.where(y > 6.0 / 29.0, y**3, (y - 4.0 / 29.0) * 3.0 * (6.0 / 29.0) ** 2)


def _by_tables(profile: bytes) -> Curve | None:
    """By lcms, which sees 8 bits: between two levels a straight line in each channel."""
    parsed = ImageCms.ImageCmsProfile(BytesIO(profile))
    if "srgb" in ImageCms.getProfileDescription(parsed).lower():
        return None
    target = ImageCms.createProfile("sRGB")
    transform = ImageCms.buildTransform(parsed, target, "RGB", "RGB")

    def mapped(levels: np.ndarray) -> np.ndarray:
        picture = ImageCms.applyTransform(Image.fromarray(levels), transform)
        assert picture is not None  # as it is not changed in place
        return color.unit_from_bytes(np.asarray(picture))

    def convert(values: np.ndarray) -> np.ndarray:
        scaled = np.broadcast_to(values, (*values.shape[:2], 3)) * np.float32(255.0)
        lower = np.clip(np.floor(scaled), 0, 254).astype(np.uint8)
        start = mapped(lower)
        result = start.copy()
        for channel in range(3):
            upper = lower.copy()
            upper[..., channel] += 1
            share = scaled[..., channel : channel + 1] - lower[..., channel : channel + 1]
            result += share * (mapped(upper) - start)
        return np.clip(result, 0.0, 1.0)

    return convert
