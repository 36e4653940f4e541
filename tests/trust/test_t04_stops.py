"""T4: SIGTERM at any moment saves the step that runs and ends with the code that is documented."""

import re
import signal
from pathlib import Path

import pytest

from colorjax.devices import processes
from tests.trust.conftest import Row
from tests.trust.forked import STEPS, Trainings


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(0, id="alone", marks=pytest.mark.proof),
        *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2)),
    ],
)
def test_stops(trainings: Trainings, tmp_path: Path, row: Row, count: int) -> None:
    """Without `jax.distributed` (0), and with it as one and as two processes."""
    tries = row.count(1, 8 if count else 6)
    begun = 0

    def run(folder: Path) -> list:
        # The service of `jax.distributed` tells of a signal within a second, and not at once.
        more = {"pause": 0.1} if count else {}
        return trainings.together(folder, count, **more) if count else [trainings.start(folder)]

    whole = run(tmp_path / "whole")
    assert {training.wait() for training in whole} == {0}, whole[0].log
    for number in range(tries):
        rng = row.rng(number, count)
        running = run(tmp_path / str(number))
        running[0].until(int(rng.integers(1, STEPS // 2)))
        for training in running:  # as a launcher or a cluster does
            training.send(signal.SIGTERM)
        assert {t.wait() for t in running} == {processes.STOPPED}, running[0].log
        stopped = re.findall(r"ends at step (\d+)", running[0].log)
        assert len(set(stopped)) == 1, "all at the same step"
        assert f"checkpoint of step {stopped[0]} committed" in running[0].log
        begun += int(stopped[0])
        again = run(tmp_path / str(number))
        assert {training.wait() for training in again} == {0}, again[0].log
        assert f"resumed from step {stopped[0]} " in again[0].log
        assert again[0].checksum == whole[0].checksum
    how = f"{count} processes of jax.distributed" if count else "one process alone"
    row.tell(f"{how}: {tries} of {tries}, at step {begun // tries} of {STEPS} in the mean")
