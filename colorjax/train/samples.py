"""What a stage shows of its examples, as one PNG."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image as PillowImage

from colorjax import files
from colorjax.devices import processes
from colorjax.maths import color

GAP = 2  # pixels of white to the right of a picture and below it
ROWS = 8
SHOWN = ("gray", "truth")  # columns of the samples that are no output


def save_grid(
    path: Path, columns: Mapping[str, Float[np.ndarray, "b h w 3"]], scale: int = 1
) -> None:
    """Writes a PNG: a row per picture, a column per entry in their order, on white, unnamed."""
    pad = ((0, 0), (0, GAP), (0, GAP), (0, 0))
    padded = [np.pad(color.to_bytes(one), pad, constant_values=255) for one in columns.values()]
    rows = np.concatenate(padded, axis=2)
    picture = PillowImage.fromarray(rows.reshape(-1, *rows.shape[2:]))
    size = (picture.width * scale, picture.height * scale)
    encoded = io.BytesIO()
    picture.resize(size, PillowImage.Resampling.NEAREST).save(encoded, "PNG")
    files.write_bytes(path, encoded.getvalue())


def save_samples(path: Path, columns: Mapping[str, Any]) -> None:
    """Saves a grid of what a stage shows of its examples, if it shows pictures.

    Gray and the truth come first, then the others by name: a jitted function returns its
    dictionary sorted, in whatever order it was written.
    """
    if not columns or not processes.is_first():
        return
    names = [name for name in SHOWN if name in columns]
    names += sorted(set(columns) - set(SHOWN))
    rows = {name: np.asarray(columns[name], np.float32)[:ROWS] for name in names}
    width = next(iter(rows.values())).shape[2]
    save_grid(path, rows, scale=max(1, 64 // width))  # pictures of the small model would be stamps
