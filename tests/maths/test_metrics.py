"""Golden values: scikit-image's SSIM, PSNR and CIEDE2000, and algebra."""

import jax.numpy as jnp
import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from colorjax.maths import ciede2000, color, metrics


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:24, 0:31] / 24.0
    smooth = np.stack([x / 2 + y / 3, np.sin(5 * x) ** 2, 1 - y], axis=-1)
    target = np.clip(np.stack([smooth, smooth**2, smooth * 0 + 0.9]), 0, 1)
    noise = rng.normal(size=target.shape) * np.array([0.02, 0.3, 0.1])[:, None, None, None]
    return np.clip(target + noise, 0, 1).astype(np.float32), target.astype(np.float32)


def test_ssim_is_that_of_scikit_image(pair):
    image, target = pair
    expected = [
        structural_similarity(a.astype(np.float64), b, channel_axis=-1, data_range=1.0)
        for a, b in zip(image, target.astype(np.float64))
    ]
    got = metrics.ssim(jnp.asarray(image), jnp.asarray(target))
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert max(expected) - min(expected) > 0.1


def test_ssim_of_equal_images_is_one_and_small_ones_raise(pair):
    image = jnp.asarray(pair[0])
    np.testing.assert_allclose(metrics.ssim(image, image), 1.0, atol=1e-6)
    with pytest.raises(ValueError, match="at least 7 x 7"):
        metrics.ssim(image[:, :6], image[:, :6])


def test_psnr_per_image_is_that_of_scikit_image_and_capped(pair):
    image, target = pair
    expected = [peak_signal_noise_ratio(b, a, data_range=1.0) for a, b in zip(image, target)]
    got = metrics.psnr_per_image(metrics.mse(jnp.asarray(image), jnp.asarray(target)))
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    np.testing.assert_allclose(metrics.psnr_per_image(jnp.array([0.0, 1e-9, 1e-4])), [60, 60, 40])


def test_pooled_psnr_pools_errors_not_decibels():
    errors = jnp.array([0.01, 0.0001])
    expected = -10 * np.log10(0.00505)
    np.testing.assert_allclose(metrics.psnr_pooled(errors), expected, rtol=1e-6)
    assert metrics.psnr_pooled(errors) < metrics.psnr_per_image(errors).mean() - 5
    padded = metrics.psnr_pooled(jnp.array([0.01, 0.0001, 7.0]), jnp.array([1.0, 1.0, 0.0]))
    np.testing.assert_allclose(padded, expected, rtol=1e-6)


def test_chroma_error_is_scikit_images_distance_in_ab():
    first, second = np.random.default_rng(0).uniform(size=(2, 3, 8, 6, 3)).astype(np.float32)
    ab = (rgb2lab(first) - rgb2lab(second))[..., 1:]
    expected = np.linalg.norm(ab, axis=-1).mean((1, 2))
    got = metrics.chroma_error(jnp.asarray(first), jnp.asarray(second))
    np.testing.assert_allclose(got, expected, rtol=2e-4)


def test_colourfulness_by_hand():
    gray = jnp.full((4, 6, 3), 0.3)
    red = jnp.zeros((4, 6, 3)).at[..., 0].set(1.0)
    # Left half red (rg 255, yb 127.5), right half blue (rg 0, yb -255).
    halves = red.at[:, 3:].set(jnp.array([0.0, 0.0, 1.0]))
    spread = np.hypot(127.5, 191.25)
    expected = [0.0, 0.3 * np.hypot(255, 127.5), spread + 0.3 * np.hypot(127.5, -63.75)]
    got = metrics.colourfulness(jnp.stack([gray, red, halves]))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("data_range", [255, 225])
def test_ssim_takes_the_data_range_of_other_tables(pair, data_range):
    """CT2 gives 225 for bytes; ours has the images in 0..1 and the range in their unit."""
    image, target = (np.round(side * 255).astype(np.uint8) for side in pair)
    expected = [
        structural_similarity(a, b, channel_axis=-1, data_range=data_range)
        for a, b in zip(image, target)
    ]
    ours = metrics.CT2_DATA_RANGE if data_range == 225 else 1.0
    got = metrics.ssim(jnp.asarray(image / 255.0), jnp.asarray(target / 255.0), ours)
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_both_differences_of_colourfulness():
    """10 and 30 against 20 and 20: their means are equal, each is 10 away."""
    own, truth = jnp.array([10.0, 30.0]), jnp.array([20.0, 20.0])
    assert metrics.delta_colourfulness_of_means(own, truth) == 0.0
    assert metrics.delta_colourfulness_per_image(own, truth) == 10.0


def test_clip_score_is_the_cosine():
    image, text = jnp.array([[3.0, 4.0], [1.0, 0.0]]), jnp.array([[5.0, 0.0], [-2.0, 0.0]])
    np.testing.assert_allclose(metrics.clip_score(image, text), [60.0, 0.0], rtol=1e-6)


def test_ciede2000_is_that_of_scikit_image():
    """Over the whole cube, near gray, at equal colours, and across 0 degrees of hue."""
    rng = np.random.default_rng(0)
    lab = rng.uniform((0, -100, -100), (100, 100, 100), size=(3000, 3))
    other = np.concatenate([lab[::-1][:1000], lab[1000:] + rng.normal(size=(2000, 3))])
    lab[-500:, 1:] *= 0.01
    other[:10] = lab[:10]
    lab[10:20, 1:] = 0.0
    expected = deltaE_ciede2000(lab, other)
    got = ciede2000.difference(jnp.asarray(lab, jnp.float32), jnp.asarray(other, jnp.float32))
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-3)


def test_ciede2000_of_a_published_pair():
    """Sharma et al. (2005), table 1, pairs 1, 7 and 17."""
    first = jnp.array([[50.0, 2.6772, -79.7751], [50.0, 0.0, 0.0], [50.0, 2.5, 0.0]])
    second = jnp.array([[50.0, 0.0, -82.7485], [50.0, -1.0, 2.0], [73.0, 25.0, -18.0]])
    got = ciede2000.difference(first, second)
    np.testing.assert_allclose(got, [2.0425, 2.3669, 27.1492], atol=2e-4)


def test_ciede2000_of_pictures_is_that_of_scikit_image():
    first, second = np.random.default_rng(1).uniform(size=(2, 2, 9, 8, 3)).astype(np.float32)
    expected = deltaE_ciede2000(rgb2lab(first), rgb2lab(second)).mean((1, 2))
    labs = (color.srgb_to_lab(jnp.asarray(side)) for side in (first, second))
    got = ciede2000.difference(*labs).mean((1, 2))
    np.testing.assert_allclose(got, expected, rtol=3e-4)
