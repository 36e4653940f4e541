"""How sure a figure is: intervals by the bootstrap over pictures, tests of one model on another."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from colorjax.evaluate import measures
from colorjax.evaluate.measures import Statistic

RESAMPLES = 1000
PERMUTATIONS = 2000
LEVEL = 0.95
_AT_ONCE = 2_000_000  # values that are resampled at a time


class Interval(NamedTuple):
    """A figure's 95 % interval."""

    low: float
    high: float


def interval(values: Float[np.ndarray, " n"], of: Statistic, seed: int = 0) -> Interval:
    """The percentile bootstrap of a statistic over pictures (Efron 1979).

    It tells what other pictures of the same kind would give, not what other noise would. 2 values
    or more, none of them NaN.
    """
    from scipy import stats

    batch = max(1, _AT_ONCE // len(values))
    result = stats.bootstrap(
        (values,),
        lambda sample, axis: of(sample),
        n_resamples=RESAMPLES,
        batch=batch,
        vectorized=True,
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(float(result.low), float(result.high))


def intervals(scores: measures.Scores) -> dict[str, Interval]:
    """Those of every statistic that at least 2 pictures have values for."""
    known = {}
    for measure, of in measures.STATISTICS.items():
        values = scores.get(measure.of, np.zeros(0))
        values = values[~np.isnan(values)]
        if len(values) > 1:
            known[measure.name] = interval(values, of)
    return known


class Comparison(NamedTuple):
    """One model against another in one measure."""

    measure: str
    first: str
    second: str
    difference: float  # second - first, of what is compared
    p: float  # of no difference, two-sided
    p_holm: float  # the same, for as many comparisons as were made


def sign_flip(differences: Float[np.ndarray, " n"], seed: int = 0) -> float:
    """The two-sided p of a mean difference of paired values, by flipping signs at random.

    No normality is assumed, only that without a difference each pair might as well be the other
    way round (Fisher's randomisation test). 1 where there is no difference at all.
    """
    differences = differences[~np.isnan(differences)]
    observed = abs(differences.mean()) if len(differences) else 0.0
    if observed == 0.0:
        return 1.0
    rng = np.random.default_rng(seed)
    beyond, left = 0, PERMUTATIONS
    while left:
        count = min(left, max(1, _AT_ONCE // len(differences)))
        signs = rng.integers(0, 2, (count, len(differences)), dtype=np.int8) * 2 - 1
        flipped = np.abs(signs.astype(np.float32) @ differences.astype(np.float32))
        beyond += int((flipped / len(differences) >= observed * (1 - 1e-6)).sum())
        left -= count
    return (beyond + 1) / (PERMUTATIONS + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted for their number: what is below 0.05 is so with all of them together (Holm 1979)."""
    order = np.argsort(p_values)
    adjusted = np.empty(len(p_values))
    most = 0.0
    for rank, place in enumerate(order):
        most = max(most, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = most
    return [float(value) for value in adjusted]


def comparisons(
    scores: Mapping[str, Mapping[str, Float[np.ndarray, " n"]]], compared: Mapping[str, str]
) -> list[Comparison]:
    """Every model against the first one, in every measure, on the same pictures.

    Args:
        scores: of each model, each picture's values by name.
        compared: measure -> the pictures' values whose mean is compared.
    """
    first, *others = scores
    pairs = [
        (measure, other, scores[other][of] - scores[first][of])
        for other in others
        for measure, of in compared.items()
        if of in scores[first] and of in scores[other]
    ]
    p_values = [sign_flip(differences) for _, _, differences in pairs]
    return [
        Comparison(measure, first, other, float(np.nanmean(differences)), p, adjusted)
        for (measure, other, differences), p, adjusted in zip(
            pairs, p_values, holm(p_values), strict=True
        )
    ]
