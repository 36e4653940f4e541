"""Tone curves in floats: golden values are sRGB's own formula and powers."""

import struct

import cv2
import numpy as np
import pytest
from PIL import Image

from colorjax.colorize.files.photos import load_photo
from colorjax.data import bounds, profiles
from tests import pictures


def srgb(linear: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1."""
    return np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)


def gray_profile(curve: bytes) -> bytes:
    """A monochrome profile of one curve."""
    start = 128 + 4 + 12
    tags = struct.pack(">I", 1) + b"kTRC" + struct.pack(">II", start, len(curve))
    head = bytearray(128)
    head[0:4] = struct.pack(">I", start + len(curve))
    head[12:16], head[16:20], head[20:24], head[36:40] = b"mntr", b"GRAY", b"XYZ ", b"acsp"
    return bytes(head) + tags + curve


LINEAR = b"curv" + bytes(8)
POWER = b"curv" + bytes(4) + struct.pack(">IH", 1, round(1.8 * 256))
TABLE = b"curv" + bytes(4) + struct.pack(">I3H", 3, 0, 16384, 65535)


def deep_png(path, values: np.ndarray, *chunks: bytes):
    """16 bits, with chunks behind the header."""
    data = cv2.imencode(".png", values)[1].tobytes()
    path.write_bytes(data[:33] + b"".join(chunks) + data[33:])
    return path


def profile_chunk(profile: bytes) -> bytes:
    import zlib

    return bounds.png_chunk(b"iCCP", b"p\0\0" + zlib.compress(profile))


@pytest.mark.parametrize("most", [6.0, 250.0])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_linear_profile_keeps_its_shadows(tmp_path, most, channels) -> None:
    levels = np.linspace(0, most, 256).reshape(16, 16)
    values = np.repeat((levels * 257).astype(np.uint16)[..., None], channels, axis=-1)
    chunk = profile_chunk(pictures.linear_profile())
    photo = load_photo(deep_png(tmp_path / "a.png", values, chunk))
    expected = srgb(values[..., :1] / 65535.0)
    assert np.abs(photo.rgb - expected).max() * 255 < 0.1


@pytest.mark.parametrize(
    ("curve", "light"),
    [
        (LINEAR, lambda v: v),
        (POWER, lambda v: v**1.80078125),
        (TABLE, lambda v: np.interp(v, [0, 0.5, 1], [0, 16384 / 65535, 1])),
    ],
)
def test_gray_profiles(tmp_path, curve, light) -> None:
    values = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    chunk = profile_chunk(gray_profile(curve))
    photo = load_photo(deep_png(tmp_path / "a.png", values, chunk))
    expected = srgb(light(values / 65535.0))
    assert np.abs(photo.rgb[..., 0] - expected).max() * 255 < 0.1 and not photo.is_colour


def test_a_gray_picture_with_a_profile_for_colours(tmp_path) -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(ramp).save(tmp_path / "g.png", icc_profile=pictures.linear_profile())
    photo = load_photo(tmp_path / "g.png")
    assert np.abs(photo.rgb - srgb(ramp / 255.0)[..., None]).max() * 255 < 0.1
    assert not photo.is_colour and abs(photo.rgb[4, 0, 1] * 255 - 137) < 0.5


def test_parametric_curves_of_srgb_itself_change_nothing() -> None:
    numbers = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    body = b"".join(struct.pack(">i", round(number * 65536)) for number in numbers)
    curve = b"para" + bytes(4) + struct.pack(">HH", 3, 0) + body
    values = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16, 1)
    np.testing.assert_array_equal(profiles.to_srgb(values, gray_profile(curve)), values)
    halved = struct.pack(">i", round(0.5 / 12.92 * 65536))
    other = curve.replace(struct.pack(">i", round(65536 / 12.92)), halved)
    changed = profiles.to_srgb(values, gray_profile(other))
    assert np.abs(changed - values).max() > 0.01


def test_a_pngs_gamma_counts_where_no_profile_does(tmp_path) -> None:
    values = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    linear = bounds.png_chunk(b"gAMA", struct.pack(">I", 100_000))
    photo = load_photo(deep_png(tmp_path / "a.png", values, linear))
    assert np.abs(photo.rgb[..., 0] - srgb(values / 65535.0)).max() < 1e-3
    usual = bounds.png_chunk(b"gAMA", struct.pack(">I", 45_455))
    photo = load_photo(deep_png(tmp_path / "b.png", values, usual))
    np.testing.assert_allclose(photo.rgb[..., 0], values / 65535.0, atol=1e-6)


def test_damaged_profiles_change_nothing() -> None:
    values = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8, 1)
    rng = np.random.default_rng(0)
    for profile in (gray_profile(TABLE), pictures.linear_profile()):
        for _ in range(100):
            data = bytearray(profile)
            for place in rng.integers(0, len(data), 6):
                data[place] = rng.integers(0, 256)
            shown = profiles.to_srgb(values, bytes(data[: rng.integers(1, len(data))]))
            assert np.isfinite(shown).all() and shown.min() >= 0 and shown.max() <= 1


@pytest.mark.parametrize(("kind", "tolerance"), [(np.uint8, 0.55), (np.uint16, 24.0)])
def test_levels_back_in_the_photographs_own_space(kind, tolerance) -> None:
    most = np.iinfo(kind).max
    light = np.linspace(0, 1, 256)
    levels = np.round(np.stack([srgb(light), srgb(light[::-1]), srgb(light**2)], -1) * most)
    levels = levels.astype(kind)[None]
    shown = profiles.from_srgb(levels, pictures.linear_profile())
    value = levels[0] / most
    linear = np.where(value > 0.04045, ((value + 0.055) / 1.055) ** 2.4, value / 12.92)
    assert np.abs(shown[0] - linear * most).max() <= tolerance
    with_alpha = np.concatenate([levels, levels[..., :1]], axis=-1)
    again = profiles.from_srgb(with_alpha, pictures.linear_profile())
    np.testing.assert_array_equal(again[..., 3], levels[..., 0])
    assert profiles.from_srgb(levels, gray_profile(LINEAR)) is None
    assert profiles.from_srgb(levels, b"damaged") is None
