"""T3: a training that is killed at any moment goes on, and ends with the bytes of one that was not.

The state is weights, moments, average and guard; the step in it is the position in the data too.
"""

import signal
from pathlib import Path

import pytest

from tests.trust.conftest import Row
from tests.trust.forked import STEPS, Trainings


@pytest.mark.proof
def test_kills(trainings: Trainings, tmp_path: Path, row: Row) -> None:
    """At a random step, and a random moment after it: before, within and after a save."""
    kills, tries, count, saves = 0, 0, row.count(1, 50), 0
    whole = trainings.start(tmp_path / "whole")
    assert whole.wait() == 0, whole.log
    while kills < count:
        folder = tmp_path / f"broken-{tries}"
        rng, before = row.rng(tries), 0
        tries += 1
        while kills < count:
            training = trainings.start(folder)
            training.until(before + int(rng.integers(0, 9)))
            before = training.step
            # The moments between two steps are few milliseconds; a save takes some hundred.
            signal.sigtimedwait([], float(rng.uniform(0, 0.3)))
            training.send(signal.SIGKILL)
            if training.wait() == 0:
                break  # it was faster
            kills += 1
            saves += any(folder.glob("checkpoints/*orbax-checkpoint-tmp*"))
        last = trainings.start(folder)
        assert last.wait() == 0, last.log
        assert f"ends at step {STEPS}" in last.log and last.checksum == whole.checksum
        assert not list(folder.glob("checkpoints/*tmp*")), "what a kill left is cleared away"
    row.tell(
        f"{kills} kills of {tries} runs, {saves} in the middle of a save: all end with the "
        f"SHA-256 of the whole run, {whole.checksum[:12]}"
    )
