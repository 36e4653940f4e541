"""Gains of faded photographs, against closed forms."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from colorjax.maths import color
from colorjax.methods import fading

GAINS = np.array(fading.GAINS)


def picture(chroma: float) -> np.ndarray:
    """A mild gradient of lightness in two hues, within the gamut at any scale below 1.5."""
    lab = np.full((1, 8, 8, 3), 60.0, np.float32)
    lab[..., 0] += np.linspace(-5, 5, 8)
    lab[:, :4, :, 1:], lab[:, 4:, :, 1:] = (chroma, 0.5 * chroma), (-chroma, 0.2 * chroma)
    return np.asarray(color.from_unit(color.lab_to_srgb(lab)))


def chroma_of(image: np.ndarray) -> np.ndarray:
    return np.asarray(color.srgb_to_lab(np.asarray(color.to_unit(image)))[..., 1:])


def test_scaling_multiplies_chroma_at_the_pictures_lightness() -> None:
    image = picture(12.0)
    versions = np.asarray(fading.scaled(image, jnp.array([[0.0, 0.5, 1.0, 1.4, 40.0]])))[0]
    for scale, version in zip((0.0, 0.5, 1.0, 1.4), versions):
        np.testing.assert_allclose(chroma_of(version), scale * chroma_of(image[0]), atol=2e-2)
    for version in versions:
        np.testing.assert_allclose(
            color.lightness(np.asarray(color.to_unit(version))),
            color.lightness(np.asarray(color.to_unit(image[0]))),
            atol=0.05,
        )
    assert np.abs(versions).max() <= 1.0


def test_a_faded_picture_has_the_levels_of_a_file_and_its_share_of_chroma() -> None:
    image = np.repeat(picture(12.0), 2, axis=0)
    faded = np.asarray(fading.faded(image, jnp.array([0.25, 0.8])))
    levels = (faded + 1.0) * 127.5
    np.testing.assert_allclose(levels, np.round(levels), atol=1e-3)
    for one, share in zip(faded, (0.25, 0.8)):
        np.testing.assert_allclose(chroma_of(one), share * chroma_of(image[0]), atol=0.9)


def expected_gain(colourful: np.ndarray, usual: float, scores: np.ndarray | float) -> float:
    """By SciPy's distributions."""
    logs = np.log(GAINS)
    evidence = stats.t.logpdf(logs, 2, loc=np.log(2.0), scale=fading.GAIN_SPREAD)
    spread = fading.COLOURFULNESS_SPREAD
    evidence += stats.norm.logpdf(np.log(colourful), np.log(usual), spread) + scores
    share = np.exp(evidence - special.logsumexp(evidence))
    return float(np.exp(share @ logs))


def test_a_gain_is_the_mean_of_what_is_believed() -> None:
    first = np.array([[10.0], [2.0], [0.05]])
    gains = np.asarray(fading.gain(None, jnp.asarray(first * GAINS), 40.0))
    wanted = [expected_gain(row, 40.0, 0.0) for row in first * GAINS]
    np.testing.assert_allclose(gains, wanted, rtol=1e-3)
    assert (np.diff(gains) > 0).all() and gains[2] > 20.0, "what is nearly gray is the model's"


def test_the_ranker_is_heard_and_can_decide() -> None:
    scores = np.zeros((2, len(GAINS)))
    scores[0, 3], scores[1] = 200.0, np.linspace(0.0, 3.0, len(GAINS))
    colourful = np.repeat(10.0 * GAINS[None], 2, axis=0)
    gains = np.asarray(fading.gain(jnp.asarray(scores), jnp.asarray(colourful), 40.0))
    assert gains[0] == pytest.approx(GAINS[3], rel=1e-5)
    assert gains[1] == pytest.approx(expected_gain(colourful[1], 40.0, scores[1]), rel=1e-3)


def test_weights_are_those_of_least_error() -> None:
    """Simulated: neither other weights nor one estimate alone has a smaller error."""
    rng = np.random.default_rng(0)
    true = rng.normal(0.0, 30.0, 100_000)
    model = true + rng.normal(0.0, fading.MODEL_ERROR, true.shape)
    for t_start in (0.3, 0.9, 0.97):
        faded = (1.0 - t_start) * true + rng.normal(0.0, fading.NOISE, true.shape)
        own, other = (float(one[0]) for one in fading.weights(np.array([t_start])))
        # Both estimates are unbiased, and so is what they make together.
        assert own * (1.0 - t_start) + other == pytest.approx(1.0, abs=1e-5)

        def error(share: float) -> float:
            mixed = share * faded / (1.0 - t_start) + (1.0 - share) * model
            return float(np.square(mixed - true).mean())

        best = error(1.0 - other)
        assert all(best <= error(share) * 1.001 for share in np.linspace(0.0, 1.0, 41))


def test_what_has_not_faded_is_its_own_and_gray_is_the_models() -> None:
    own, model = fading.weights(np.array([0.0, 1.0]))
    np.testing.assert_allclose(own, [1.0, 0.0], atol=3e-3)
    np.testing.assert_allclose(model, [0.0, 1.0], atol=3e-3)
