"""What the comparisons share: the conversion command, layouts, and the error of two arrays."""

from pathlib import Path

import jax
import numpy as np
import torch

from colorjax.convert import __main__ as command

BOUND = {"float32": 1e-4, "bfloat16": 5e-2}


def convert(kind: str, path: Path, output: Path, *more: str) -> None:
    flags = [f"--format={kind}", f"--input={path}", f"--output={output}", *more]
    assert command.main(flags) == 0


def nchw(array) -> torch.Tensor:
    return torch.from_numpy(np.moveaxis(np.asarray(array), -1, 1).copy())


def close(ours, theirs: torch.Tensor, bound: float) -> None:
    """The largest difference, as a share of their largest value; maps in each side's layout."""
    expected = theirs.detach().numpy()
    expected = np.moveaxis(expected, 1, -1) if expected.ndim == 4 else expected
    ours = np.asarray(ours, np.float32)
    assert ours.shape == expected.shape
    error = np.abs(ours - expected).max() / np.abs(expected).max()
    print(f"error {error:.1e} of the maximum, bound {bound:.0e}")
    assert error <= bound


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def jitted(function, model, params, *inputs):
    """A pure function of model, parameters and inputs, with exact products."""
    with jax.default_matmul_precision("highest"):
        return jax.jit(lambda p, *a: function(model, p, *a))(params, *inputs)
