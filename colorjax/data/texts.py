"""Text states that were made once, before training: what a caption's tokens are to the UNet.

Beside the shards of a split stand two arrays, `texts-SPLIT.keys.npy`, sorted 64-bit digests of the
token ids of every sentence that training can draw, and `texts-SPLIT.states.npy`, the text encoder's
last hidden states in the same order, in float32. The manifest says which text encoder's. They are
looked up by ids, not by words: another vocabulary has other ids and finds nothing.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32, UInt64

from colorjax import files
from colorjax.data import captions, phrases, records
from colorjax.errors import UserError

SECTION = "texts"  # of a manifest
BATCH = 64  # sentences that are encoded at a time

Tokenize = Callable[[Sequence[str]], Int32[np.ndarray, "b n"]]
Encode = Callable[[Int32[np.ndarray, "b n"]], Float32[np.ndarray, "b n d"]]


class Cache(NamedTuple):
    """What a split's cached text states are of."""

    sha256: str  # of the text encoder's file in its release
    sentences: int  # different ones, by their tokens


def of_split(directory: str | Path, split: str) -> Cache | None:
    """What a prepared directory says of a split's text states; None if it has none.

    Raises:
        UserError: the manifest is missing or damaged.
    """
    section = records.read_manifest(directory).get(SECTION, {}).get(split)
    return None if section is None else Cache(section["sha256"], section["sentences"])


def names(split: str) -> tuple[str, str]:
    """The files of a split: keys and states."""
    return f"texts-{split}.keys.npy", f"texts-{split}.states.npy"


class States:
    """Random access to a split's text states, which stay on the disk."""

    def __init__(self, directory: str | Path, split: str) -> None:
        """Opens the files.

        Raises:
            UserError: one of them is missing or damaged.
        """
        self._directory = directory
        try:
            self._keys, self._states = (
                np.load(Path(directory) / name, mmap_mode="r") for name in names(split)
            )
        except (OSError, ValueError):
            records.verify(directory)
            raise

    def __call__(self, ids: Int32[np.ndarray, "b n"]) -> Float32[np.ndarray, "b n d"]:
        """The states of sentences by their token ids.

        Raises:
            UserError: a sentence is not among those that were cached.
        """
        wanted = digests(ids)
        places = np.searchsorted(self._keys, wanted)
        places = np.minimum(places, len(self._keys) - 1)
        if not np.array_equal(self._keys[places], wanted):
            raise UserError(
                f"a caption has no text states in '{self._directory}', by its tokens: they were "
                "made with another tokenizer or of other captions; cache them again by python -m "
                "colorjax.prepare --cache=latents --model=RELEASE, with this run's release"
            )
        return np.asarray(self._states[places])


def digests(ids: Int32[np.ndarray, "b n"]) -> UInt64[np.ndarray, "b"]:
    """A 64-bit digest of each row of token ids."""
    rows = np.ascontiguousarray(ids, "<i4")
    hashed = [hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in rows]
    return np.frombuffer(b"".join(hashed), "<u8").astype(np.uint64)


def drawn(of_record: dict[str, list[str]]) -> Iterator[str]:
    """Every sentence that `captions.sample` can draw for a record, besides the generic ones."""
    for level in ("complete", "partial"):
        yield from of_record.get(level, ())
    if not of_record.get("partial"):
        for sentence in of_record.get("complete", ()):
            yield from phrases.partials(sentence)


def write(
    directory: Path, split: str, rows: Iterable[records.Record], tokenize: Tokenize, encode: Encode
) -> tuple[int, dict[str, str]]:
    """Writes the files of a split; returns how many sentences there are, and the files' SHA-256.

    Raises:
        UserError: the disk refused something.
    """
    sentences = {"", *captions.SCARCE}
    for record in rows:
        sentences.update(drawn(record.captions))
    texts = sorted(sentences)
    ids = np.concatenate([tokenize(texts[i : i + BATCH]) for i in range(0, len(texts), BATCH)])
    keys, first = np.unique(digests(ids), return_index=True)
    ids = ids[first]
    assert len(keys) == len(np.unique(ids, axis=0)), "two sentences have one digest"
    width = encode(ids[:1]).shape[-1]

    def write_states(path: Path) -> None:
        shape = (*ids.shape, width)
        states = np.lib.format.open_memmap(path, "w+", np.float32, shape)
        for i in range(0, len(ids), BATCH):
            part = ids[i : i + BATCH]
            filled = np.concatenate([part, np.repeat(part[:1], BATCH - len(part), axis=0)])
            states[i : i + len(part)] = encode(filled)[: len(part)]
        states.flush()

    def write_keys(path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, keys)

    made = names(split)
    for name, write_file in zip(made, (write_keys, write_states), strict=True):
        files.replace(directory / name, write_file)
    return len(keys), {name: records.sha256(directory / name) for name in made}
