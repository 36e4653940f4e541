"""Several pictures of one photograph on a sheet."""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw

from colorjax.colorize.chroma import recombine
from colorjax.data.rows import Rows

TILE, LABEL, GAP = 192, 16, 6  # in pixels
COLUMNS = 3


def row(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures of one size side by side, as deep as they are."""
    return np.concatenate(pictures, axis=1)


def tile_of(lightness: Float[np.ndarray, "H W"] | Rows) -> Float[np.ndarray, "h w"]:
    """A photograph's lightness at the size of a tile."""
    shrink = min(1.0, TILE / max(lightness.shape))
    height, width = (max(1, round(side * shrink)) for side in lightness.shape)
    return recombine.to_model_size(lightness, height, width)


def sheet(pictures: Sequence[np.ndarray], labels: Sequence[str]) -> np.ndarray:
    """Pictures of one size made small, 8 bits deep, with a line of text under each, on white."""
    tiles = [_small(picture) for picture in pictures]
    height, width = tiles[0].shape[:2]
    down, across = height + LABEL + GAP, max(width, TILE // 2) + GAP
    columns = min(COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    page = Image.new("RGB", (columns * across - GAP, rows * down - GAP), "white")
    draw = ImageDraw.Draw(page)
    for i, (tile, label) in enumerate(zip(tiles, labels, strict=True)):
        left, top = i % columns * across, i // columns * down
        shown = Image.fromarray(tile)
        page.paste(shown, (left, top), shown if shown.mode == "RGBA" else None)
        draw.text((left + 2, top + height + 2), label, fill="black")
    return np.asarray(page)


def _small(picture: np.ndarray) -> np.ndarray:
    shrink = min(1.0, TILE / max(picture.shape[:2]))
    if shrink < 1.0:
        size = [max(1, round(side * shrink)) for side in picture.shape[1::-1]]
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return (picture >> 8).astype(np.uint8) if picture.dtype == np.uint16 else picture
