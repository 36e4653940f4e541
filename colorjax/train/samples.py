"""What a stage makes of its examples, beside the truth, as one PNG."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image as PillowImage

from colorjax.devices import processes
from colorjax.maths import color
from colorjax.train.stages.stage import Batch

GAP = 2  # pixels of white to the right of a picture and below it
ROWS = 8


def save_grid(
    path: Path, columns: Mapping[str, Float[np.ndarray, "b h w 3"]], scale: int = 1
) -> None:
    """One row per picture, one column per entry in their order, on white; names go nowhere."""
    pad = ((0, 0), (0, GAP), (0, GAP), (0, 0))
    padded = [np.pad(color.to_bytes(one), pad, constant_values=255) for one in columns.values()]
    rows = np.concatenate(padded, axis=2)
    picture = PillowImage.fromarray(rows.reshape(-1, *rows.shape[2:]))
    size = (picture.width * scale, picture.height * scale)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.resize(size, PillowImage.Resampling.NEAREST).save(path)


def save_samples(path: Path, columns: Mapping[str, Any], examples: Batch) -> None:
    """Saves a grid of gray, truth and what the stage predicts, if it predicts pictures."""
    if not columns or not processes.is_first():
        return
    truth = color.from_bytes(np.asarray(examples["image"]))
    gray = color.with_lightness(np.zeros_like(truth), color.lightness(color.to_unit(truth)))
    predicted = {name: np.asarray(column, np.float32) for name, column in columns.items()}
    shown = {"gray": color.from_unit(gray), "truth": truth} | predicted
    # Pictures of the small model would be stamps.
    scale = max(1, 64 // truth.shape[1])
    save_grid(path, {name: column[:ROWS] for name, column in shown.items()}, scale)
