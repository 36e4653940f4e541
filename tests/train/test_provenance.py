"""What a run may go on with, and what a damaged folder still says."""

import json
import math
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ml_collections import ConfigDict

from colorjax.errors import UserError
from colorjax.train import flags, provenance, ranges, run
from tests import small

INPUTS = {"vae": "0" * 64}


def config(**changes: Any) -> ConfigDict:
    made = small.config()
    made.update_from_flattened_dict(changes)
    return made


def begun(directory: Path, at: int = 3, **changes: Any) -> Path:
    """The folder of a latent stage that has a checkpoint."""
    provenance.remember("latent", config(**changes), INPUTS, directory, print)
    (directory / "checkpoints" / str(at)).mkdir(parents=True)
    return directory


def go_on(directory: Path, **changes: Any) -> list[str]:
    said: list[str] = []
    provenance.remember("latent", config(**changes), INPUTS, directory, said.append)
    return said


def test_the_same_settings_say_nothing(tmp_path: Path) -> None:
    before = (begun(tmp_path) / "config.json").read_bytes()
    assert go_on(tmp_path) == [] and (tmp_path / "config.json").read_bytes() == before
    assert go_on(tmp_path, **{"latent.total_steps": 99, "latent.epochs": 7.0}) == []


@pytest.mark.parametrize(
    "key,value,before",
    [
        ("latent.learning_rate", 1e-6, 1e-4),
        ("latent.batch_size", 16, 8),
        ("latent.accumulate", 2, 1),
        ("latent.max_skipped", 50, 10),
        ("latent.spike_factor", 7.0, 5.0),
        ("latent.warmup_steps", 30, 1),
        ("latent.weight_decay", 0.5, 0.0),
        ("dtype", "bfloat16", "float32"),
        ("init_from", "elsewhere", ""),
        ("data.eval_split", "val", "test"),
    ],
)
def test_what_an_operator_changes_is_logged(tmp_path: Path, key: str, value: Any, before) -> None:
    begun(tmp_path, **{key: before})
    said = f"{key} is {value!r} from here on, and was {before!r}"
    assert go_on(tmp_path, **{key: value}) == [said]
    assert go_on(tmp_path, **{key: value}) == [], "it is remembered"
    assert go_on(tmp_path, **{key: before}) == [
        f"{key} is {before!r} from here on, and was {value!r}"
    ]


@pytest.mark.parametrize(
    "key,value,sentence",
    [
        ("seed", 5, "was begun with seed=0, not 5: a run"),
        ("latent.ema_decay", 0.5, "was begun with latent.ema_decay=0.0, not 0.5: a run"),
        ("latent.trainable", ("a",), "latent.trainable=.*, not .'a'.: a run"),
        ("latent.clip_norm", 1.0, "latent.clip_norm=0.0, not 1.0: a run"),
        ("data.crop", "none", "data.crop='random_resized', not 'none': a run"),
        ("model.unet.layers_per_block", 3, "model.unet.layers_per_block=1, not 3: a run"),
    ],
)
def test_only_what_differs_is_told(tmp_path: Path, key: str, value: Any, sentence: str) -> None:
    base = {"latent.ema_decay": 0.0, "latent.clip_norm": 0.0, "data.crop": "random_resized"}
    begun(tmp_path, **base)
    with pytest.raises(UserError, match=sentence) as error:
        go_on(tmp_path, **base | {key: value, "latent.learning_rate": 9.0})
    assert "learning_rate" not in str(error.value) and len(str(error.value)) < 400


def test_clipping_may_change_where_there_is_some(tmp_path: Path) -> None:
    begun(tmp_path, **{"latent.clip_norm": 1.0})
    assert go_on(tmp_path, **{"latent.clip_norm": 0.1})


def test_without_a_checkpoint_nothing_is_begun(tmp_path: Path) -> None:
    provenance.remember("latent", config(), INPUTS, tmp_path, print)
    assert go_on(tmp_path, **{"data.crop": "none", "seed": 3}) == []
    assert json.loads((tmp_path / "config.json").read_text())["seed"] == 3
    (tmp_path / "checkpoints" / "3.orbax-checkpoint-tmp").mkdir(parents=True)
    assert go_on(tmp_path, seed=4) == []


def test_settings_of_another_version_are_no_difference(tmp_path: Path) -> None:
    path = begun(tmp_path) / "config.json"
    content = json.loads(path.read_text())
    del content["latent"]["spike_factor"]
    content["latent"]["abolished"] = 1
    path.write_text(json.dumps(content))
    assert go_on(tmp_path) == []


DAMAGE = {
    "empty": b"",
    "zeros": b"\0" * 99,
    "half": b'{"seed": 0, "da',
    "a list": b"[]",
    "other kinds": b'{"inputs": 1, "batch_sizes": [1]}',
    "no text": b"\xff",
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=list(DAMAGE))
def test_a_damaged_memory_does_not_keep_a_run_from_going_on(tmp_path: Path, damage: bytes) -> None:
    (begun(tmp_path) / "config.json").write_bytes(damage)
    assert provenance.batch_sizes("latent", tmp_path, 4) == [(0, 4)]
    (said,) = go_on(tmp_path)
    assert "config.json' cannot be" in said and said.endswith("settings of this command")
    assert json.loads((tmp_path / "config.json").read_text())["seed"] == 0
    provenance.finish(tmp_path, 5)
    assert provenance.is_finished("latent", INPUTS, tmp_path, 5)


@pytest.mark.parametrize(
    "text", [b"", b"\0\0\0", b"five", b"-7", b"\xff", b"9" * 5000, "٣".encode()]
)
def test_a_damaged_mark_is_none(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "FINISHED").write_bytes(text)
    assert not provenance.is_finished("latent", INPUTS, tmp_path, 1)


def test_pictures_are_counted_over_changes_of_the_batch() -> None:
    """10 steps of 4 and then of 8: 40 pictures, and 8 more a step."""
    spans = provenance.going_on([(0, 4)], 10, 8)
    assert spans == [(0, 4), (10, 8)]
    assert [provenance.pictures_taken(spans, n) for n in (0, 3, 10, 11, 20)] == [0, 12, 40, 48, 120]
    assert provenance.going_on(spans, 15, 8) == spans
    assert provenance.going_on(spans, 15, 2) == [(0, 4), (10, 8), (15, 2)]
    # A checkpoint was damaged: the run goes on from before the change.
    assert provenance.going_on(spans, 7, 8) == [(0, 4), (7, 8)]
    assert provenance.going_on(spans, 7, 4) == [(0, 4)]
    assert provenance.going_on([(0, 4)], 0, 8) == [(0, 8)]


def test_epochs_are_of_pictures_whatever_the_batch(tmp_path: Path) -> None:
    """256 pictures, 3 epochs: 768; after 12 steps of 32, 384 are left."""
    made = config(**{"latent.total_steps": 0, "latent.epochs": 3.0, "latent.batch_size": 16})
    assert run.steps(made, "latent", [(0, 16)], 0) == 48
    assert run.steps(made, "latent", [(0, 32)], 12) == 12 + 24
    assert run.steps(made, "latent", [(0, 32), (12, 16)], 36) == 36
    made.latent.total_steps = 5
    assert run.steps(made, "latent", [(0, 32)], 12) == 5


def test_a_change_of_the_batch_is_remembered(tmp_path: Path) -> None:
    begun(tmp_path, at=10)
    provenance.remember_batch_sizes(tmp_path, [(0, 8), (10, 16)])
    go_on(tmp_path, **{"latent.batch_size": 16})
    assert provenance.batch_sizes("latent", tmp_path, 16) == [(0, 8), (10, 16)]


def test_the_batches_go_on_with_the_pictures_that_are_left(tmp_path: Path) -> None:
    def first(made: ConfigDict, spans: provenance.Spans, step: int) -> int:
        tokenize: Callable[..., Any] = lambda texts: None
        batches = run._batches_from(made, "latent", tokenize, tmp_path, spans, step)
        return batches.get_state()["consumed"]

    begun(tmp_path, at=10)
    assert first(config(), [(0, 8)], 10) == 80
    changed = config(**{"latent.batch_size": 16})
    assert first(changed, [(0, 8)], 10) == 80
    assert first(changed, provenance.batch_sizes("latent", tmp_path, 16), 12) == 80 + 32


@pytest.mark.parametrize(
    "key,value",
    [
        ("keep_checkpoints", 0),
        ("keep_checkpoints", -1),
        ("checkpoint_every", -5),
        ("seed", -1),
        ("latent.learning_rate", math.nan),
        ("latent.learning_rate", 0.0),
        ("latent.learning_rate", -1e-4),
        ("latent.learning_rate", math.inf),
        ("latent.b2", 1.0),
        ("latent.ema_decay", 1.0),
        ("latent.drop_share", 1.5),
        ("latent.epochs", 0.0),
        ("latent.total_steps", -1),
        ("latent.batch_size", 0),
        ("latent.accumulate", 0),
        ("latent.max_skipped", -1),
        ("latent.spike_factor", -2.0),
        ("latent.spike_factor", 0.5),
        ("latent.clip_norm", math.nan),
    ],
)
def test_a_number_out_of_its_range_is_told_with_its_flag(key: str, value: float) -> None:
    ranges.check(config(), "latent")
    with pytest.raises(UserError, match=rf"--config.{key} is {value}; it must be "):
        ranges.check(config(**{key: value}), "latent")


def test_a_command_is_repeated_with_other_values() -> None:
    before = [
        "colorjax/train/__main__.py",
        "--config=configs/lcad.py:tiny",
        "--workdir=a b",
        "--config.latent.learning_rate=0.1",
        "-config.seed=3",
    ]
    text = flags.command(before, **{"latent.learning_rate": 0.05})
    assert text == (
        "python -m colorjax.train --config=configs/lcad.py:tiny '--workdir=a b' -config.seed=3 "
        "--config.latent.learning_rate=0.05"
    )
    assert shlex.split(text)[:3] == ["python", "-m", "colorjax.train"]
