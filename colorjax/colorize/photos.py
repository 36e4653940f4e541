"""Photographs, read in whatever mode they come and written without half files.

What naive readers get wrong and this one does not: 16-bit scans keep their precision (Pillow's
own conversion clips them to white), EXIF orientation is applied, embedded profiles are converted
to sRGB, transparency is laid on white, and anything that is not a picture is one sentence.
"""

import functools
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image, UnidentifiedImageError

from colorjax import files
from colorjax.data import decoding
from colorjax.errors import UserError, first_line

Source = str | os.PathLike[str] | Image.Image | np.ndarray  # what a photograph comes as

# A whitelist: Pillow's rarer decoders (PSD, FITS, EPS, ...) are more surface than use.
FORMATS = decoding.FORMATS | {
    **dict.fromkeys((".ppm", ".pgm", ".pbm", ".pnm"), "PPM"),
    ".jp2": "JPEG2000",
    ".avif": "AVIF",
}
OUTPUT_SUFFIXES = (".png", ".jpg", ".jpeg")
_MIN_SIDE = 8
_COLOUR_ABOVE = 2.5 / 255.0  # what a JPEG of a gray picture differs by between its channels


@dataclass(frozen=True)
class Photo:
    """A photograph upright, in sRGB: `rgb` in [0,1]; `is_colour` says if its channels differ by
    more than a JPEG of a gray picture's do (2 of 255).

    `exif` is what `save_photo` carries over (orientation and layout removed, as they no longer
    hold), `format` is Pillow's name of the file's format.
    """

    rgb: Float[np.ndarray, "h w 3"]
    is_colour: bool
    exif: bytes
    format: str


def read(source: Source) -> Photo:
    """A photograph from a file, a picture of Pillow's or an array.

    An array is uint8, or of fractions in [0,1]; its shape is [h,w], [h,w,1] or [h,w,3].

    Raises:
        UserError: it cannot be read, or is no photograph; see `load_photo`.
    """
    if isinstance(source, Image.Image):
        return _in_memory(source)
    if isinstance(source, str | os.PathLike):
        return load_photo(source)
    return _photo(_rgb(source), b"", "array")


def _in_memory(picture: Image.Image) -> Photo:
    _check_size("the picture", *picture.size)
    try:
        # A copy, because decoding takes tags out of the EXIF that a picture keeps.
        return _photo(*decoding.decode(None, picture.copy()), str(picture.format))
    except Exception as error:  # a truncated file is only noticed now
        raise UserError(f"the picture cannot be read ({first_line(error)})") from error


def name_of(source: Source) -> str:
    """What a photograph is called in messages and settings: its path, or what it is."""
    if isinstance(source, str | os.PathLike):
        return str(source)
    return "a picture" if isinstance(source, Image.Image) else "an array"


def _rgb(array: Any) -> Float[np.ndarray, "h w 3"]:
    values = np.asarray(array)
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3 or values.shape[-1] not in (1, 3):
        raise UserError(
            f"the array has shape {np.shape(array)}; a photograph has [h,w], [h,w,1] or [h,w,3]"
        )
    _check_size("the array", *values.shape[1::-1])
    if values.dtype == np.uint8:
        values = values.astype(np.float32) / np.float32(255.0)
    elif values.dtype.kind != "f":
        raise UserError(f"the array holds {values.dtype}; give uint8, or fractions in [0,1]")
    if not (values.min() >= 0.0 and values.max() <= 1.0):  # NaN is in no order
        raise UserError(
            f"the array goes from {values.min():g} to {values.max():g}; fractions are in [0,1]"
        )
    return np.ascontiguousarray(np.broadcast_to(values, (*values.shape[:2], 3)), np.float32)


def _photo(rgb: Float[np.ndarray, "h w 3"], exif: bytes, format: str) -> Photo:
    spread = np.abs(rgb[..., 1:] - rgb[..., :1]).max()
    return Photo(rgb, bool(spread > _COLOUR_ABOVE), exif, format)


def load_photo(path: str | os.PathLike[str]) -> Photo:
    """Reads a picture of any mode and depth; of an animation or a multi-page file, the first.

    Raises:
        UserError: it cannot be read, has more than 64 megapixels (checked before anything is
            decoded: a 20 kB file may unpack to gigabytes) or a side below 8 pixels.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"'{path}' does not exist; check the path of the picture.")
    if not path.is_file():
        raise UserError(f"'{path}' is not a file; give the path of a picture.")
    if path.stat().st_size == 0:
        raise _unreadable(path, "the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a mended EXIF block is no reason to refuse
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=tuple(dict.fromkeys(FORMATS.values()))) as picture:
                _check_size(f"'{path}'", *picture.size)
                return _photo(*decoding.decode(path, picture), str(picture.format))
    except (UserError, MemoryError):
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise UserError(f"'{path}' has more than 64 megapixels; make it smaller.") from error
    except PermissionError as error:
        raise UserError(f"'{path}' may not be read by you; check its permissions.") from error
    except UnidentifiedImageError as error:
        raise _unreadable(path, "its content is no known image format") from error
    # Broken files leave Pillow as OSError, ValueError, SyntaxError, struct.error and a few more.
    except Exception as error:
        raise _unreadable(path, first_line(error)) from error


def _unreadable(path: Path, why: str) -> UserError:
    return UserError(
        f"'{path}' is not a picture that can be read ({why.rstrip('.')}); "
        "give an undamaged PNG, JPEG, TIFF, WebP, BMP or GIF file."
    )


def _check_size(what: str, width: int, height: int) -> None:
    if width * height > decoding.MAX_PIXELS:
        raise UserError(
            f"{what} is {width} x {height} pixels, more than 64 megapixels; make it smaller."
        )
    if min(width, height) < _MIN_SIDE:
        raise UserError(
            f"{what} is {width} x {height} pixels; both sides must be at least {_MIN_SIDE}."
        )


def to_picture(rgb: Float[np.ndarray, "h w 3"]) -> Image.Image:
    """sRGB in [0,1] as an 8-bit picture; what lies outside is clamped."""
    levels = np.round(np.clip(rgb, 0.0, 1.0) * np.float32(255.0))
    return Image.fromarray(levels.astype(np.uint8))


def save_photo(
    path: str | os.PathLike[str],
    photo: Float[np.ndarray, "h w 3"] | Image.Image,
    exif: bytes = b"",
    quality: int = 95,
) -> None:
    """Writes sRGB in [0,1], or a picture, as 8-bit PNG or JPEG (4:4:4, `quality` 1..95).

    The file has the given EXIF and appears complete or not at all, and its folder is made.

    Raises:
        UserError: the suffix is another one, or the disk refuses.
    """
    path = Path(path)
    if path.suffix.lower() not in OUTPUT_SUFFIXES:
        raise UserError(f"'{path}' cannot be written; end its name in .png, .jpg or .jpeg.")
    picture = photo if isinstance(photo, Image.Image) else to_picture(photo)
    options: dict[str, Any] = {"format": "PNG"}
    if path.suffix.lower() != ".png":
        options = {"format": "JPEG", "quality": quality, "subsampling": 0}
    if exif:
        options["exif"] = exif
    try:
        files.replace(path, functools.partial(picture.save, **options))
    except (OSError, ValueError) as error:
        raise UserError(f"'{path}' cannot be written ({error}); choose another place.") from error
