"""Pictures written whole or not at all, with metadata and a note of what made them."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image, UnidentifiedImageError

from colorjax import files
from colorjax.colorize.chroma import recombine
from colorjax.colorize.files import comment, encoding, rowwise, statement
from colorjax.colorize.files.metadata import EXIF, NOTE, XMP, Metadata
from colorjax.colorize.files.statement import Note
from colorjax.data import bounds
from colorjax.data.rows import Rows
from colorjax.errors import UserError

OUTPUT_SUFFIXES = tuple(encoding.SUFFIXES)
SUFFIXES_TOLD = ".png, .jpg, .webp, .tif or .avif"
_HEAD = 1 << 18  # of a PNG or JPEG, where the note is: behind segments of 64 kB each
_TRANSPARENT = ("RGBA", "LA", "PA", "La", "RGBa")


def to_picture(rgb: Float[np.ndarray, "h w 3"]) -> Image.Image:
    """sRGB in [0,1] as an 8-bit picture; what lies outside is clamped."""
    return Image.fromarray(recombine.quantized(rgb, np.uint8))


def save_photo(
    path: str | os.PathLike[str],
    photo: np.ndarray | Rows | Image.Image,
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
        photo: levels as `encoding.encoded` takes them, or rows of such, which are written one after
            another where the format can be; sRGB in [0,1]; or a picture of Pillow's.
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
        if isinstance(photo, Rows) and rowwise.writes(suffix):
            return _save_rows(path, photo, content)
        data, lost = encoding.encoded(_levels(photo), suffix, content)
        files.write_bytes(path, data)
    except (OSError, ValueError) as error:
        raise UserError(f"'{path}' cannot be written ({error}); choose another place.") from error
    return lost


def _save_rows(path: Path, rows: Rows, content: encoding.Content) -> tuple[str, ...]:
    suffix = path.suffix.lower()
    lost: list[str] = []
    files.replace(path, lambda partial: lost.extend(rowwise.write(partial, rows, suffix, content)))
    return tuple(lost)


def encoded(
    suffix: str,
    photo: np.ndarray | Image.Image,
    carried: Metadata,
    quality: int = encoding.QUALITY,
    note: Note | None = None,
) -> encoding.Encoded:
    """The bytes of the file that `save_photo` writes under a name that ends so.

    Raises:
        UserError: the suffix is another one, or the format has no place for so large a picture.
    """
    if suffix not in OUTPUT_SUFFIXES:
        raise UserError(f"{suffix!r} is no format to write; take {SUFFIXES_TOLD}")
    content = encoding.Content(carried, note, quality, b"")
    try:
        return encoding.encoded(_levels(photo), suffix, content)
    except ValueError as error:
        raise UserError(f"the picture cannot be written as {suffix} ({error})") from error


def note_of(path: Path) -> Note | None:
    """What `save_photo` noted in a file; None if it is no result, or not readable."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return None
    if head.startswith(bounds.PNG_SIGNATURE):
        texts = _texts_of_png(head)
    elif head.startswith(bounds.JPEG_SIGNATURE):
        texts = _texts_of_jpeg(head)
    else:
        texts = _texts_of_other(path)
    notes = (statement.parsed(text) for text in texts)
    return next((note for note in notes if note is not None), None)


def _texts_of_png(head: bytes) -> Iterator[str]:
    for _, content in bounds.png_chunks(head):
        if content.startswith(NOTE + b"\0"):
            yield content[len(NOTE) + 1 :].decode("latin-1")


def _texts_of_jpeg(head: bytes) -> Iterator[str]:
    """Of EXIF and XMP, and of the comment, which earlier versions wrote."""
    for kind, start, end in bounds.jpeg_segments(head):
        content = head[start:end]
        if kind == 0xE1 and content.startswith(EXIF):
            yield comment.text_in(content[len(EXIF) :])
        elif kind == 0xE1 and content.startswith(XMP):
            yield statement.note_in(content[len(XMP) :])
        elif kind == 0xFE and content.startswith(NOTE + b" {"):
            yield content[len(NOTE) + 1 :].decode("latin-1")


def _texts_of_other(path: Path) -> Iterator[str]:
    """Of XMP and EXIF of a file of another kind than PNG and JPEG."""
    try:
        with Image.open(path, formats=("TIFF", "WEBP", "AVIF")) as picture:
            xmp: Any = picture.info.get("xmp", b"")
            yield statement.note_in(xmp if isinstance(xmp, bytes) else str(xmp).encode())
            said = picture.getexif().get_ifd(comment.DIRECTORY).get(comment.TAG, b"")
            yield comment.decoded(said) if isinstance(said, bytes) else ""
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError):
        return


def _levels(photo: np.ndarray | Rows | Image.Image) -> np.ndarray:
    if isinstance(photo, Rows):
        return np.asarray(photo)
    if isinstance(photo, Image.Image):
        has_alpha = photo.mode in _TRANSPARENT or photo.has_transparency_data
        return np.asarray(photo.convert("RGBA" if has_alpha else "RGB"))
    return photo if photo.dtype.kind == "u" else recombine.quantized(photo, np.uint8)
