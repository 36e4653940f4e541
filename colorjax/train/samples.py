"""Pictures side by side, as one PNG. NumPy only."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image as PillowImage

from colorjax.devices import processes
from colorjax.maths import color
from colorjax.train.stages.stage import Batch

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


def save_samples(path: Path, columns: dict[str, Any], examples: Batch) -> None:
    """gray | truth | what the stage predicts, eight pictures."""
    if not columns or not processes.is_first():
        return
    truth = np.asarray(examples["image"], np.float32) / 127.5 - 1.0
    gray = color.with_lightness(np.zeros_like(truth), color.lightness((truth + 1.0) / 2.0))
    gray = gray * 2.0 - 1.0
    shown = {"gray": gray, "truth": truth} | {k: np.asarray(v) for k, v in columns.items()}
    size = truth.shape[1]
    save_grid(path, {k: v[:8] for k, v in shown.items()}, scale=max(1, 64 // size))
