"""Frechet and kernel distances against pytorch-fid and torch-fidelity, LPIPS as it is measured."""

import types
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from pytorch_fid import fid_score
from torch_fidelity.metric_kid import kernel_mmd

from colorjax.evaluate import statistics
from colorjax.evaluate.statistics import Statistics
from colorjax.maths import metrics
from colorjax.maths.distributions import Moments, polynomial_mmd


def features(seed: int, count: int = 300, width: int = 64) -> np.ndarray:
    """Correlated and positive, as after a ReLU and a mean."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(9).normal(size=(width, width)) / width**0.5
    return np.maximum(rng.normal(0.1 * seed, 1.0, (count, width)) @ mixing, 0).astype(np.float32)


def streamed(rows: np.ndarray) -> Statistics:
    parts = [Moments.of(part) for part in np.array_split(rows, 7)]
    return Statistics.of(sum(parts[1:], parts[0]))


class NoNetwork:
    """What pytorch-fid builds before it sees that both inputs are statistics."""

    BLOCK_INDEX_BY_DIM = {64: 3}

    def __init__(self, blocks: list[int]) -> None:
        pass

    def to(self, device: str) -> "NoNetwork":
        return self


@pytest.fixture(autouse=True)
def _root(monkeypatch: pytest.MonkeyPatch) -> None:
    """pytorch-fid asks scipy's root for an error estimate, which scipy is giving up."""
    root = types.SimpleNamespace(sqrtm=lambda matrix, disp: (scipy.linalg.sqrtm(matrix), None))
    monkeypatch.setattr(fid_score, "linalg", root)


def test_frechet_distance_is_pytorch_fids() -> None:
    one, other = features(0), features(1)
    means = [rows.mean(axis=0, dtype=np.float64) for rows in (one, other)]
    covariances = [np.cov(rows.astype(np.float64), rowvar=False) for rows in (one, other)]
    expected = fid_score.calculate_frechet_distance(
        means[0], covariances[0], means[1], covariances[1]
    )
    assert streamed(one).distance(streamed(other)) == pytest.approx(expected, rel=1e-6)


def test_pytorch_fid_reads_our_statistics_and_we_read_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what its command calls, which needs no network for two files of statistics."""
    own = [streamed(features(seed)) for seed in (0, 1)]
    paths = [tmp_path / "one.npz", tmp_path / "other.npz"]
    statistics.write(paths[0], own[0])
    np.savez_compressed(paths[1], mu=own[1].mu, sigma=own[1].sigma)  # as its save_fid_stats does
    monkeypatch.setattr(fid_score, "InceptionV3", NoNetwork)
    expected = fid_score.calculate_fid_given_paths(list(map(str, paths)), 50, "cpu", 64, 0)
    read = statistics.read(paths[1], 64)
    assert own[0].distance(read) == pytest.approx(expected, rel=1e-6)


def test_kernel_distance_is_torch_fidelitys() -> None:
    one, other = features(0), features(1)
    expected = kernel_mmd(one.astype(np.float64), other.astype(np.float64))
    assert polynomial_mmd(one, other) == pytest.approx(float(expected), rel=1e-9)


def test_clip_score_is_torchs_cosine() -> None:
    import torch

    image, text = (np.random.default_rng(i).normal(size=(5, 8)).astype(np.float32) for i in (0, 1))
    cosine = torch.nn.functional.cosine_similarity(torch.tensor(image), torch.tensor(text))
    expected = 100 * np.maximum(cosine.numpy(), 0)
    got = metrics.clip_score(jnp.asarray(image), jnp.asarray(text))
    np.testing.assert_allclose(got, expected, rtol=1e-5)
