"""Batches for training and evaluation, read by grain in threads of this process.

A batch is decided by (seed, step) alone: there is one global order, and every process takes a
contiguous part of each global batch, so that the parts joined are the global batch. The number of
processes and a restart change nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import grain
import numpy as np
from jaxtyping import Int32

from colorjax.data import captions, latents, records, texts, transforms
from colorjax.data.iterators import Batch, TrainBatches, iterate
from colorjax.errors import UserError, one_of

Tokenize = Callable[[Sequence[str]], Int32[np.ndarray, "b length"]]
Level = str  # one of `captions.LEVELS`


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


def _check_order(seed: int, start_step: int, level: Level | None) -> None:
    if not 0 <= seed < 2**32:
        raise UserError(f"seed is {seed}; it must be in 0..{2**32 - 1}")
    if start_step < 0:
        raise UserError(f"start_step is {start_step}; it must be 0 or more")
    if level is not None:
        one_of("caption level", level, captions.LEVELS)


class _Captions(NamedTuple):
    """How a training caption is chosen; see `train_batches`."""

    level: Level | None
    scarce_share: float
    drop_share: float
    partial_share: float

    def draw(self, record: records.Record, rng: np.random.Generator) -> str:
        if self.level is None:
            return captions.sample(record.captions, rng, *self[1:])
        return captions.fixed(record.captions, self.level)


@dataclass(frozen=True)
class _Examples:
    """Training examples by their position in an endless order; see `train_batches`."""

    source: records.Source
    seed: int
    size: int
    crop: str | None
    sentences: _Captions
    turned_share: float
    gray_share: float
    cache: latents.Cache | None

    def order(self) -> grain.MapDataset:
        """Position -> place in the source, reshuffled every epoch."""
        return grain.MapDataset.range(len(self.source)).seed(self.seed).shuffle().repeat()

    def read(
        self, order: grain.MapDataset, positions: range
    ) -> tuple[dict[str, np.ndarray], list[str]]:
        """Pictures `[n, size, size, 3]` and n captions of some positions.

        With the pictures come the moments of their latents, where these were cached.
        """
        count = len(positions)
        arrays = {"image": np.empty((count, self.size, self.size, 3), np.uint8)}
        if self.cache is not None:
            arrays["moments"] = np.empty((count, *self.cache.shape), np.float32)
        sentences = []
        # One read for the batch: single reads of small records cost more than decoding them.
        packed = self.source.__getitems__([order[position] for position in positions])
        for place, (position, data) in enumerate(zip(positions, packed, strict=True)):
            # The position is epoch * length + place in the epoch, the same for any process count.
            rng = np.random.default_rng((self.seed, position))
            record = records.Record.unpack(data)
            if self.cache is None:
                arrays["image"][place], text = self._example(record, rng)
            else:
                view = latents.draw(record, rng, self.cache)
                arrays["image"][place], arrays["moments"][place] = view
                text = self.sentences.draw(record, rng)
            sentences.append(text)
        return arrays, sentences

    def _example(
        self, record: records.Record, rng: np.random.Generator
    ) -> tuple[transforms.Image, str]:
        pixels = transforms.decode(record.image)
        pixels = transforms.for_training(pixels, rng, self.size, self.crop)
        text = self.sentences.draw(record, rng)
        if record.label and self.turned_share and rng.random() < self.turned_share:
            pixels = transforms.with_hues_turned(pixels, rng)
            text = captions.of_colours(pixels, record.label, rng)
        if self.gray_share and rng.random() < self.gray_share:
            return transforms.without_colours(pixels), captions.of_gray(text, rng)
        return pixels, text


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
    partial_share: float = 0.0,
    turned_share: float = 0.0,
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
        batch_size: of all processes together.
        seed: in 0..2**32-1; with the position it decides order, crops, flips and captions.
        tokenize: texts -> ids, called by several threads; best with a memory of its texts.
        crop: None if the pictures have the model's size, then they are only flipped.
        scarce_share, drop_share, partial_share: see `captions.sample`.
        turned_share: how many of those with a label have other hues and a caption of them (ours).
        gray_share: how many lose their colours, and have a caption that says so.
        level: one level for all captions instead of sampling them.
        start_step: the first step given out.
        process_index, process_count: which part of each global batch is given out.
        num_threads: threads that read, decode and crop; by default one a core, at most 16.

    Returns:
        An iterator of `{"image": uint8 [local_b, size, size, 3], "input_ids": int32 [local_b,
        length]}`, of cached latents `"moments"` (`data.latents`), of cached text states
        `"context"` (`data.texts`); `close()` stops the threads.

    Raises:
        UserError: no such data, or an option out of its range or not one for cached latents.
    """
    _check_share(batch_size, process_index, process_count)
    _check_order(seed, start_step, level)
    cache = latents.of_split(directory, split)
    if cache is not None:
        latents.check(cache, directory, size, turned_share + gray_share)
    source = records.open_split(directory, split)
    said = _Captions(level, scarce_share, drop_share, partial_share)
    examples = _Examples(source, seed, size, crop, said, turned_share, gray_share, cache)
    order, part = examples.order(), batch_size // process_count

    states = None if texts.of_split(directory, split) is None else texts.States(directory, split)

    def batch_at(first: int) -> Batch:
        first += process_index * part
        arrays, sentences = examples.read(order, range(first, first + part))
        arrays["input_ids"] = ids = tokenize(sentences)
        return arrays if states is None else arrays | {"context": states(ids)}

    identity = {"seed": seed, "records": len(source)}
    batches = TrainBatches(batch_at, batch_size, identity, num_threads)
    batches.go_on_at(start_step * batch_size)
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
    one_of("caption level", level, captions.LEVELS)
    if limit is not None and limit < 1:
        raise UserError(f"limit is {limit}; it must be at least 1, or None for the whole split")
    source = records.open_split(directory, split)
    total = len(source) if limit is None else min(limit, len(source))
    local_size = batch_size // process_count

    def batch(step: int) -> Batch:
        first = step * batch_size + process_index * local_size
        indices = range(first, min(first + local_size, total))
        packed = source.__getitems__(list(indices)) if indices else []
        chosen = [records.Record.unpack(data) for data in packed]
        image = np.zeros((local_size, size, size, 3), np.uint8)
        for place, record in enumerate(chosen):
            image[place] = transforms.for_evaluation(transforms.decode(record.image), size, crop)
        padding = [""] * (local_size - len(chosen))
        said = [captions.fixed(record.captions, level) for record in chosen] + padding
        return {
            "image": image,
            "input_ids": tokenize(said),
            "weights": (np.arange(local_size) < len(chosen)).astype(np.float32),
            "captions": said,
            "keys": [record.key for record in chosen] + padding,
            "labels": [record.label for record in chosen] + [None] * len(padding),
        }

    return iterate(grain.MapDataset.range(-(-total // batch_size)).map(batch), num_threads)
