"""Losses against NumPy written from the formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage import color as skcolor

from colorjax.errors import UserError
from colorjax.maths import losses


def slow_weights(target, reconstruction, variant):
    """Windows by hand, in double precision."""
    error = np.abs(target.astype(float) - reconstruction).sum(-1)
    padded = np.pad(error, ((0, 0), (3, 3), (3, 3)), mode="reflect")
    released = variant == "released"
    windows = np.lib.stride_tricks.sliding_window_view(padded, (7, 7), axis=(1, 2))
    local = windows.var(axis=(-2, -1), ddof=int(released))
    if released:
        local = local * error.var(axis=(1, 2), ddof=1)[:, None, None] ** 0.2
    return local[..., None]


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_artifact_weights(variant) -> None:
    rng = np.random.default_rng(0)
    target, reconstruction = rng.uniform(-1, 1, (2, 2, 12, 9, 3)).astype(np.float32)
    reconstruction[:, :4] = target[:, :4]
    expected = slow_weights(target, reconstruction, variant)
    got = losses.artifact_weights(jnp.asarray(target), jnp.asarray(reconstruction), variant)
    np.testing.assert_allclose(got, expected, atol=1e-5)
    value = losses.artifact_l1(jnp.asarray(target), jnp.asarray(reconstruction), variant)
    assert float(value) == pytest.approx((expected * np.abs(target - reconstruction)).mean(), 1e-4)


def test_artifact_gradient_flows_through_the_weights() -> None:
    rng = np.random.default_rng(1)
    target, start = (jnp.asarray(a, jnp.float32) for a in rng.uniform(-1, 1, (2, 1, 9, 9, 3)))
    direction = jnp.asarray(rng.normal(size=start.shape), jnp.float32)

    def loss(image):
        return losses.artifact_l1(target, image, "released")

    slope = jnp.vdot(jax.grad(loss)(start), direction)
    step = 1e-3
    numeric = (loss(start + step * direction) - loss(start - step * direction)) / (2 * step)
    assert float(slope) == pytest.approx(float(numeric), rel=0.02)


def test_kl_of_known_gaussians() -> None:
    mean, variance = 0.7, 0.3
    moments = jnp.broadcast_to(jnp.array([mean, np.log(variance)]), (3, 2, 5, 2))
    expected = 10 * 0.5 * (mean**2 + variance - 1 - np.log(variance))
    np.testing.assert_allclose(losses.kl_to_standard_normal(moments), expected, rtol=1e-5)


def test_chroma_error_ignores_brightness() -> None:
    image = jax.random.uniform(jax.random.key(0), (1, 4, 4, 3))
    assert float(losses.chroma_mse(image, image + 0.5)) < 1e-12
    red = image.at[..., 0].add(0.3)  # chroma moves by (0.2, -0.1, -0.1)
    assert float(losses.chroma_mse(image, red)) == pytest.approx(0.06 / 3, rel=1e-4)


@pytest.mark.proof
def test_what_is_shown_has_the_pictures_lightness() -> None:
    """By scikit-image: another lightness costs nothing, another chroma the squared difference."""
    lab = np.full((1, 6, 6, 3), 55.0)
    lab[..., 1:] = np.random.default_rng(0).uniform(-15, 15, (1, 6, 6, 2))
    image, moved, lighter = (
        jnp.asarray(2.0 * skcolor.lab2rgb(of) - 1.0, jnp.float32)
        for of in (lab, lab + [0.0, 6.0, -4.0], lab + [12.0, 0.0, 0.0])
    )
    assert float(losses.shown_mse(image, lighter)) < 1e-6
    difference = skcolor.lab2rgb(lab + [0.0, 6.0, -4.0]) - skcolor.lab2rgb(lab)
    expected = np.square(difference).mean()
    for lightness in (0.0, 8.0):
        other = skcolor.lab2rgb(lab + [lightness, 6.0, -4.0])
        got = losses.shown_mse(image, jnp.asarray(2.0 * other - 1.0, jnp.float32))
        assert float(got) == pytest.approx(expected, rel=0.02)
    slope = jax.grad(lambda of: losses.shown_mse(image, of))(moved)
    assert jnp.isfinite(slope).all() and float(jnp.abs(slope).max()) > 0


def test_contrastive_shares_mass_between_equal_captions() -> None:
    same = jnp.array([[1.0, 1, 0], [1, 1, 0], [0, 0, 1]])
    sure = jnp.array([[9.0, 0, 0], [0, 9, 0], [0, 0, 9]])  # each picture knows its own row only
    even = jnp.array([[9.0, 9, 0], [9, 9, 0], [0, 0, 9]])
    # Of two equal captions half of the mass belongs to the neighbour: `sure` pays 9 for it.
    assert float(losses.contrastive(sure, same)) == pytest.approx(2 / 3 * 4.5, abs=1e-2)
    assert float(losses.contrastive(even, same)) == pytest.approx(2 / 3 * np.log(2), abs=1e-3)
    assert float(losses.contrastive(sure, jnp.eye(3))) == pytest.approx(0, abs=1e-3)


def test_contrastive_is_the_mean_of_both_directions() -> None:
    logits = np.array([[2.0, -1.0], [0.5, 0.3]])
    rows = -np.log(np.exp(np.diag(logits)) / np.exp(logits).sum(1)).mean()
    columns = -np.log(np.exp(np.diag(logits)) / np.exp(logits).sum(0)).mean()
    got = losses.contrastive(jnp.asarray(logits, jnp.float32), jnp.eye(2))
    assert float(got) == pytest.approx((rows + columns) / 2, rel=1e-5)


def test_unknown_artifact_weights_are_told() -> None:
    image = jnp.zeros((1, 8, 8, 3))
    with pytest.raises(UserError, match="papier"):
        losses.artifact_weights(image, image, "papier")


def test_hinge_stops_at_the_margin() -> None:
    real, fake = jnp.array([2.0, 0.5]), jnp.array([-3.0, 0.0])
    value = losses.hinge(real.reshape(2, 1, 1, 1), fake.reshape(2, 1, 1, 1))
    assert float(value) == pytest.approx(0.5 * (0.25 + 0.5))


def test_adaptive_weight_is_the_ratio_of_norms_without_gradient() -> None:
    one, other = jnp.array([3.0, 4.0]), jnp.array([0.0, 2.0])
    assert float(losses.adaptive_weight(one, other)) == pytest.approx(5 / 2.0001)
    assert float(losses.adaptive_weight(one, 0 * other)) == 1e4
    assert not jax.grad(lambda a: losses.adaptive_weight(a, other))(one).any()


def test_pairs_of_versions_by_hand() -> None:
    """Best is 1: (1 over .5), (1 over .8), (1 over 2), (.8 over .5); never .5 or .8 against 2."""
    scales = np.array([[0.5, 0.8, 1.0, 2.0]], np.float32)
    scores = np.array([[0.1, 0.7, 0.4, -1.0]], np.float32)
    pairs = [(2, 0), (2, 1), (2, 3), (1, 0)]
    margins = np.array([scores[0, i] - scores[0, j] for i, j in pairs])
    value, right = losses.bradley_terry(scores, scales, np.ones(1, np.float32))
    assert float(value) == pytest.approx(np.log1p(np.exp(-margins)).mean(), rel=1e-5)
    assert float(right) == pytest.approx(0.75)
    # With .8 the best: (.8 over .5), (.8 over 1), (.8 over 2), (1 over 2).
    pairs = [(1, 0), (1, 2), (1, 3), (2, 3)]
    margins = np.array([scores[0, i] - scores[0, j] for i, j in pairs])
    value, right = losses.bradley_terry(scores, scales, np.full(1, 0.8, np.float32))
    assert float(value) == pytest.approx(np.log1p(np.exp(-margins)).mean(), rel=1e-5)
    assert float(right) == 1.0


def test_soft_choice_is_least_at_its_own_targets() -> None:
    scales = np.array([[0.0, 0.7, 1.0, 1.3]], np.float32)
    best = np.ones(1, np.float32)
    targets = np.exp(-np.abs(np.log(np.maximum(scales[0], 1e-3))) / 0.15)
    targets /= targets.sum()
    entropy = -(targets * np.log(targets)).sum()
    at_best = losses.soft_choice(np.log(targets)[None].astype(np.float32), scales, best)
    assert float(at_best) == pytest.approx(entropy, rel=1e-4)
    assert float(losses.soft_choice(np.zeros((1, 4), np.float32), scales, best)) == pytest.approx(
        np.log(4.0), rel=1e-5
    )
