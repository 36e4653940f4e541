"""Intervals and tests against closed forms, exact enumeration and simulated coverage."""

import itertools

import numpy as np
import pytest

from colorjax.evaluate import measures, uncertainty

MEAN = measures.STATISTICS[measures.BY_NAME["ssim"]]
POOLED = measures.STATISTICS[measures.BY_NAME["psnr_pooled"]]


def test_the_interval_of_a_mean_is_near_the_normal_one() -> None:
    values = np.random.default_rng(0).normal(5.0, 2.0, 400)
    low, high = uncertainty.interval(values, MEAN)
    half = 1.96 * values.std() / np.sqrt(400)
    assert low == pytest.approx(values.mean() - half, abs=0.03)
    assert high == pytest.approx(values.mean() + half, abs=0.03)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(100):
        sample = rng.exponential(0.01, 100)
        low, high = uncertainty.interval(sample, POOLED, seed)
        hits += low <= -10 * np.log10(0.01) <= high
    assert 86 <= hits <= 100


def test_intervals_leave_out_what_has_no_values() -> None:
    scores = {"ssim": np.array([0.1, 0.2, np.nan]), "cdr": np.array([np.nan, 1.0, np.nan])}
    assert set(uncertainty.intervals(scores)) == {"ssim"}


def test_sign_flips_are_those_of_every_enumeration() -> None:
    differences = np.array([0.9, 0.4, -0.2, 0.7, 0.3, 0.5, -0.1, 0.8, 0.6, 0.2])
    observed = abs(differences.sum())
    signs = np.array(list(itertools.product([-1, 1], repeat=10)))
    exact = (np.abs(signs @ differences) >= observed - 1e-9).mean()
    assert uncertainty.sign_flip(differences) == pytest.approx(exact, abs=0.006)
    assert uncertainty.sign_flip(np.zeros(5)) == 1.0


def test_holm_by_hand() -> None:
    """Of three: 3 x 0.01, 2 x 0.02, and 0.04, which may not be below the one before."""
    assert uncertainty.holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert uncertainty.holm([0.5, 0.9]) == [1.0, 1.0]


def test_comparisons_are_paired() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(0, 10, 300)
    scores = {"a": {"ssim": base}, "b": {"ssim": base + 0.5 + rng.normal(0, 0.1, 300)}}
    (one,) = uncertainty.comparisons(scores, {"ssim": "ssim", "lpips": "lpips"})
    assert (one.measure, one.first, one.second) == ("ssim", "a", "b")
    assert one.difference == pytest.approx(0.5, abs=0.03) and one.p < 0.01
