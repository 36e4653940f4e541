"""Pictures written whole or not at all, with metadata and a note of what made them."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image, UnidentifiedImageError

from colorjax import files
from colorjax.colorize.chroma import recombine
from colorjax.colorize.files import encoding, statement
from colorjax.colorize.files.metadata import NOTE, Metadata
from colorjax.colorize.files.statement import Note
from colorjax.data import bounds
from colorjax.errors import UserError

OUTPUT_SUFFIXES = tuple(encoding.SUFFIXES)
SUFFIXES_TOLD = ".png, .jpg, .webp, .tif or .avif"
_HEAD = 1 << 16  # of a PNG or JPEG, where the note is
_TRANSPARENT = ("RGBA", "LA", "PA", "La", "RGBa")


def to_picture(rgb: Float[np.ndarray, "h w 3"]) -> Image.Image:
    """sRGB in [0,1] as an 8-bit picture; what lies outside is clamped."""
    return Image.fromarray(recombine.quantized(rgb, np.uint8))


def save_photo(
    path: str | os.PathLike[str],
    photo: np.ndarray | Image.Image,
    carried: Metadata | None = None,
    quality: int = encoding.QUALITY,
    note: Note | None = None,
    *,
    profile: bytes = b"",
) -> tuple[str, ...]:
    """Writes a picture in the format that the suffix means.

    The file has the carried metadata and a note of what made it, which `note_of` finds.
    It appears complete or not at all, and its folder is made.

    Args:
        photo: levels as `encoding.encoded` takes them, sRGB in [0,1], or a picture of Pillow's.
        quality: 1..95 of a JPEG (4:4:4), 1..100 of a WebP or AVIF.
        profile: ICC's, that the levels are of; none is sRGB.

    Returns:
        What of the metadata has no place in the format, to be told.

    Raises:
        UserError: the suffix is another one, or the disk refuses.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in OUTPUT_SUFFIXES:
        raise UserError(f"'{path}' cannot be written; end its name in {SUFFIXES_TOLD}.")
    content = encoding.Content(carried or Metadata(), note, quality, profile)
    try:
        data, lost = encoding.encoded(_levels(photo), suffix, content)
        files.write_bytes(path, data)
    except (OSError, ValueError) as error:
        raise UserError(f"'{path}' cannot be written ({error}); choose another place.") from error
    return lost


def note_of(path: Path) -> Note | None:
    """What `save_photo` noted in a file; None if it is no result, or not readable."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return None
    if head.startswith(bounds.PNG_SIGNATURE):
        kept = (chunk for chunk in bounds.png_chunks(head) if chunk[1].startswith(NOTE + b"\0"))
        text = next(kept, (b"", b""))[1][len(NOTE) + 1 :].decode("latin-1")
    elif head.startswith(bounds.JPEG_SIGNATURE):
        segments = (
            head[start:end] for kind, start, end in bounds.jpeg_segments(head) if kind == 0xFE
        )
        said = next((part for part in segments if part.startswith(NOTE + b" {")), b"")
        text = said[len(NOTE) + 1 :].decode("latin-1")
    else:
        text = statement.note_in(_packet(path))
    try:
        note = json.loads(text)
    except ValueError:
        return None
    return note if isinstance(note, dict) else None


def _packet(path: Path) -> bytes:
    """The XMP of a file of another kind than PNG and JPEG."""
    try:
        with Image.open(path, formats=("TIFF", "WEBP", "AVIF")) as picture:
            xmp: Any = picture.info.get("xmp", b"")
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError):
        return b""
    return xmp if isinstance(xmp, bytes) else str(xmp).encode()


def _levels(photo: np.ndarray | Image.Image) -> np.ndarray:
    if isinstance(photo, Image.Image):
        has_alpha = photo.mode in _TRANSPARENT or photo.has_transparency_data
        return np.asarray(photo.convert("RGBA" if has_alpha else "RGB"))
    return photo if photo.dtype.kind == "u" else recombine.quantized(photo, np.uint8)
