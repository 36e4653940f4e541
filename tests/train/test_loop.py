"""The loop with a stage that has three parameters: when it stops, what it has saved then."""

import contextlib
import functools
import json
import os
import re
import shlex
import shutil
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
from colorjax.train import checkpoint, flags, guard, loop, tracking
from colorjax.train.stages.stage import single_loss_stage


def config(**changes: Any) -> ConfigDict:
    made = common.small()
    made.update(log_every=1, checkpoint_every=0, sample_every=0)
    made.toy = common.stage(batch_size=8, learning_rate=0.1)
    made.update_from_flattened_dict(changes)
    return made


def batches(start: int, broken: range = range(0)) -> Iterator[dict[str, np.ndarray]]:
    """Step n has the batch of seed n; those in `broken` hold no numbers. Each process its part."""
    rows = np.array_split(np.arange(8), jax.process_count())[jax.process_index()]
    for step in range(start + 1, 1000):
        x = np.random.default_rng(step).normal(size=(8, 3)).astype(np.float32)[rows]
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
    size: int = 1,
    command: loop.Command = lambda **changes: "again",
) -> Any:
    """`size` is of a leaf that takes place in checkpoints."""

    def loss(params: Any, frozen: Any, batch: Any, key: Any) -> Any:
        return ((batch["x"] @ params["w"] - 1.0) ** 2).mean(), {}

    stage = single_loss_stage(
        init=lambda key, start: {"w": jnp.ones(3), "more": jax.random.normal(key, (size,))},
        loss=loss,
        options=made.toy,
        total_steps=steps,
        predict=predict,
        finish=lambda params, frozen, batch: ({}, {}),
    )
    mesh = sharding.make_mesh(devices=jax.devices()[: jax.process_count()])
    with jax.set_mesh(mesh):
        run = loop.Run("toy", stage, made, mesh, directory, steps, stream, examples or {}, stop)
        return loop.train(run._replace(command=command))


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


def broken_from(first: int, last: int) -> Callable[[int], Iterator[dict[str, np.ndarray]]]:
    return lambda start: batches(start, range(first, last + 1))


def test_a_row_of_broken_steps_ends_the_run_at_once(tmp_path: Path) -> None:
    """Whatever is logged or saved, and also where the row begins before a checkpoint."""
    made = config(**{"log_every": 10, "checkpoint_every": 5, "toy.max_skipped": 3})
    with pytest.raises(UserError, match="3 steps in a row up to step 6 gave no finite loss"):
        train(tmp_path, made, 12, stream=broken_from(4, 7))
    assert saved_steps(tmp_path) == [5]
    rows = [json.loads(row) for row in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1]


def test_a_row_that_ended_a_run_does_not_end_the_next_one(tmp_path: Path) -> None:
    """The checkpoint has two of the broken steps; three more are too many again, two are not."""
    made = config(**{"log_every": 10, "checkpoint_every": 5, "toy.max_skipped": 3})
    with pytest.raises(UserError, match="3 steps in a row up to step 6"):
        train(tmp_path, made, 12, stream=broken_from(4, 8))
    with pytest.raises(UserError, match="3 steps in a row up to step 8"):
        train(tmp_path, made, 12, stream=broken_from(4, 8))
    state = train(tmp_path, made, 12, stream=broken_from(4, 7))
    assert int(state.step) == 12 and int(state.guard.skipped) == 4
    assert int(state.guard.longest) == 4, "the counts are the run's, not this start's"


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # of ml_collections
def test_the_advice_can_be_followed(tmp_path: Path) -> None:
    """The command of the message is parsed as its reader's shell and `train` would."""
    path = tmp_path / "config.py"
    path.write_text(
        "from tests.train import test_loop\n"
        "def get_config():\n"
        "    made = test_loop.config(**{'toy.max_skipped': 3, 'checkpoint_every': 5})\n"
        "    made.stages = ('toy',)\n"
        "    return made\n"
    )
    arguments = ["train", f"--config={path}", f"--workdir={tmp_path}"]
    again = functools.partial(flags.command, arguments)
    made = flags.parse(arguments)
    with pytest.raises(UserError) as error:
        train(tmp_path, made, 12, stream=broken_from(6, 9), command=again)
    command = shlex.split(re.findall("(python -m colorjax.train .*)", str(error.value))[0])
    made = flags.parse(command[2:])
    assert made.toy.learning_rate == 0.05
    state = train(tmp_path, made, 12, stream=broken_from(6, 7))  # the data was mended, too
    assert int(state.step) == 12 and int(state.guard.skipped) == 2


def test_no_bound_is_no_bound(tmp_path: Path) -> None:
    made = config(**{"toy.max_skipped": 0, "log_every": 0})
    assert int(train(tmp_path, made, 6, stream=broken_from(2, 6)).guard.skipped) == 5


def test_by_default_a_spike_is_left_out(tmp_path: Path) -> None:
    """Ten batches whose loss is ten times the usual, as soon as the usual is known."""

    def stream(start: int) -> Iterator[dict[str, np.ndarray]]:
        for step, batch in enumerate(batches(start), start + 1):
            is_spike = step > guard.SETTLE_STEPS and step % 3 == 0
            yield {"x": batch["x"] * (1.0 + 99.0 * is_spike)}

    made = config(**{"log_every": 0, "toy.learning_rate": 1e-4})
    state = train(tmp_path, made, guard.SETTLE_STEPS + 30, stream=stream)
    assert int(state.guard.skipped) == 10


def test_a_full_disk_is_one_sentence_and_the_last_checkpoint_stays(
    small_disk: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made = config(checkpoint_every=3, log_every=0)
    with pytest.raises(UserError, match=r"step (6|9|12) could not be written .*No space left"):
        train(small_disk / "run", made, 20, size=130_000)
    said = capfd.readouterr()
    assert "Traceback" not in said.out + said.err and "ERROR" not in said.err
    assert "could not be written" not in said.out, "it is told once"
    assert saved_steps(small_disk / "run")
    more = small_disk.parent / "more"
    # Threads may still clear away what was not finished; everything else is copied all the same.
    with contextlib.suppress(shutil.Error):
        shutil.copytree(small_disk / "run", more)
    resumed = train(more, made, 14, size=130_000)
    whole = train(small_disk.parent / "whole", made, 14, size=130_000)
    np.testing.assert_array_equal(resumed.params["w"], whole.params["w"])


def test_a_full_disk_at_the_metrics_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`/dev/full` refuses every byte, as a full disk does."""
    metrics = tmp_path / "metrics.jsonl"
    opened = Path.open

    def full(self: Path, *mode: Any, **options: Any) -> Any:
        return opened(Path("/dev/full") if self == metrics else self, *mode, **options)

    tracker = tracking.Tracker(tmp_path, "toy", 10)
    monkeypatch.setattr(Path, "open", full)
    tracker.open(0)
    with pytest.raises(UserError, match="metrics.jsonl' could not be written .No space left"):
        tracker.write(1, {"loss": 1.0}, 8, 0.0)
    tracker.close()


DAMAGE = {
    "empty": b"",
    "zeros": b"\0" * 100,
    "no text": b"\xff\xfe{}",
    "no rows": b'{}\n[]\n1\nnull\n{"step": null}',
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=list(DAMAGE))
def test_damaged_metrics_do_not_keep_a_run_from_going_on(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(
        damage + b'\n{"step": 2, "loss": 1}\n{"step": 9}\n{"st'
    )
    tracker = tracking.Tracker(tmp_path, "toy", 10)
    assert tracker.open(4) == 5, "steps 5 to 9 are made again"
    tracker.write(5, {"loss": 0.5}, 8, 0.0)
    tracker.close()
    rows = [json.loads(row) for row in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 5]
    (board,) = tmp_path.glob("events*")
    assert b"toy/loss" in board.read_bytes()


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


def test_a_log_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """What the system says, and not what goes wrong on the way out."""
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises((OSError, UserError), match="metrics.jsonl"):
        train(tmp_path, config(), 2)
