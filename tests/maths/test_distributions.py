"""Golden values: NumPy's covariance, scipy's matrix root, and sums over pairs."""

import numpy as np
import pytest
import scipy.linalg

from colorjax.maths.distributions import Moments, frechet_distance, polynomial_mmd


def rows(seed: int, count: int, offset: float = 1000.0) -> np.ndarray:
    """float32 features far from 0, where float32 sums lose what covariances consist of."""
    correlated = np.random.default_rng(seed).normal(size=(count, 6)) @ np.eye(6, 6, 0)
    return (correlated + np.arange(6) + offset).astype(np.float32)


@pytest.mark.parametrize("cuts", [(), (1,), (50,), (7, 7, 100)])
def test_moments_of_parts_are_those_of_the_whole(cuts):
    features = rows(0, 101)
    parts = [Moments.of(part) for part in np.split(features, cuts)]
    total = sum(parts[1:], parts[0])
    assert total.number == 101
    exact = features.astype(np.float64)
    np.testing.assert_allclose(total.mean, exact.mean(0), rtol=1e-14)
    np.testing.assert_allclose(total.covariance, np.cov(exact.T), rtol=1e-10, atol=1e-10)


def test_moments_of_nothing():
    nothing = Moments.of(np.zeros((0, 6), np.float32))
    whole = nothing + nothing + Moments.of(rows(0, 10))
    np.testing.assert_allclose(whole.mean, rows(0, 10).astype(np.float64).mean(0), rtol=1e-14)
    assert np.isnan(Moments.of(rows(0, 1)).covariance).all()


def test_frechet_distance_against_scipy() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((50, 6)), 0.5 * rng.standard_normal((60, 6)) + 1.0
    one, other = (a.mean(0), np.cov(a.T)), (b.mean(0), np.cov(b.T))
    root = scipy.linalg.sqrtm(one[1] @ other[1]).real
    expected = np.sum((one[0] - other[0]) ** 2) + np.trace(one[1] + other[1] - 2 * root)
    assert frechet_distance(*one, *other) == pytest.approx(expected, rel=1e-10)
    assert frechet_distance(*other, *one) == pytest.approx(expected, rel=1e-10)
    assert frechet_distance(*one, *one) == pytest.approx(0.0, abs=1e-12)


def test_frechet_distance_of_singular_covariances() -> None:
    # Diagonal Gaussians: the sum of (mean differences)^2 + (deviation differences)^2.
    deviations = np.array([[3.0, 0.0, 1.0], [1.0, 2.0, 0.0]])
    means = np.array([[0.0, 1.0, 2.0], [0.5, 1.0, 1.0]])
    covariances = [np.diag(row**2) for row in deviations]
    expected = np.sum((means[0] - means[1]) ** 2) + np.sum((deviations[0] - deviations[1]) ** 2)
    distance = frechet_distance(means[0], covariances[0], means[1], covariances[1])
    assert distance == pytest.approx(expected, rel=1e-12)


def test_polynomial_mmd_is_a_sum_over_pairs():
    x, y = rows(0, 5, 0.0), rows(1, 7, 0.5)

    def kernel(a, b):
        return (sum(float(p) * float(q) for p, q in zip(a, b, strict=True)) / 6 + 1) ** 3

    within = [
        sum(kernel(a, b) for i, a in enumerate(s) for j, b in enumerate(s) if i != j)
        / (len(s) * (len(s) - 1))
        for s in (x, y)
    ]
    across = sum(kernel(a, b) for a in x for b in y) / (len(x) * len(y))
    assert polynomial_mmd(x, y) == pytest.approx(sum(within) - 2 * across, rel=1e-10)
    with pytest.raises(ValueError, match="2 or more"):
        polynomial_mmd(x[:1], y)


def test_polynomial_mmd_is_unbiased():
    """Of two samples of one distribution it is 0 on average; of others it is not."""
    same = [polynomial_mmd(rows(i, 20, 0.0), rows(1000 + i, 20, 0.0)) for i in range(200)]
    assert abs(np.mean(same)) < 3 * np.std(same) / np.sqrt(200)
    assert min(same) < 0 < max(same)
    assert polynomial_mmd(rows(0, 20, 0.0), rows(1, 20, 3.0)) > max(same)
