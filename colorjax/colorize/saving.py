"""Pictures written as PNG or JPEG, with metadata and a note of what made them; no half files."""

import json
import os
import zlib
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from colorjax import files
from colorjax.colorize.metadata import (
    EXIF,
    NOTE,
    PHOTOSHOP,
    PNG_IPTC,
    PNG_XMP,
    XMP,
    Density,
    Metadata,
    text_of,
)
from colorjax.data import bounds
from colorjax.errors import UserError

Note = Mapping[str, Any]
OUTPUT_SUFFIXES = (".png", ".jpg", ".jpeg")
_STRIP_ROWS = 256
_HEAD = 1 << 16  # of a file, where the note is
_MOST = 65_533  # bytes of a JPEG's segment


def to_picture(rgb: Float[np.ndarray, "h w 3"]) -> Image.Image:
    """sRGB in [0,1] as an 8-bit picture; what lies outside is clamped."""
    levels = np.empty(rgb.shape, np.uint8)
    for top in range(0, len(rgb), _STRIP_ROWS):
        strip = slice(top, top + _STRIP_ROWS)
        levels[strip] = np.round(np.clip(rgb[strip], 0.0, 1.0) * np.float32(255.0))
    return Image.fromarray(levels)


def save_photo(
    path: str | os.PathLike[str],
    photo: Float[np.ndarray, "h w 3"] | Image.Image,
    carried: Metadata | None = None,
    quality: int = 95,
    note: Note | None = None,
) -> None:
    """Writes sRGB in [0,1], or a picture, as 8-bit PNG or JPEG (4:4:4, `quality` 1..95).

    The file has the carried metadata and a note of what made it, which `note_of` finds.
    It appears complete or not at all, and its folder is made.

    Raises:
        UserError: the suffix is another one, or the disk refuses.
    """
    path = Path(path)
    if path.suffix.lower() not in OUTPUT_SUFFIXES:
        raise UserError(f"'{path}' cannot be written; end its name in .png, .jpg or .jpeg.")
    picture = photo if isinstance(photo, Image.Image) else to_picture(photo)
    try:
        data = _encoded(picture, path.suffix.lower(), carried or Metadata(), note, quality)
        files.write_bytes(path, data)
    except (OSError, ValueError) as error:
        raise UserError(f"'{path}' cannot be written ({error}); choose another place.") from error


def note_of(path: Path) -> Note | None:
    """What `save_photo` noted in a file; None if it is no result, or not readable."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return None
    text = b""
    if head.startswith(bounds.PNG_SIGNATURE):
        kept = (chunk for chunk in bounds.png_chunks(head) if chunk[1].startswith(NOTE + b"\0"))
        text = next(kept, (b"", b""))[1][len(NOTE) + 1 :]
    elif head.startswith(bounds.JPEG_SIGNATURE):
        segments = (
            head[start:end] for kind, start, end in bounds.jpeg_segments(head) if kind == 0xFE
        )
        text = next((part for part in segments if part.startswith(NOTE + b" {")), b"")
        text = text[len(NOTE) + 1 :]
    try:
        note = json.loads(text)
    except ValueError:
        return None
    return note if isinstance(note, dict) else None


def _encoded(
    picture: Image.Image, suffix: str, metadata: Metadata, note: Note | None, quality: int
) -> bytes:
    """The bytes of a PNG, or of a JPEG (4:4:4, quality 1..95) if the suffix says so."""
    buffer = BytesIO()
    fitted = metadata.fitted(*picture.size)
    if suffix == ".png":
        picture.save(buffer, "PNG")
        return _png(buffer.getvalue(), fitted, note)
    picture.save(buffer, "JPEG", quality=quality, subsampling=0)
    return _jpeg(buffer.getvalue(), fitted, note)


def _png(data: bytes, metadata: Metadata, note: Note | None) -> bytes:
    chunks = []
    if note is not None:
        chunks.append((b"tEXt", NOTE + b"\0" + json.dumps(note, sort_keys=True).encode("ascii")))
    if metadata.density is not None:
        chunks.append((b"pHYs", _physical(metadata.density)))
    if metadata.exif:
        chunks.append((b"eXIf", metadata.exif))
    if metadata.xmp:
        chunks.append((b"iTXt", PNG_XMP + bytes(5) + metadata.xmp))
    if metadata.resources:
        chunks.append((b"zTXt", PNG_IPTC + bytes(2) + zlib.compress(_hex(metadata.resources))))
    chunks += [_comment(text) for text in metadata.comments]
    chunks += metadata.texts
    start = len(bounds.PNG_SIGNATURE) + 25  # behind IHDR
    return data[:start] + b"".join(bounds.png_chunk(*chunk) for chunk in chunks) + data[start:]


def _comment(text: bytes) -> tuple[bytes, bytes]:
    """A chunk of a JPEG's comment, whose encoding nobody says."""
    text = text.rstrip(b"\0")
    try:
        text.decode()
    except UnicodeDecodeError:
        return b"tEXt", b"Comment\0" + text
    return b"iTXt", b"Comment" + bytes(5) + text


def _physical(density: Density) -> bytes:
    sides = (density.across, density.down)
    body = b"".join(min(round(side), 2**31 - 1).to_bytes(4, "big") for side in sides)
    return body + bytes([density.per_metre])


def _hex(content: bytes) -> bytes:
    digits = content.hex()
    lines = [digits[i : i + 72] for i in range(0, len(digits), 72)]
    return "\n".join(["", "iptc", f"{len(content):8d}", *lines, ""]).encode("ascii")


def _jpeg(data: bytes, metadata: Metadata, note: Note | None) -> bytes:
    segments = []
    if note is not None:
        segments.append((0xFE, NOTE + b" " + json.dumps(note, sort_keys=True).encode("ascii")))
    if metadata.exif:
        segments.append((0xE1, EXIF + metadata.exif))
    if metadata.xmp:
        segments.append((0xE1, XMP + metadata.xmp))
        segments += [(0xE1, more) for more in metadata.more_xmp]
    step = _MOST - len(PHOTOSHOP)
    for at in range(0, len(metadata.resources), step):
        segments.append((0xED, PHOTOSHOP + metadata.resources[at : at + step]))
    segments += [(0xFE, comment) for comment in metadata.comments]
    for keyword, text in map(text_of, metadata.texts):
        segments.append((0xFE, text if keyword == b"Comment" else keyword + b": " + text))
    head = bytearray(data[:20])  # the start and the JFIF segment
    if metadata.density is not None:
        head[13:18] = _jfif(metadata.density)
    # What is longer than a segment there is no place for.
    written = [
        bytes((0xFF, marker)) + (len(content) + 2).to_bytes(2, "big") + content
        for marker, content in segments
        if len(content) <= _MOST
    ]
    return bytes(head) + b"".join(written) + data[20:]


def _jfif(density: Density) -> bytes:
    scale = 0.0254 if density.per_metre else 1.0
    sides = (min(max(round(side * scale), 1), 65535) for side in (density.across, density.down))
    return bytes([density.per_metre]) + b"".join(side.to_bytes(2, "big") for side in sides)
