"""The same bytes for any number of processes and threads, from any position on."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from colorjax.data import iterators, records
from colorjax.errors import UserError
from tests import pictures
from tests.data import reading
from tests.data.reading import COUNT, open_batches, take

STEPS = 1000


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return reading.write(tmp_path_factory.mktemp("determinism"))


@pytest.fixture(scope="module")
def whole(data):
    return take(open_batches(data), STEPS + 2)


@pytest.fixture(scope="module")
def beginning(data):
    """Two epochs and more of what `whole` holds."""
    return take(open_batches(data), 90)


def test_nothing_twice_nothing_lost_over_epochs(data):
    stream = [number for _, batch in take(open_batches(data), 302) for number in batch]
    epochs = [stream[i : i + COUNT] for i in range(0, len(stream) - COUNT + 1, COUNT)]
    assert len(epochs) == 8
    assert all(sorted(epoch) == list(range(COUNT)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 8, "every epoch has its own order"


@pytest.mark.parametrize("process_count", [2, 4])
def test_processes_as_a_whole_give_the_same_bytes(data, process_count):
    alone = open_batches(data, num_threads=1)
    parts = [
        open_batches(data, process_count=process_count, process_index=i, num_threads=1 + i)
        for i in range(process_count)
    ]
    for _ in range(40):  # the 38th is of two epochs
        expected, found = next(alone), [next(part) for part in parts]
        for name, value in expected.items():
            assert np.concatenate([part[name] for part in found]).tobytes() == value.tobytes()
    for batches in (alone, *parts):
        batches.close()


def digest_of(data: Path, process_count: int, process_index: int) -> list[str]:
    """Of each of 40 batches' part; what a process of its own runs below."""
    options = dict(process_count=process_count, process_index=process_index)
    return [digest.hex() for digest, _ in take(open_batches(data, **options), 40)]


@pytest.mark.slow
def test_real_processes_give_the_same_bytes(data):
    """1, 2 and 4 interpreters, each with another order of hashes."""
    batches = open_batches(data)
    images = [next(batches)["image"] for _ in range(40)]
    batches.close()
    for count in (1, 2, 4):
        code = "import sys; from pathlib import Path; from tests.data import test_determinism as t;"
        code += "print(*t.digest_of(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))"
        running = [
            subprocess.Popen(
                [sys.executable, "-c", code, str(data), str(count), str(index)],
                env=os.environ | {"PYTHONHASHSEED": str(7 + index)},
                stdout=subprocess.PIPE,
                text=True,
            )
            for index in range(count)
        ]
        for index, process in enumerate(running):
            found = process.communicate()[0].split()
            parts = [np.split(image, count)[index] for image in images]
            assert found == [hashlib.sha256(part.tobytes()).hexdigest() for part in parts]


@pytest.mark.proof
def test_every_position_gives_what_follows(data, whole):
    """At each of the 1,000 positions: the state is saved there and restored in another reader."""
    saving, restoring = open_batches(data), open_batches(data, num_threads=0)
    for position in range(STEPS):
        state = saving.get_state()
        restoring.set_state(state)
        assert take(restoring, 2) == whole[position : position + 2]
        next(saving)
    saving.close()


@pytest.mark.slow
def test_every_position_gives_exactly_the_rest(data, whole):
    """At each of the 1,000 the places of all that is left, at each fiftieth the pictures too."""
    identity = {"seed": 5}
    for position in range(STEPS):
        batches = iterators.TrainBatches(lambda first: {"first": first}, 8, identity, 2)
        batches.set_state(identity | {"consumed": 8 * position})
        found = [next(batches)["first"] for _ in range(STEPS - position)]
        batches.close()
        assert found == list(range(8 * position, 8 * STEPS, 8))
    for position in range(0, STEPS, 50):
        batches = open_batches(data, num_threads=2)
        batches.set_state({"seed": 5, "records": COUNT, "consumed": 8 * position})
        assert take(batches, STEPS + 2 - position) == whole[position:]


@pytest.mark.parametrize("before, after", [((4, 1), (1, 3)), ((1, 2), (2, 1)), ((2, 0), (4, 2))])
def test_another_number_of_processes_and_threads_goes_on(data, beginning, before, after):
    """State of `before` = (processes, threads) restored on `after`, at positions over an epoch."""
    stream = [number for _, batch in beginning for number in batch]
    for position in (0, 1, 37, 38, 76):
        states = []
        for i in range(before[0]):
            batches = open_batches(
                data, process_count=before[0], process_index=i, num_threads=before[1]
            )
            take(batches, position)
            states.append(batches.get_state())
        assert states.count(states[0]) == before[0], "the state is the same on every process"
        parts = []
        for i in range(after[0]):
            batches = open_batches(
                data, process_count=after[0], process_index=i, num_threads=after[1]
            )
            batches.set_state(states[0])
            parts.append([ids for _, ids in take(batches, 6)])
        joined = [number for step in zip(*parts) for part in step for number in part]
        assert joined == stream[position * 8 : position * 8 + 48]


def test_another_batch_size_goes_on_with_the_same_records(data, beginning):
    stream = [number for _, batch in beginning for number in batch]
    batches = open_batches(data)
    take(batches, 3)
    other = open_batches(data, batch_size=5)
    other.set_state(batches.get_state())
    found = [number for _, batch in take(other, 20) for number in batch]
    assert found == stream[24:124]
    assert other.get_state()["consumed"] == 124


def test_reading_on_after_closing(data, beginning):
    batches = open_batches(data)
    assert take(batches, 7) + take(batches, 7) == beginning[:14]


def test_a_state_of_something_else_is_refused(data):
    state = open_batches(data).get_state()
    batches = open_batches(data, seed=6)
    for wrong in (state, {}, batches.get_state() | {"consumed": -1}, {"next_index": 3}):
        with pytest.raises(UserError, match="does not belong to this data and seed"):
            batches.set_state(wrong)


def test_a_damaged_record_is_told(data, tmp_path):
    record = records.Record("a", pictures.jpeg(0)[:300], None, {})
    shard = records.write_shard(tmp_path / records.shard_name("train", 0, 1), [record])
    records.write_manifest(tmp_path, "one damaged picture", {"train": [shard]})
    with pytest.raises(UserError, match="could not be decoded"):
        next(open_batches(tmp_path, batch_size=1))
