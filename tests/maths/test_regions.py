"""Pictures of two halves, whose pairs across the border can be counted by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from colorjax.maths import regions

HEIGHT, WIDTH = 6, 8
RED, BLUE = np.array([40.0, 10.0]), np.array([0.0, -40.0])


def halves(border: int) -> np.ndarray:
    """ab that is red to the left of a column, blue from it on."""
    ab = np.empty((1, HEIGHT, WIDTH, 2), np.float32)
    ab[:, :, :border], ab[:, :, border:] = RED, BLUE
    return ab


def masks() -> np.ndarray:
    both = np.zeros((1, 2, HEIGHT, WIDTH), np.float32)
    both[:, 0, :, :4] = both[:, 1, :, 4:] = 1.0
    return both


def across(columns: tuple[int, int], down: int) -> int:
    """Pairs of pixels of two columns that lie so many rows apart, downwards or upwards."""
    return (1 if down == 0 else 2) * (HEIGHT - down) * (abs(columns[0] - columns[1]) <= 2)


def test_a_border_as_clear_as_the_truths_is_1_and_none_is_0():
    truth = halves(4)
    for ab, ratio in ((truth, 1.0), (np.zeros_like(truth), 0.0), (truth + 5.0, 1.0)):
        got = regions.colour_discrepancy_ratio(*map(jnp.asarray, (ab, truth, masks())))
        np.testing.assert_allclose(got, [ratio])


def test_a_border_that_is_missed_by_a_column():
    """Red runs one column over: the pairs of columns 3 and 4 and of 2 and 4 are gone, 3 and 5
    stay."""
    pairs = {
        columns: sum(across(columns, down) for down in range(3))
        for columns in ((3, 4), (2, 4), (3, 5))
    }
    got = regions.colour_discrepancy_ratio(*map(jnp.asarray, (halves(5), halves(4), masks())))
    np.testing.assert_allclose(got, [pairs[3, 5] / sum(pairs.values())], rtol=1e-6)


def test_without_a_border_there_is_no_ratio():
    one = masks()[:, :1] * 0 + 1.0
    got = regions.colour_discrepancy_ratio(*map(jnp.asarray, (halves(4), halves(4), one)))
    assert np.isnan(got).all()


def test_region_means():
    lab = np.random.default_rng(0).normal(size=(2, HEIGHT, WIDTH, 3)).astype(np.float32)
    both = np.repeat(masks(), 2, axis=0)
    got = regions.region_means(jnp.asarray(lab), jnp.asarray(both))
    expected = np.stack([lab[:, :, :4].mean((1, 2)), lab[:, :, 4:].mean((1, 2))], axis=1)
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_inner_and_outer_share_the_picture():
    both = regions.inner_and_outer(8, 12)
    assert both.sum() == 96 and both[0].sum() == pytest.approx(4 * 6)
    assert both[0, 2:6, 3:9].all()
