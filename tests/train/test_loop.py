"""The loop with a stage that has three parameters: when it stops, what it has saved then."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from colorjax.configs import common
from colorjax.devices import processes, sharding
from colorjax.errors import UserError
from colorjax.train import checkpoint, loop, tracking
from colorjax.train.stages.stage import single_loss_stage


def config(**changes: Any) -> ConfigDict:
    made = common.run()
    made.update(log_every=1, checkpoint_every=0, sample_every=0)
    made.toy = common.stage(batch_size=8, learning_rate=0.1)
    made.update_from_flattened_dict(changes)
    return made


def batches(start: int, broken: range = range(0)) -> Iterator[dict[str, np.ndarray]]:
    """Step n has the batch of seed n; those in `broken` hold no numbers."""
    for step in range(start + 1, 1000):
        x = np.random.default_rng(step).normal(size=(8, 3)).astype(np.float32)
        yield {"x": np.full_like(x, np.nan) if step in broken else x}


def train(
    directory: Path,
    made: ConfigDict,
    steps: int,
    stop: processes.Stop | None = None,
    stream: Callable[[int], Iterator[dict[str, np.ndarray]]] = batches,
    *,
    predict: Callable[..., dict[str, Any]] = lambda params, frozen, batch, key: {},
    examples: dict[str, np.ndarray] | None = None,
) -> Any:
    def loss(params: Any, frozen: Any, batch: Any, key: Any) -> Any:
        return ((batch["x"] @ params["w"] - 1.0) ** 2).mean(), {}

    stage = single_loss_stage(
        init=lambda key, start: {"w": jnp.ones(3)},
        loss=loss,
        options=made.toy,
        total_steps=steps,
        predict=predict,
        finish=lambda params, frozen, batch: ({}, {}),
    )
    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    with jax.set_mesh(mesh):
        run = loop.Run("toy", stage, made, mesh, directory, steps, stream, examples or {}, stop)
        return loop.train(run)


def saved_steps(directory: Path) -> list[int]:
    saved = checkpoint.Checkpoints(directory / "checkpoints")
    steps = saved.steps
    saved.close()
    return steps


def test_a_signal_at_any_moment_loses_no_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here it comes while metrics are written, after the step was asked whether to stop."""
    write = tracking.Tracker.write

    def interrupted(self: tracking.Tracker, step: int, *rest: Any) -> None:
        write(self, step, *rest)
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(tracking.Tracker, "write", interrupted)
    with processes.Stop() as stop:
        state = train(tmp_path / "broken", config(), 6, stop)
    assert int(state.step) == 3 and saved_steps(tmp_path / "broken") == [3]
    monkeypatch.undo()
    resumed = train(tmp_path / "broken", config(), 6)
    whole = train(tmp_path / "whole", config(), 6)
    np.testing.assert_array_equal(resumed.params["w"], whole.params["w"])


def test_a_row_of_broken_steps_ends_the_run_once(tmp_path: Path) -> None:
    """The row is over when the metrics are looked at, and in the checkpoint to go on from."""
    made = config(**{"log_every": 10, "checkpoint_every": 8, "toy.max_skipped": 3})

    def stream(start: int) -> Iterator[dict[str, np.ndarray]]:
        return batches(start, range(3, 7))

    with pytest.raises(UserError, match="4 steps in a row up to step 10"):
        train(tmp_path, made, 12, stream=stream)
    assert saved_steps(tmp_path) == [8]
    state = train(tmp_path, made, 12, stream=stream)
    assert int(state.step) == 12 and int(state.guard.skipped) == 4


@pytest.mark.parametrize(("every", "sheets"), [(0, []), (2, ["0000002", "0000003"])])
def test_samples_are_drawn_one_by_one_or_not_at_all(
    every: int, sheets: list[str], tmp_path: Path
) -> None:
    """Each example by its own key: a row of three random pictures that are not the same."""

    def predict(params: Any, frozen: Any, batch: Any, key: Any) -> dict[str, Any]:
        assert batch["image"].shape == (1, 8, 8, 3)
        return {"z": jax.random.normal(key, batch["image"].shape)}

    examples = {"image": np.zeros((3, 8, 8, 3), np.uint8)}
    train(tmp_path, config(sample_every=every), 3, predict=predict, examples=examples)
    drawn = sorted(path.stem for path in (tmp_path / "samples").glob("*.png"))
    assert drawn == sheets
    for sheet in drawn:
        with Image.open(tmp_path / "samples" / f"{sheet}.png") as picture:
            noise = np.split(np.asarray(picture)[:, -80:], 3)
        assert (noise[0] != noise[1]).any() and (noise[1] != noise[2]).any()
