"""Pictures of a prepared data set, coloured as they are measured: at the model's own size."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int32, UInt32

from colorjax.colorize.colorizer import Colorizer
from colorjax.data import captions, phrases, pipeline, records, transforms
from colorjax.data.tokenizer import Tokenizer
from colorjax.errors import UserError
from colorjax.maths import color
from colorjax.methods.method import Pictures


def data_directory(data: str) -> Path:
    """A prepared data directory, by itself or by its name in data/."""
    return Path(data) if Path(data).is_dir() else Path("data") / data


@dataclass(frozen=True)
class Selection:
    """The first pictures of a split of a prepared data directory.

    Attributes:
        limit: how many pictures; None is all of them.
        crop: how pictures of another size than the model's are brought to it.
    """

    directory: Path
    split: str
    limit: int | None = None
    crop: str | None = None

    @classmethod
    def find(cls, data: str, split: str, limit: int | None, crop: str | None = None) -> "Selection":
        """By a name in data/, or by a directory.

        Raises:
            UserError: there is no such data, or no picture is asked for.
        """
        if limit is not None and limit < 1:
            raise UserError(f"limit is {limit}; it must be 1 or more")
        directory = data_directory(data)
        records.open_split(directory, split)
        return cls(directory, split, limit, crop)

    @property
    def count(self) -> int:
        """How many pictures there are."""
        there = len(records.open_split(self.directory, self.split))
        return there if self.limit is None else min(self.limit, there)


class Batch(NamedTuple):
    """Pictures with what is known of them; the last batch of a split may be short."""

    truth: Float[np.ndarray, "n h w 3"]  # [0,1]
    places: UInt32[np.ndarray, " n"]  # of each picture in the split
    input_ids: Int32[np.ndarray, "n tokens"]
    captions: list[str]
    labels: list[str | None]
    keys: list[str]


class Share(NamedTuple):
    """Which of several processes this is: each has every so many-th batch."""

    number: int = 0
    of: int = 1


class Frame(NamedTuple):
    """How pictures are cut and told: what is one and the same for all models."""

    size: int
    batch_size: int  # of each process
    level: str  # of the captions
    tokenize: pipeline.Tokenize


def batches(selection: Selection, colorizer: Colorizer, level: str) -> Iterator[Batch]:
    """The selected pictures at the colorizer's size, with captions of a level of detail."""
    frame = Frame(colorizer.image_size, colorizer.batch_size, level, colorizer.tokenize)
    return read(selection, frame)


def read(selection: Selection, frame: Frame, share: Share = Share()) -> Iterator[Batch]:
    """The selected pictures, or this process's share of them.

    A process's batches hold what those of a single process would: nothing is rounded otherwise.
    """
    padded = pipeline.eval_batches(
        selection.directory,
        selection.split,
        size=frame.size,
        batch_size=frame.batch_size * share.of,
        level=frame.level,
        tokenize=frame.tokenize,
        limit=selection.limit,
        crop=selection.crop,
        process_index=share.number,
        process_count=share.of,
    )
    first = share.number * frame.batch_size
    for batch in padded:
        count = int(batch["weights"].sum())
        if not count:
            return
        yield Batch(
            batch["image"][:count].astype(np.float32) / 255.0,
            np.arange(first, first + count, dtype=np.uint32),
            batch["input_ids"][:count],
            batch["captions"][:count],
            batch["labels"][:count],
            batch["keys"][:count],
        )
        first += frame.batch_size * share.of


def at(selection: Selection, frame: Frame, places: Sequence[int]) -> Batch:
    """The pictures at some places of the split, as `read` gives them."""
    source = records.open_split(selection.directory, selection.split)
    chosen = [records.Record.unpack(data) for data in source.__getitems__(list(places))]
    images = [
        transforms.for_evaluation(transforms.decode(record.image), frame.size, selection.crop)
        for record in chosen
    ]
    texts = [captions.fixed(record.captions, frame.level) for record in chosen]
    return Batch(
        np.stack(images).astype(np.float32) / 255.0,
        np.asarray(places, np.uint32),
        frame.tokenize(texts),
        texts,
        [record.label for record in chosen],
        [record.key for record in chosen],
    )


def coloured(
    colorizer: Colorizer,
    lightness: Float[np.ndarray, "n h w 1"],
    input_ids: Int32[np.ndarray, "n tokens"],
    seeds: UInt32[np.ndarray, " n"],
    spans: Bool[np.ndarray, "n k tokens"] | None = None,
) -> Float[np.ndarray, "n h w 3"]:
    """Raw outputs in [-1,1] for pictures of a size that the model works at."""
    return colorizer(Pictures(lightness[..., 0], input_ids, seeds, spans=spans))


def seeds_of(places: UInt32[np.ndarray, " n"], seed: int = 0) -> UInt32[np.ndarray, " n"]:
    """A seed for each picture by its place in the split: one noise for all would be one sample."""
    folded = jax.vmap(functools.partial(jax.random.fold_in, jax.random.key(seed)))(places)
    return np.asarray(jax.vmap(jax.random.bits)(folded))


def shown(
    raw: Float[np.ndarray, "n h w 3"], lightness: Float[np.ndarray, "n h w 1"]
) -> Float[np.ndarray, "n h w 3"]:
    """A decoded picture in [0,1] as people see it: with the input's lightness."""
    image: np.ndarray = color.with_lightness(np.clip(color.to_unit(raw), 0.0, 1.0), lightness)
    return image


def phrase_spans(tokenize: Tokenizer, texts: Sequence[str]) -> Bool[np.ndarray, "n k tokens"]:
    """The tokens of each caption's phrases; a caption without any has padding only."""
    rows = [list(_spans_within(tokenize, text)) for text in texts]
    spans = np.zeros((len(texts), max(map(len, rows)) or 1, tokenize.max_length), bool)
    for places, row in zip(spans, rows, strict=True):
        places[: len(row)] = row if row else False
    return spans


def _spans_within(tokenize: Tokenizer, text: str) -> Iterator[Bool[np.ndarray, " tokens"]]:
    """One for each colour phrase that a long caption's tokens still hold."""
    for phrase in phrases.colour_phrases(text):
        try:
            yield phrases.spans(tokenize, text, [text[phrase.start : phrase.stop]])[0]
        except UserError:
            continue
