"""Golden values: pictures whose colours are known, and plain bilinear interpolation to beat."""

import cv2
import numpy as np
import pytest
import skimage.color

from colorjax.colorize.chroma import recombine
from colorjax.colorize.chroma.recombine import to_full_size
from colorjax.maths import color


def _small(array: np.ndarray, width: int, height: int | None = None) -> np.ndarray:
    return cv2.resize(array, (width, height or width), interpolation=cv2.INTER_AREA)


def _two_regions(size: int) -> tuple[np.ndarray, np.ndarray]:
    """A dark green and a light red region, a slanted sharp edge between them, some texture."""
    y, x = np.mgrid[0:size, 0:size]
    right = (x + 0.37 * y > 0.71 * size)[..., None]
    texture = 2.0 * np.sin(x / 3.0) * np.cos(y / 4.0)
    lightness = np.where(right[..., 0], 65.0, 35.0) + texture
    ab = np.where(right, [30.0, 20.0], [-25.0, 15.0])
    return lightness.astype(np.float32), ab.astype(np.float32)


def test_edges_bleed_far_less_than_with_bilinear_interpolation():
    lightness, ab = _two_regions(512)
    small = _small(ab, 32)
    bilinear = cv2.resize(small, (512, 512), interpolation=cv2.INTER_LINEAR)
    guided = color.srgb_to_lab(to_full_size(lightness, small, _small(lightness, 32)))[..., 1:]
    error = np.abs(guided - ab)[..., 0]
    bilinear_error = np.abs(bilinear - ab)[..., 0]
    assert error.mean() < 0.4 * bilinear_error.mean()
    # Pixels of a plainly wrong colour: half-way to the other region's or worse.
    assert (error > 15).sum() < 0.3 * (bilinear_error > 15).sum()


def test_constant_chroma_stays_constant_whatever_the_texture():
    rng = np.random.default_rng(0)
    lightness = rng.uniform(40, 70, (203, 310)).astype(np.float32)
    ab = np.broadcast_to(np.array([12.0, -9.0], np.float32), (32, 32, 2))
    result = color.srgb_to_lab(to_full_size(lightness, ab, _small(lightness, 32)))
    np.testing.assert_allclose(result[..., 1:], np.broadcast_to(ab[0, 0], (203, 310, 2)), atol=0.01)


def test_no_blocks_on_a_gradient():
    """A linear ramp of chroma comes back as a ramp: no step exceeds twice the true one."""
    ramp = np.tile(np.linspace(-20, 20, 16, dtype=np.float32)[None, :, None], (16, 1, 2))
    lightness = np.full((256, 256), 60.0, np.float32)
    result = color.srgb_to_lab(to_full_size(lightness, ramp, np.full((16, 16), 60.0, np.float32)))
    steps = np.abs(np.diff(result[..., 1], axis=1))
    assert steps.max() < 2 * (40 / 15 / 16)
    assert result[0, -1, 1] - result[0, 0, 1] == pytest.approx(40, abs=0.05)


def test_equal_sizes_keep_ab():
    rng = np.random.default_rng(1)
    lightness = rng.uniform(45, 65, (40, 33)).astype(np.float32)
    ab = rng.uniform(-15, 15, (40, 33, 2)).astype(np.float32)
    result = color.srgb_to_lab(to_full_size(lightness, ab, lightness))
    np.testing.assert_allclose(result[..., 1:], ab, atol=0.01)


@pytest.mark.parametrize("chroma", [20.0, 400.0])
def test_lightness_is_kept_in_8_bit(chroma):
    rng = np.random.default_rng(2)
    levels = np.tile(np.arange(256, dtype=np.uint8), (64, 1))
    gray = np.repeat((levels / 255).astype(np.float32)[..., None], 3, axis=-1)
    lightness = color.srgb_to_lab(gray)[..., 0]
    ab = rng.uniform(-chroma, chroma, (8, 32, 2)).astype(np.float32)
    rgb = to_full_size(lightness, ab, _small(lightness, 32, 8))
    assert rgb.min() >= 0 and rgb.max() <= 1 and np.ptp(rgb, axis=-1).max() > 0.1
    kept = color.srgb_to_lab(np.round(rgb * 255).astype(np.float32) / 255)[..., 0]
    level = np.interp(kept, lightness[0], np.arange(256))
    assert np.abs(level - levels).max() <= 1.0


@pytest.mark.parametrize(
    "full, small", [((2, 2), (32, 32)), ((2, 900), (8, 64)), ((900, 3), (1, 1)), ((7, 5), (2, 3))]
)
def test_any_sides(full, small):
    rng = np.random.default_rng(3)
    lightness = rng.uniform(0, 100, full).astype(np.float32)
    ab = rng.uniform(-50, 50, (*small, 2)).astype(np.float32)
    rgb = to_full_size(lightness, ab, rng.uniform(0, 100, small).astype(np.float32))
    assert rgb.shape == (*full, 3) and np.isfinite(rgb).all()
    np.testing.assert_allclose(color.srgb_to_lab(rgb)[..., 0], lightness, atol=0.02)


def test_strips_leave_no_seams(monkeypatch):
    lightness, ab = _two_regions(128)
    small = _small(ab, 16), _small(lightness, 16)
    whole = to_full_size(lightness, *small)
    monkeypatch.setattr("colorjax.data.rows._STRIP_PIXELS", 128 * 5)
    np.testing.assert_array_equal(to_full_size(lightness, *small), whole)


def test_arguments_are_left_alone():
    lightness, ab = _two_regions(32)
    kept = lightness.copy(), ab.copy()
    to_full_size(lightness, ab, lightness)
    np.testing.assert_array_equal(lightness, kept[0])
    np.testing.assert_array_equal(ab, kept[1])


@pytest.mark.parametrize("levels", [256, 65536])
def test_gray_is_looked_up_to_what_the_formula_says(levels: int) -> None:
    values = (np.arange(levels, dtype=np.float32) / np.float32(levels - 1)).reshape(16, -1)
    expected = skimage.color.rgb2lab(np.stack([values] * 3, -1).astype(np.float64))[..., 0]
    shown = np.broadcast_to(values[..., None], (*values.shape, 3))
    before = values.copy()
    np.testing.assert_allclose(recombine.lightness_of(shown), expected, atol=0.05)
    np.testing.assert_array_equal(values, before)
    turned = recombine.lightness_of(shown[::-1], in_place=True)
    np.testing.assert_array_equal(values, before, "only the whole of an upright picture is")
    light = recombine.lightness_of(shown, in_place=True)
    np.testing.assert_array_equal(turned[::-1], light)
    assert np.shares_memory(light, values)
