"""Batches for training and evaluation, read by grain in threads of this process.

A batch is decided by (seed, step) alone: there is one global order, and every process takes a
contiguous part of each global batch, so that the parts joined are the global batch. The number of
processes and a restart change nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import grain
import numpy as np
from jaxtyping import Int32

from colorjax.data import captions, cores, records, transforms
from colorjax.errors import UserError

Tokenize = Callable[[Sequence[str]], Int32[np.ndarray, "b length"]]
Batch = dict[str, Any]
Level = str  # one of `captions.LEVELS`

_MOST_THREADS = 16  # beyond, Python's own lock is busy with what is not decoding
_AHEAD = 2  # finished batches that wait for each thread's next one


def _check_share(batch_size: int, process_index: int, process_count: int) -> None:
    if batch_size < 1 or batch_size % process_count:
        raise UserError(
            f"batch_size is {batch_size}; it is the size over all processes and must be a positive "
            f"multiple of their number, {process_count}"
        )
    if not 0 <= process_index < process_count:
        raise UserError(
            f"process_index is {process_index}; it must be in 0..{process_count - 1} for "
            f"process_count={process_count}"
        )


def _iterate(dataset: grain.MapDataset, num_threads: int | None) -> grain.DatasetIterator:
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
    ):
        """`batch_at(first)` makes the batch that begins with the record consumed as `first`.

        `identity` is what an order of records depends on: a state with another is refused.
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
            self._iterator = _iterate(steps, self._num_threads)
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
        """Goes on where another iterator's `get_state` was.

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
        self.close()
        self._consumed = consumed


def train_batches(
    directory: str | Path,
    split: str,
    *,
    size: int,
    batch_size: int,
    seed: int,
    tokenize: Tokenize,
    crop: str | None = "random_resized",
    scarce_share: float = 0.3,
    drop_share: float = 0.1,
    gray_share: float = 0.0,
    level: Level | None = None,
    start_step: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    num_threads: int | None = None,
) -> TrainBatches:
    """Endless batches, reshuffled every epoch; an epoch's last batch runs into the next epoch.

    Args:
        directory, split: what `prepare` wrote.
        size: height and width of the pictures given out.
        batch_size: pictures of a step over all processes.
        seed: in 0..2**32-1; with the position it decides order, crops, flips and captions.
        tokenize: texts -> ids, called by several threads; it should remember the texts it has seen.
        crop: None if the pictures have the model's size, then they are only flipped.
        scarce_share, drop_share: see `captions.sample`.
        gray_share: how many pictures lose their colours, and have a caption that says so.
        level: one level for all captions instead of sampling them.
        start_step: the first step given out, as if the ones before had been consumed.
        process_index, process_count: which part of each global batch is given out.
        num_threads: threads that read, decode and crop, by default one for each core this process
            may use, 16 at most; no worker processes are started.

    Returns:
        An iterator of `{"image": uint8 [local_b, size, size, 3], "input_ids": int32 [local_b,
        length]}`; its `close()` stops the threads.

    Raises:
        UserError: no such data, or an option out of its range.
    """
    _check_share(batch_size, process_index, process_count)
    if not 0 <= seed < 2**32:
        raise UserError(f"seed is {seed}; it must be in 0..{2**32 - 1}")
    if start_step < 0:
        raise UserError(f"start_step is {start_step}; it must be 0 or more")
    if level is not None:
        captions.fixed({}, level)

    def caption(record: records.Record, rng: np.random.Generator) -> str:
        if level is None:
            return captions.sample(record.captions, rng, scarce_share, drop_share)
        return captions.fixed(record.captions, level)

    source = records.open_split(directory, split)
    order = grain.MapDataset.range(len(source)).seed(seed).shuffle().repeat()
    local_size = batch_size // process_count

    def batch_at(first: int) -> Batch:
        first += process_index * local_size
        positions = range(first, first + local_size)
        image = np.empty((local_size, size, size, 3), np.uint8)
        texts = []
        # One read for the batch: single reads of small records cost more than decoding them.
        packed = source.__getitems__([order[position] for position in positions])
        for place, (position, data) in enumerate(zip(positions, packed, strict=True)):
            # The position is epoch * length + place in the epoch, the same for any process count.
            rng = np.random.default_rng((seed, position))
            record = records.Record.unpack(data)
            pixels = transforms.decode(record.image)
            pixels, text = transforms.for_training(pixels, rng, size, crop), caption(record, rng)
            if gray_share and rng.random() < gray_share:
                pixels, text = transforms.without_colours(pixels), captions.of_gray(text, rng)
            image[place] = pixels
            texts.append(text)
        return {"image": image, "input_ids": tokenize(texts)}

    identity = {"seed": seed, "records": len(source)}
    batches = TrainBatches(batch_at, batch_size, identity, num_threads)
    batches.set_state(identity | {"consumed": start_step * batch_size})
    return batches


def eval_batches(
    directory: str | Path,
    split: str,
    *,
    size: int,
    batch_size: int,
    level: Level,
    tokenize: Tokenize,
    limit: int | None = None,
    crop: str | None = "resize",
    process_index: int = 0,
    process_count: int = 1,
    num_threads: int | None = None,
) -> grain.DatasetIterator:
    """The split once, in order, without randomness; every process gets equally many batches.

    Arguments are those of `train_batches`, but: `limit` takes the first pictures only, `level`
    chooses the caption (`captions.fixed`).

    Returns:
        An iterator of `{"image", "input_ids", "weights": float32 [local_b], "captions": list[str],
        "keys": list[str], "labels": list[str | None]}`. The last batch is filled up with black
        pictures, empty captions and empty keys, of weight 0; real pictures have weight 1.

    Raises:
        UserError: no such data, or an option out of its range.
    """
    _check_share(batch_size, process_index, process_count)
    captions.fixed({}, level)
    if limit is not None and limit < 1:
        raise UserError(f"limit is {limit}; it must be at least 1, or None for the whole split")
    source = records.open_split(directory, split)
    total = len(source) if limit is None else min(limit, len(source))
    local_size = batch_size // process_count

    def batch(step: int) -> Batch:
        first = step * batch_size + process_index * local_size
        indices = range(first, min(first + local_size, total))
        packed = source.__getitems__(list(indices)) if indices else []
        found = [records.Record.unpack(data) for data in packed]
        image = np.zeros((local_size, size, size, 3), np.uint8)
        for place, record in enumerate(found):
            image[place] = transforms.for_evaluation(transforms.decode(record.image), size, crop)
        padding = [""] * (local_size - len(found))
        texts = [captions.fixed(record.captions, level) for record in found] + padding
        return {
            "image": image,
            "input_ids": tokenize(texts),
            "weights": (np.arange(local_size) < len(found)).astype(np.float32),
            "captions": texts,
            "keys": [record.key for record in found] + padding,
            "labels": [record.label for record in found] + [None] * len(padding),
        }

    return _iterate(grain.MapDataset.range(-(-total // batch_size)).map(batch), num_threads)
