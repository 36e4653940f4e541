"""Pictures side by side, as one PNG. NumPy only."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image as PillowImage

GAP = 2


def to_bytes(image: Float[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """[-1,1] to 0..255, rounded; what lies outside is clamped."""
    return np.round((np.clip(np.asarray(image), -1.0, 1.0) + 1.0) * 127.5).astype(np.uint8)


def save_grid(
    path: Path, columns: Mapping[str, Float[np.ndarray, "b h w 3"]], scale: int = 1
) -> None:
    """One row per picture, one column per entry in the order given, on white; names go nowhere."""
    columns_as_bytes = [to_bytes(column) for column in columns.values()]
    pad = ((0, 0), (0, GAP), (0, GAP), (0, 0))
    padded = [np.pad(column, pad, constant_values=255) for column in columns_as_bytes]
    rows = np.concatenate(padded, axis=2)
    sheet = rows.reshape(-1, *rows.shape[2:])
    picture = PillowImage.fromarray(sheet)
    size = (picture.width * scale, picture.height * scale)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.resize(size, PillowImage.Resampling.NEAREST).save(path)
