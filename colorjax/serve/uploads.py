"""What clients send: photographs, masks and strokes, decoded within limits."""

import contextlib
import io
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from colorjax.errors import UserError, first_line

PREFIX = "colorjax-serve-"  # of temporary folders
_MOST_POINTS = 2**20  # characters of hints as JSON


def remove_left_overs() -> None:
    """Removes what a process that was killed has left; one that runs has files for moments only."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            shutil.rmtree(folder)


@contextlib.contextmanager
def photograph(data: bytes) -> Iterator[Path]:
    """A photograph as a file, which is gone afterwards: readers of metadata want one.

    Sentences about it do not tell its place on this machine.
    """
    with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
        path = Path(folder, "photograph")
        path.write_bytes(data)
        try:
            yield path
        except UserError as error:
            raise UserError(str(error).replace(f"'{path}'", "the photograph")) from None


def edit_mask(data: bytes, most_pixels: int) -> np.ndarray:
    """A mask as image clients send it: a PNG that is transparent where colours are wanted.

    Returns:
        [h,w] in [0,1], 1 where they are wanted.

    Raises:
        UserError: it is no PNG with transparency, or too large.
    """
    picture = _png(data, most_pixels, "the mask")
    if not picture.has_transparency_data:
        raise UserError(
            "the mask has no transparency; it is a PNG that is transparent where the photograph "
            "shall be coloured"
        )
    alpha = np.asarray(picture.getchannel("A"))
    return np.float32(1.0) - alpha / np.float32(255.0)


def layers(files: Sequence[bytes], most_pixels: int) -> np.ndarray:
    """A mask for each phrase: PNGs of one size that are white, or opaque, where the phrase is.

    Returns:
        [k,h,w] in [0,1].

    Raises:
        UserError: one is no PNG or too large, or they differ in size.
    """
    masks = []
    for number, data in enumerate(files, 1):
        picture = _png(data, most_pixels // len(files), f"layer {number}")
        is_drawn = picture.has_transparency_data
        shown = picture.getchannel("A") if is_drawn else picture.convert("L")
        masks.append(np.asarray(shown) / np.float32(255.0))
    if len({mask.shape for mask in masks}) > 1:
        raise UserError("the layers have different sizes; all must be of the same picture")
    return np.stack(masks)


def strokes(data: bytes, most_pixels: int) -> Image.Image:
    """Strokes as a PNG that is transparent where there are none, see `colorize.hints.read`.

    Raises:
        UserError: it is no PNG, or too large.
    """
    return _png(data, most_pixels, "the picture of strokes")


def _png(data: bytes, most_pixels: int, name: str) -> Image.Image:
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
            if picture.width * picture.height > most_pixels:
                raise UserError(f"{name} has more than {most_pixels / 1e6:g} megapixels")
            picture.load()
            # Here, since tables of transparency may be longer than those of colours.
            return picture.convert("RGBA") if picture.has_transparency_data else picture
    except UserError:
        raise
    except UnidentifiedImageError:
        raise UserError(f"{name} is no PNG that can be read") from None
    except Exception as error:  # broken files leave Pillow in many ways
        raise UserError(f"{name} is no PNG that can be read ({first_line(error)})") from None


def points(text: str) -> Any:
    """Hints as JSON: a list of objects with x, y and color, see `colorize.hints.read`.

    Raises:
        UserError: it is no JSON.
    """
    try:
        if len(text) > _MOST_POINTS:
            raise ValueError("it is too long")
        value = json.loads(text)
        if not isinstance(value, list):  # a text would be a path of this machine
            raise ValueError("it is something else")
        return value
    except (ValueError, RecursionError) as error:
        raise UserError(f"hints are no list of points in JSON ({first_line(error)})") from None
