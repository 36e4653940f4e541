"""Two real processes over loopback: killed, stopped, resumed, to the numbers of a whole run."""

import random
import re
from pathlib import Path

import pytest

from tests.devices.launched import (
    HOWS,
    KINDS,
    SAVE_EVERY,
    STEPS,
    Run,
    check,
    interrupted,
    resumed,
    small_release,
    undisturbed,
)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_release(tmp_path_factory.mktemp("start") / "release")


@pytest.fixture(scope="module")
def whole(start: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = undisturbed(start, tmp_path_factory.mktemp("whole") / "run")
    assert len(re.findall(r"goodput [\d.]+ % of", run.log())) == 1, "one process alone writes"
    return run


@pytest.mark.proof
@pytest.mark.parametrize(("kind", "how"), list(zip(KINDS, HOWS, strict=True)), ids=KINDS)
def test_an_interrupted_run_ends_as_the_whole_one(
    whole: Run, start: Path, tmp_path: Path, kind: str, how: tuple[int, int]
) -> None:
    interrupted(start, tmp_path / "run", kind, at=SAVE_EVERY, saved=True)
    again = resumed(start, tmp_path / "run", how)
    assert "resumed from step" in again.log()
    check(whole, again, how)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(30))
def test_interruptions_at_any_step(whole: Run, start: Path, tmp_path: Path, number: int) -> None:
    """Every kind ten times and every way to go on ten times; before the first checkpoint too."""
    kind, how = KINDS[number % 3], HOWS[(number // 3 + number) % 3]
    interrupted(start, tmp_path / "run", kind, random.Random(number).randint(1, STEPS * 2 // 3))
    check(whole, resumed(start, tmp_path / "run", how), how)
