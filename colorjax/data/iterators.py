"""Batches one after another, read ahead by grain's threads, and where an endless run of them is."""

from collections.abc import Callable, Iterator
from typing import Any

import grain

from colorjax.data import cores
from colorjax.errors import UserError

Batch = dict[str, Any]

_MOST_THREADS = 16  # beyond, Python's own lock is busy with what is not decoding
_AHEAD = 2  # finished batches that wait for each thread's next one


def iterate(dataset: grain.MapDataset, num_threads: int | None) -> grain.DatasetIterator:
    """A data set's elements in order, read ahead by threads; by default one for each core."""
    if num_threads is None:
        num_threads = min(_MOST_THREADS, cores.available())
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=num_threads + _AHEAD)
    return iter(dataset.to_iter_dataset(options))


class TrainBatches(Iterator[Batch]):
    """Endless batches; where they are is one number, whatever reads them.

    grain's own state is tied to the number of its workers, and with another number goes on at the
    wrong place without a word. Here a batch is a function of how many records all processes
    together have consumed, and that is the state: any number of processes and threads, and any
    batch size, go on with exactly the records that are left.
    """

    def __init__(
        self,
        batch_at: Callable[[int], Batch],
        batch_size: int,
        identity: dict[str, Any],
        num_threads: int | None,
    ) -> None:
        """Begins before the first record.

        Args:
            batch_at: makes the batch that begins with the record consumed as number `first`.
            batch_size: records of a batch over all processes.
            identity: what an order of records depends on; a state with another one is refused.
            num_threads: threads that read ahead; by default one for each core, 16 at most.
        """
        self._batch_at, self._batch_size = batch_at, batch_size
        self._identity, self._num_threads = identity, num_threads
        self._consumed = 0
        self._iterator: grain.DatasetIterator | None = None

    def __next__(self) -> Batch:
        if self._iterator is None:
            start, size, batch_at = self._consumed, self._batch_size, self._batch_at
            # As many as fit: a run's end is the loop's business.
            count = (2**62 - start) // size
            steps = grain.MapDataset.range(count).map(lambda step: batch_at(start + step * size))
            self._iterator = iterate(steps, self._num_threads)
        batch = next(self._iterator)
        self._consumed += self._batch_size
        return batch

    def close(self) -> None:
        """Stops the threads; a following `next` starts them again where it stopped."""
        if self._iterator is not None:
            self._iterator.close()
            self._iterator = None

    def get_state(self) -> dict[str, Any]:
        """The state after the last batch given out, as plain JSON; the same on every process."""
        return self._identity | {"consumed": self._consumed}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on where another iterator was when its state was taken.

        Raises:
            UserError: the state is of other data or of another seed.
        """
        consumed = state.get("consumed")
        other = {k: state.get(k) for k in self._identity if state.get(k) != self._identity[k]}
        if other or not isinstance(consumed, int) or consumed < 0:
            raise UserError(
                f"the state of the input pipeline {state} does not belong to this data and seed, "
                f"{self._identity}; continue with those it was saved with"
            )
        self.go_on_at(consumed)

    def go_on_at(self, consumed: int) -> None:
        """Goes on with the record that is the next one after so many."""
        self.close()
        self._consumed = consumed
