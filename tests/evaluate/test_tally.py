"""Values and features of batches, in any share of processes, against NumPy over all of them."""

import numpy as np
import pytest

from colorjax.evaluate.tally import KID_BLOCK, Tally
from colorjax.maths.distributions import polynomial_mmd

ROWS = ["output", "truth"]
COUNT, WIDTH, BATCH = 2300, 5, 100


@pytest.fixture(scope="module")
def features() -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.normal(size=(COUNT, 2, WIDTH)) + np.array([[[0.3]], [[0.0]]])[:, :, 0]).astype(
        np.float32
    )


def shared(features: np.ndarray, processes: int) -> Tally:
    """As so many processes add up, each every so many-th batch."""
    tallies = [Tally(ROWS) for _ in range(processes)]
    for number, start in enumerate(range(0, COUNT, BATCH)):
        places = np.arange(start, min(start + BATCH, COUNT))
        values = {"ssim": features[places, :, 0], "features_vgg16": features[places]}
        keys = [f"{place:05d}" for place in places]
        tallies[number % processes].add(places, keys, values)
    return Tally.joined([tally.packed() for tally in tallies])


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_everything_is_there_in_order(features: np.ndarray, processes: int) -> None:
    tally = shared(features, processes)
    assert tally.rows == tuple(ROWS) and tally.networks() == ["vgg16"]
    assert tally.keys == [f"{place:05d}" for place in range(COUNT)]
    np.testing.assert_array_equal(tally.scores("output")["ssim"], features[:, 0, 0])
    moments = tally.moments("vgg16", "output")
    exact = features[:, 0].astype(np.float64)
    np.testing.assert_allclose(moments.mean, exact.mean(0), rtol=1e-12)
    np.testing.assert_allclose(moments.covariance, np.cov(exact.T), rtol=1e-10, atol=1e-12)
    blocks = np.array_split(features, COUNT // KID_BLOCK)
    expected = np.mean([polynomial_mmd(block[:, 0], block[:, 1]) for block in blocks])
    assert tally.kid("vgg16", "output", "truth") == pytest.approx(1000 * expected, rel=1e-9)
