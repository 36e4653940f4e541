"""Statistics files: read back, and refused where they are something else."""

from pathlib import Path

import numpy as np
import pytest

from colorjax.errors import UserError
from colorjax.evaluate import statistics
from colorjax.maths.distributions import Moments


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    features = np.random.default_rng(0).normal(size=(20, 4))
    written = statistics.Statistics.of(Moments.of(features))
    statistics.write(tmp_path / "s.npz", written)
    read = statistics.read(tmp_path / "s.npz", 4)
    np.testing.assert_array_equal(read.mu, written.mu)
    np.testing.assert_array_equal(read.sigma, written.sigma)
    assert read.distance(written) == pytest.approx(0.0, abs=1e-9)
    assert np.isnan(read.distance(statistics.Statistics.of(Moments.of(features[:1]))))


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"mu": np.zeros(4)}, "arrays 'mu' and 'sigma'"),
        ({"mu": np.zeros(3), "sigma": np.zeros((3, 3))}, "features of|of 4 features"),
    ],
)
def test_other_files_are_refused(arrays: dict, words: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", **arrays)
    with pytest.raises(UserError, match=words):
        statistics.read(tmp_path / "s.npz", 4)
    # What a small file can unpack to.
    np.savez_compressed(tmp_path / "bomb.npz", mu=np.zeros(10**7), sigma=np.zeros((4, 4)))
    with pytest.raises(UserError, match="it unpacks to 8.*bytes, more than"):
        statistics.read(tmp_path / "bomb.npz", 4)
    (tmp_path / "none.npz").write_bytes(b"PK nothing")
    with pytest.raises(UserError, match="no statistics file"):
        statistics.read(tmp_path / "none.npz", 4)
