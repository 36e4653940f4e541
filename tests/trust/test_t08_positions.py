"""T8: from any position, on any number of hosts, what follows: nothing twice, nothing lost."""

from pathlib import Path

import pytest

from tests.data import reading
from tests.data.reading import COUNT, open_batches, take
from tests.trust.conftest import Row

STEPS = 1000  # positions, of 8 records each: 26 epochs of 301 records
AHEAD = 2


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reading.write(tmp_path_factory.mktemp("positions"))


def test_positions(data: Path, row: Row) -> None:
    """The state of 1, 2 and 4 hosts in turn is restored on another number of them."""
    last = row.count(40, STEPS)
    whole = take(open_batches(data), last + AHEAD)
    stream = [number for _, batch in whole for number in batch]
    for start in range(0, len(stream) - COUNT + 1, COUNT):
        assert sorted(stream[start : start + COUNT]) == list(range(COUNT)), "an epoch is all, once"
    saving = {
        n: [open_batches(data, process_count=n, process_index=i) for i in range(n)]
        for n in (1, 2, 4)
    }
    counts = dict.fromkeys(saving, 0)
    for position in range(last):
        before, after = (1, 2, 4)[position % 3], (2, 4, 1)[position % 3]
        states = [batches.get_state() for batches in saving[before]]
        assert states.count(states[0]) == before, "the state is the same on every host"
        joined: list[list[int]] = [[] for _ in range(AHEAD)]
        for i in range(after):
            part = open_batches(data, process_count=after, process_index=i, num_threads=0)
            part.set_state(states[0])
            for step, (_, numbers) in enumerate(take(part, AHEAD)):
                joined[step] += numbers
        assert joined == [numbers for _, numbers in whole[position : position + AHEAD]]
        counts[after] += 1
        for batches in (b for parts in saving.values() for b in parts):
            next(batches)
    for batches in (b for parts in saving.values() for b in parts):
        batches.close()
    row.tell(
        f"{last:,} positions in {len(stream) // COUNT} epochs of {COUNT} records; restored on "
        + ", ".join(f"{n} hosts {count}" for n, count in counts.items())
        + ": order equal, none twice, none lost"
    )
