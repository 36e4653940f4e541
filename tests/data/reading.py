"""Small records whose captions are their numbers, and what is read of them."""

import hashlib
from pathlib import Path

import numpy as np

from colorjax.data import pipeline
from colorjax.prepare.planning import Request
from colorjax.prepare.run import prepare
from tests import pictures

COUNT = 301  # with batches of 8, epochs and batches never end together for 301 batches


def write(root: Path) -> Path:
    """Tiny pictures, each with a caption that is its number, over several shards."""
    (root / "raw").mkdir()
    for i in range(COUNT):
        image = pictures.encoded(pictures.pixels(i, 16, 16), "PNG")
        (root / "raw" / f"{i:03d}.png").write_bytes(image)
        (root / "raw" / f"{i:03d}.txt").write_text(str(i))
    prepare(Request("folder", root / "raw", root / "data", shard_size=80))
    return root / "data"


def numbers(texts):
    return np.array([[int(text)] for text in texts], np.int32)


def open_batches(data, batch_size=8, seed=5, **options):
    return pipeline.train_batches(
        data,
        "train",
        size=12,
        batch_size=batch_size,
        seed=seed,
        tokenize=numbers,
        scarce_share=0.0,
        drop_share=0.0,
        **options,
    )


def take(batches, count) -> list[tuple[bytes, list[int]]]:
    """A digest of the pictures and the records' numbers, for each batch."""
    taken = []
    for _ in range(count):
        batch = next(batches)
        digest = hashlib.sha256(batch["image"].tobytes()).digest()
        taken.append((digest, batch["input_ids"][:, 0].tolist()))
    batches.close()
    return taken
