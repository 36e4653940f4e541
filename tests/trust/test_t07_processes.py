"""T7: where one of two processes is lost the other ends, and the run goes on to the same bytes."""

import json
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from tests.devices import launched
from tests.trust.conftest import Row
from tests.trust.forked import STEPS, Training, Trainings

KINDS = ("kill -9 of process 0", "kill -9 of process 1", "SIGSTOP of process 1")
MOST = 15.0  # seconds that the other one lives on; a process is lost after 10 of silence
PAUSE = 0.05  # seconds of a step, so that a run is met in its middle


def losses(folder: Path) -> dict[int, float]:
    """The loss of each step, as it was told last."""
    rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return {row["step"]: row["loss"] for row in rows}


def lost(running: list[Training], kind: str, at: int) -> float:
    """Takes one of two processes from a run once it is at a step and has saved one.

    Returns:
        How many seconds the other one lives on.
    """
    index, end = int(kind[-1]), time.monotonic() + 300
    running[0].until(at)
    while "committed" not in running[0].log and time.monotonic() < end:
        time.sleep(0.003)
    assert running[0].step < STEPS, running[0].log
    is_stopped = kind.startswith("SIGSTOP")
    running[index].send(signal.SIGSTOP if is_stopped else signal.SIGKILL)
    seconds = launched.until_gone(running[1 - index].number)
    if is_stopped:  # it waits for nobody
        running[index].send(signal.SIGKILL)
    assert running[index].wait() == -signal.SIGKILL and running[1 - index].wait() != 0
    return seconds


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(KINDS[0], marks=pytest.mark.proof),
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS[1:]),
    ],
)
def test_a_small_training(trainings: Trainings, tmp_path: Path, row: Row, kind: str) -> None:
    """Gone on with by two processes, to the same bytes, and by one, to rounding the same."""
    whole = trainings.together(tmp_path / "whole")
    assert {training.wait() for training in whole} == {0}, whole[0].log
    wanted, furthest, longest = losses(tmp_path / "whole"), 0.0, 0.0
    count = row.count(1, 5)
    for number in range(count):
        folder = tmp_path / str(number)
        running = trainings.together(folder, pause=PAUSE)
        at = int(row.rng(number, KINDS.index(kind)).integers(3, STEPS // 2))
        longest = max(longest, lost(running, kind, at))
        assert longest < MOST
        again = trainings.together(folder) if number % 2 else [trainings.start(folder)]
        assert {training.wait() for training in again} == {0}, again[0].log
        assert "resumed from step" in again[0].log and f"ends at step {STEPS}" in again[0].log
        if len(again) == 2:
            assert again[0].checksum == whole[0].checksum
        ours = losses(folder)
        assert ours.keys() == wanted.keys()
        furthest = max(furthest, *(abs(ours[step] - wanted[step]) for step in wanted))
    np.testing.assert_array_less(furthest, 1e-5)
    row.tell(
        f"{kind}, {count} small trainings: the other ends after at most {longest:.1f} s; gone on "
        f"with, losses are within {furthest:.0e}"
    )


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return launched.small_release(tmp_path_factory.mktemp("start") / "release")


@pytest.fixture(scope="module")
def whole(start: Path, tmp_path_factory: pytest.TempPathFactory) -> launched.Run:
    return launched.undisturbed(start, tmp_path_factory.mktemp("whole") / "run")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_command(kind: str, whole: launched.Run, start: Path, tmp_path: Path, row: Row) -> None:
    """The latent stage as `launch/local.sh` starts it; gone on with in three ways."""
    number = KINDS.index(kind)
    at = int(row.rng(number).integers(launched.SAVE_EVERY, 16))
    seconds = launched.interrupted(start, tmp_path / "run", kind, at, saved=True)
    assert seconds <= MOST
    how = launched.HOWS[number]
    launched.check(whole, launched.resumed(start, tmp_path / "run", how), how)
    row.tell(
        f"{kind}, the latent stage at step {at}: the other ends after {seconds:.1f} s, then "
        f"{how[0]} go on"
    )
