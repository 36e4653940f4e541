"""Statistics files of features, in pytorch-fid's layout: `mu` and `sigma` in an .npz."""

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from colorjax import files
from colorjax.data import bounds
from colorjax.errors import UserError, first_line
from colorjax.maths.distributions import Moments, frechet_distance


class Statistics(NamedTuple):
    """Mean and covariance of a set's features."""

    mu: Float64[np.ndarray, " d"]
    sigma: Float64[np.ndarray, "d d"]

    @classmethod
    def of(cls, moments: Moments) -> "Statistics":
        """Those of streamed moments."""
        return cls(moments.mean, moments.covariance)

    def distance(self, other: "Statistics") -> float:
        """The Frechet distance; NaN where one is of fewer than 2 pictures."""
        if np.isnan(self.sigma).any() or np.isnan(other.sigma).any():
            return float("nan")
        return frechet_distance(*self, *other)


def write(path: Path, statistics: Statistics) -> None:
    """Writes what `python -m pytorch_fid` takes in the place of a folder of pictures.

    Raises:
        UserError: the disk refuses.
    """
    file = io.BytesIO()
    np.savez_compressed(file, mu=statistics.mu, sigma=statistics.sigma)
    files.write_bytes(path, file.getvalue())


def read(path: Path, features: int) -> Statistics:
    """Statistics of so many features, of pytorch-fid's `--save-stats` or of `write`.

    Raises:
        UserError: it is none, or of another network's features.
    """
    try:
        most = 16 * features * (features + 1) + 2**20  # twice what they take, and headers
        arrays = bounds.read_npz(path, ("mu", "sigma"), most)
        mu, sigma = (np.asarray(array, np.float64) for array in arrays)
    # Damaged zip files raise what zipfile, zlib and NumPy's header parser like.
    except Exception as error:
        raise UserError(
            f"'{path}' is no statistics file ({first_line(error)}); it must be an .npz with the "
            "arrays 'mu' and 'sigma', as pytorch-fid's --save-stats writes"
        ) from error
    if mu.shape != (features,) or sigma.shape != (features, features):
        raise UserError(
            f"'{path}' has statistics of shape {mu.shape} and {sigma.shape}; this network's are of "
            f"{features} features: give a file of the same network"
        )
    return Statistics(mu, sigma)
