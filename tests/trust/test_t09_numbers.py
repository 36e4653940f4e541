"""T9: a step without usable numbers changes nothing but its counts, and too many end the run."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest

from colorjax.errors import UserError
from colorjax.train import optim
from tests.train import test_loop, test_optim
from tests.trust.conftest import Row

Batch = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def step() -> Callable[..., Any]:
    """A step of Adam with an average, that leaves spikes of five times the usual out."""
    made = optim.make_step(test_optim.mean_error, optax.adam(1e-3), 0.9)
    return jax.jit(optim.guarded(made, 5.0, settle_steps=3))


@pytest.fixture(scope="module")
def settled(step: Callable[..., Any]) -> tuple[Any, Batch]:
    """A state after ten good steps, and the batch that they had."""
    params, batch = test_optim.regression()
    state = optim.watched(optim.create(params, optax.adam(1e-3), 0.9))
    for _ in range(10):
        state, metrics = step(state, {}, batch, jax.random.key(0))
    assert metrics["skipped"] == 0
    return state, batch


def nan_picture(batch: Batch, rng: np.random.Generator) -> Batch:
    x = batch["x"].copy()
    x[rng.integers(len(x)), rng.integers(x.shape[1])] = np.nan
    return batch | {"x": x}


def infinite_gradient(batch: Batch, rng: np.random.Generator) -> Batch:
    """The loss itself is beyond float32 of one row."""
    y = batch["y"].copy()
    y[rng.integers(len(y))] = np.float32(rng.choice([-1, 1])) * np.float32(3e38)
    return batch | {"y": y}


def spike(batch: Batch, rng: np.random.Generator) -> Batch:
    return batch | {"y": batch["y"] + np.float32(rng.uniform(100, 1000))}


@pytest.mark.parametrize("damage", [nan_picture, infinite_gradient, spike])
def test_a_broken_step_changes_nothing(
    step: Callable[..., Any], settled: tuple[Any, Batch], damage: Callable[..., Batch], row: Row
) -> None:
    state, batch = settled
    count = row.count(2, 10)
    for number in range(count):
        broken = damage(batch, row.rng(number))
        after, metrics = step(state, {}, broken, jax.random.key(number))
        assert metrics["skipped"] == 1 == metrics["skipped_in_a_row"]
        assert int(after.step) == int(state.step) + 1, "the data goes on"
        for name in ("params", "opt_state", "ema"):
            pairs = zip(
                jax.tree.leaves(getattr(state, name)), jax.tree.leaves(getattr(after, name))
            )
            assert all(np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in pairs)
        again, _ = step(after, {}, batch, jax.random.key(number))
        assert not np.array_equal(again.params["w"], state.params["w"]), "a good one does"
    row.tell(f"{damage.__name__.replace('_', ' ')}: {count} of {count} left out, no bit changed")


def test_too_many_in_a_row_end_the_run(tmp_path: Path, row: Row) -> None:
    """Whatever the bound and wherever the row begins; one less does not."""
    count = row.count(1, 10)
    for number in range(count):
        rng = row.rng(number)
        most, first = int(rng.integers(2, 6)), int(rng.integers(2, 8))
        made = test_loop.config(**{"toy.max_skipped": most, "log_every": 0})
        last = first + most - 1

        def stream(start: int, first: int = first, last: int = last) -> Iterator[Batch]:
            return test_loop.batches(start, range(first, last + 1))

        folder = tmp_path / str(number)
        with pytest.raises(UserError, match=f"{most} steps in a row up to step {last} gave no"):
            test_loop.train(folder, made, 20, stream=stream)
        rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
        assert all(line["step"] < last for line in rows)
        state = test_loop.train(
            tmp_path / f"{number}-less", made, 20, stream=lambda s: stream(s, first, last - 1)
        )
        assert int(state.guard.skipped) == most - 1 and int(state.step) == 20
    row.tell(f"N in a row: {count} of {count} ended at N, none at N - 1")
