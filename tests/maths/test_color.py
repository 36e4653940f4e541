"""Golden values: scikit-image, algebra, and the definition of a gamut."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.color

from colorjax.maths import color

_CUBE = np.stack(np.meshgrid(*[np.linspace(0, 1, 18)] * 3, indexing="ij"), -1).astype(np.float32)


@pytest.fixture(scope="module")
def any_lab() -> np.ndarray:
    """Lab far beyond the gamut, with the extremes of lightness and chroma."""
    rng = np.random.default_rng(0)
    lightness = np.concatenate([[0, 0, 100, 100, 50], rng.uniform(0, 100, 3000)])
    ab = np.concatenate([[[0, 0], [180, -170]] * 2 + [[0, 0]], rng.uniform(-130, 130, (3000, 2))])
    return np.concatenate([lightness[:, None], ab], axis=-1).astype(np.float32)


def test_lab_is_that_of_scikit_image():
    """scikit-image works in float64 here: the bound is 1e-4 in L and 5e-4 in a and b."""
    expected = skimage.color.rgb2lab(_CUBE.astype(np.float64))
    difference = np.abs(color.srgb_to_lab(_CUBE) - expected)
    assert difference[..., 0].max() < 1e-4
    assert difference[..., 1:].max() < 5e-4
    np.testing.assert_allclose(color.lightness(_CUBE), expected[..., :1], atol=1e-4)


def test_lab_by_algebra():
    rgb = np.array([[0, 0, 0], [1, 1, 1], [0.5, 0.5, 0.5], [0.04, 0.04, 0.04]], np.float32)
    middle = 116 * (((0.5 + 0.055) / 1.055) ** 2.4) ** (1 / 3) - 16
    dark = 116 * 7.787 * 0.04 / 12.92
    lab = color.srgb_to_lab(rgb)
    np.testing.assert_allclose(lab[:, 0], [0, 100, middle, dark], atol=1e-4)
    assert np.abs(lab[:, 1:]).max() < 0.01
    # Pure red: Y is the matrix's middle row's first entry.
    red = color.srgb_to_lab(np.array([1, 0, 0], np.float32))
    np.testing.assert_allclose(red[0], 116 * 0.212671 ** (1 / 3) - 16, atol=1e-4)


def test_round_trip_and_backends_agree():
    lab = color.srgb_to_lab(_CUBE)
    assert lab.dtype == np.float32
    np.testing.assert_allclose(color.lab_to_srgb(lab), _CUBE, atol=2e-5)
    traced = jax.jit(color.srgb_to_lab)(jnp.asarray(_CUBE))
    np.testing.assert_allclose(traced, lab, atol=2e-4)
    np.testing.assert_allclose(jax.jit(color.lab_to_srgb)(traced), _CUBE, atol=2e-5)


def test_colour_outside_the_gamut_is_not_clipped():
    rgb = color.lab_to_srgb(np.array([50, 120, -120], np.float32))
    assert rgb.min() < -0.01 and rgb.max() > 1.01


def test_gradients_have_no_nan():
    rgb = jnp.array([[0, 0, 0], [1, 1, 1], [0, 0, 1], [0.04045] * 3], jnp.float32)

    def loss(rgb):
        lab = color.srgb_to_lab(rgb)
        return jnp.sum(color.lab_to_srgb(color.fit_gamut(lab * 1.5))) + jnp.sum(lab)

    gradient = jax.grad(loss)(rgb)
    assert np.isfinite(gradient).all() and np.abs(gradient[0]).max() > 1


def test_luminance_unit():
    np.testing.assert_allclose(
        color.luminance_from_lightness(np.array([0.0, 100.0])), [-1, -11 / 51]
    )
    image = np.stack([-np.ones((2, 4, 3)), np.ones((2, 4, 3))]).astype(np.float32)
    luminance = color.luminance(image)
    assert luminance.shape == (2, 2, 4, 1)
    np.testing.assert_allclose(luminance[:, 0, 0, 0], [-1, -11 / 51], atol=1e-5)


def test_fit_gamut_keeps_lightness_and_hue_and_fits(any_lab):
    fitted = color.fit_gamut(any_lab)
    rgb = color.lab_to_srgb(fitted)
    assert rgb.min() > -1e-4 and rgb.max() < 1 + 1e-4
    np.testing.assert_array_equal(fitted[:, 0], any_lab[:, 0])
    cross = fitted[:, 1] * any_lab[:, 2] - fitted[:, 2] * any_lab[:, 1]
    np.testing.assert_allclose(cross, 0, atol=0.01)
    assert (np.sum(fitted[:, 1:] * any_lab[:, 1:], axis=-1) >= 0).all()
    traced = jax.jit(color.fit_gamut)(jnp.asarray(any_lab))
    np.testing.assert_allclose(traced, fitted, atol=0.02)


def test_fit_gamut_takes_no_more_than_it_must(any_lab):
    fitted = color.fit_gamut(any_lab)
    changed = np.any(fitted != any_lab, axis=-1)
    assert 0.5 < changed.mean() < 0.95
    chromatic = changed & (any_lab[:, 0] > 1) & (any_lab[:, 0] < 99)
    more = fitted[chromatic] + 0.01 * (any_lab - fitted)[chromatic]
    rgb = color.lab_to_srgb(more)
    assert ((rgb.min(-1) < 0) | (rgb.max(-1) > 1)).all()
    inside = color.srgb_to_lab(_CUBE * 0.9 + 0.05)
    np.testing.assert_array_equal(color.fit_gamut(inside), inside)


def test_with_lightness_keeps_the_gray_level_in_8_bit():
    rng = np.random.default_rng(1)
    levels = np.arange(256, dtype=np.uint8).repeat(64)
    gray = np.repeat((levels / 255).astype(np.float32)[:, None], 3, axis=-1)
    lightness = color.srgb_to_lab(gray)[:, :1]
    rgb = np.where(
        rng.random((len(levels), 1)) < 0.5, rng.random(gray.shape), rng.integers(0, 2, gray.shape)
    )
    result = color.with_lightness(rgb.astype(np.float32), lightness)
    assert result.min() >= 0 and result.max() <= 1
    kept = color.srgb_to_lab(np.round(result * 255).astype(np.float32) / 255)[:, 0]
    # The gray level with the same lightness, found on scikit-image's curve.
    curve = skimage.color.rgb2lab(np.repeat(np.arange(256)[:, None] / 255, 3, -1))[:, 0]
    level = np.interp(kept, curve, np.arange(256))
    assert np.abs(level - levels).max() <= 1.0
    assert np.linalg.norm(color.srgb_to_lab(result)[:, 1:], axis=-1).mean() > 10


def test_gray_is_scikit_images():
    lightness = np.linspace(0, 100, 201, dtype=np.float32)[:, None]
    lab = np.concatenate([lightness, np.zeros((201, 2))], axis=1)
    np.testing.assert_allclose(color.gray(lightness), skimage.color.lab2rgb(lab), atol=2e-3)
    assert np.ptp(color.gray(lightness), axis=-1).max() < 5e-4


def test_color_imports_no_jax():
    code = "import sys, colorjax.maths.color; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
