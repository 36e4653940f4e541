"""How far apart two sets of pictures are: distances of the distributions of their features.

Features are a network's, one row a picture. Moments are added up in float64 on the host: float32
loses the digits that a difference of nearly equal covariances consists of.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64

from colorjax.maths.types import Array

KID_DEGREE = 3  # of the polynomial kernel (x.y / d + 1)^3


class Moments(NamedTuple):
    """Number, mean and summed outer products of deviations of rows, to be added to others."""

    number: int
    mean: Float64[np.ndarray, " d"]
    scatter: Float64[np.ndarray, "d d"]

    @classmethod
    def of(cls, features: Float[Array, "n d"]) -> "Moments":
        """Those of some rows."""
        rows = np.asarray(features, np.float64)
        mean = rows.mean(axis=0) if len(rows) else np.zeros(rows.shape[1])
        deviations = rows - mean
        return cls(len(rows), mean, deviations.T @ deviations)

    def __add__(self, other: object) -> "Moments":
        """Those of both sets of rows together (Chan, Golub and LeVeque 1979)."""
        if not isinstance(other, Moments):
            return NotImplemented
        count = self.number + other.number
        if not count:
            return self
        difference = other.mean - self.mean
        scatter = self.scatter + other.scatter
        scatter += np.outer(difference, difference) * (self.number * other.number / count)
        return Moments(count, self.mean + difference * (other.number / count), scatter)

    @property
    def covariance(self) -> Float64[np.ndarray, "d d"]:
        """Unbiased, by n - 1, as `numpy.cov` and pytorch-fid have it; NaN of fewer than 2 rows."""
        if self.number < 2:
            return np.full_like(self.scatter, np.nan)
        return self.scatter / (self.number - 1)


def frechet_distance(
    mean1: Float[Array, " d"],
    cov1: Float[Array, "d d"],
    mean2: Float[Array, " d"],
    cov2: Float[Array, "d d"],
) -> float:
    """The squared Frechet distance of two Gaussians (Dowson and Landau 1982).

    Of Inception features it is the FID (Heusel et al. 2017):
    |mean1 - mean2|^2 + tr(cov1 + cov2 - 2 (cov1 cov2)^(1/2)), in float64 on the host. The root's
    trace is that of the symmetric (cov1^(1/2) cov2 cov1^(1/2))^(1/2), so covariances of fewer
    images than features, which are singular, need no offset. Biased upwards for few images.
    """
    mean1, cov1, mean2, cov2 = (
        np.asarray(array, np.float64) for array in (mean1, cov1, mean2, cov2)
    )
    # Rounding makes eigenvalues of singular covariances slightly negative.
    values, vectors = np.linalg.eigh(cov1)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    products = np.maximum(np.linalg.eigvalsh(root @ cov2 @ root), 0.0)
    distance = np.sum((mean1 - mean2) ** 2) + np.trace(cov1) + np.trace(cov2)
    return max(float(distance - 2.0 * np.sum(np.sqrt(products))), 0.0)


def polynomial_mmd(one: Float[Array, "n d"], other: Float[Array, "m d"]) -> float:
    """The unbiased squared maximum mean discrepancy with the kernel (x.y / d + 1)^3, in float64.

    Its mean over subsets is the KID (Binkowski et al. 2018). It may be negative.

    Raises:
        ValueError: fewer than 2 rows, which have no pairs.
    """
    x, y = (np.asarray(rows, np.float64) for rows in (one, other))
    if min(len(x), len(y)) < 2:
        raise ValueError(f"a discrepancy of {len(x)} and {len(y)} rows; both need 2 or more")

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        values: np.ndarray = (a @ b.T / a.shape[1] + 1.0) ** KID_DEGREE
        return values

    def within(a: np.ndarray) -> float:
        values = kernel(a, a)
        return float((values.sum() - np.trace(values)) / (len(a) * (len(a) - 1)))

    return within(x) + within(y) - 2.0 * float(kernel(x, y).mean())
