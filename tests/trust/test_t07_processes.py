"""T7: where one of two processes is lost the other ends, and the run goes on to the same bytes."""

import signal
from pathlib import Path

import pytest

from tests.devices import launched
from tests.trust.conftest import Row
from tests.trust.forked import STEPS, Trainings

KINDS = ("kill -9 of process 0", "kill -9 of process 1", "SIGSTOP of process 1")
MOST = 15.0  # seconds that the other one lives on; a process is lost after 10 of silence


def test_the_coordinator_is_lost(trainings: Trainings, tmp_path: Path, row: Row) -> None:
    """Two small processes; process 0 leads them. One alone goes on, to rounding the same."""
    for number in range(row.count(1, 5)):
        folder = tmp_path / str(number)
        first, second = trainings.together(folder)
        first.until(int(row.rng(number).integers(3, STEPS // 2)))
        first.send(signal.SIGKILL)
        seconds = launched.until_gone(second.number)
        assert seconds < MOST and first.wait() == -signal.SIGKILL and second.wait() != 0
        again = trainings.start(folder)
        assert again.wait() == 0, again.log
        assert "resumed from step" in again.log and f"ends at step {STEPS}" in again.log
    row.tell(
        f"small training, leader lost: the other ends after {seconds:.1f} s, one alone goes on"
    )


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return launched.small_release(tmp_path_factory.mktemp("start") / "release")


@pytest.fixture(scope="module")
def whole(start: Path, tmp_path_factory: pytest.TempPathFactory) -> launched.Run:
    return launched.undisturbed(start, tmp_path_factory.mktemp("whole") / "run")


@pytest.mark.slow
@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize("kind", KINDS)
def test_a_process_is_lost(
    kind: str, number: int, whole: launched.Run, start: Path, tmp_path: Path, row: Row
) -> None:
    """The latent stage by its command; gone on with by two processes and by one in turn."""
    at = int(row.rng(number, KINDS.index(kind)).integers(launched.SAVE_EVERY, 16))
    seconds = launched.interrupted(start, tmp_path / "run", kind, at, saved=True)
    assert seconds <= MOST
    how = launched.HOWS[number % len(launched.HOWS)]
    launched.check(whole, launched.resumed(start, tmp_path / "run", how), how)
    row.tell(f"{kind} at step {at}: the other ends after {seconds:.1f} s, then {how[0]} go on")
