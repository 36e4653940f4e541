"""Levels as the bytes of a file, in each format that is written, with metadata and a note."""

import dataclasses
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import Any, NamedTuple

import cv2
import numpy as np
import tifffile
from PIL import Image

from colorjax.colorize.files import comment, exif, statement
from colorjax.colorize.files.metadata import (
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
from colorjax.colorize.files.statement import Note
from colorjax.data import bounds

SUFFIXES = {
    ".png": "PNG",
    **dict.fromkeys((".jpg", ".jpeg"), "JPEG"),
    ".webp": "WEBP",
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    ".avif": "AVIF",
}
DEEP = ("PNG", "TIFF")  # what has 16 bits
QUALITY = 95
TIFF_LEVEL = 6  # of zlib
# Of zlib. 6, the usual, takes twice the time or more: photographs get 5 to 15 % larger by it, and
# only what was enlarged from few pixels 10 % smaller.
PNG_LEVEL = 3
MOST_SEGMENT = 65_533  # bytes of a JPEG's segment
_WEBP_SIDE, _AVIF_SIDE, _JPEG_SIDE = 16_383, 65_536, 65_500
_XMP_TAG, _IPTC_TAG, _PHOTOSHOP_TAG, _ICC_TAG = 700, 33723, 34377, 34675


class Encoded(NamedTuple):
    """A file's bytes, and what of the metadata has no place in it."""

    data: bytes
    lost: tuple[str, ...] = ()


class Content(NamedTuple):
    """What goes into a file beside its levels."""

    metadata: Metadata
    note: Note | None
    quality: int
    profile: bytes


def encoded(levels: np.ndarray, suffix: str, content: Content) -> Encoded:
    """The bytes of a file of the format that a suffix of `SUFFIXES` means.

    Args:
        levels: uint8 or uint16, [h,w,3] or [h,w,4] with alpha; made 8 bits deep and laid on white
            where the format has no more.

    Raises:
        ValueError: a side is longer than the format has.
    """
    kind = SUFFIXES[suffix]
    content = fitted(content, kind, levels.shape)
    if kind not in DEEP and levels.dtype == np.uint16:
        levels = np.round(levels / np.float32(257.0)).astype(np.uint8)
    return _WRITERS[kind](levels, content)


def fitted(content: Content, kind: str, shape: tuple[int, ...]) -> Content:
    """The content for a picture of a shape, with the note in its XMP.

    Raises:
        ValueError: a side is longer than the format has.
    """
    most = {"WEBP": _WEBP_SIDE, "AVIF": _AVIF_SIDE, "JPEG": _JPEG_SIDE}.get(kind)
    height, width = shape[:2]
    if most is not None and max(height, width) > most:
        raise ValueError(f"{kind} has at most {most} pixels a side; take .png or .tif")
    content = content._replace(
        metadata=content.metadata.fitted(width, height, is_srgb=not content.profile)
    )
    if content.note is not None:
        xmp = statement.with_note(content.metadata.xmp, content.note)
        content = content._replace(metadata=dataclasses.replace(content.metadata, xmp=xmp))
    return content


def _png(levels: np.ndarray, content: Content) -> Encoded:
    if levels.dtype == np.uint16:
        swapped = levels[..., [2, 1, 0, 3][: levels.shape[-1]]]
        done, buffer = cv2.imencode(".png", swapped)
        if not done:
            raise ValueError("it cannot be encoded")
        data = buffer.tobytes()
    else:
        data = _by_pillow(levels, "PNG", compress_level=PNG_LEVEL)
    start = len(bounds.PNG_SIGNATURE) + 25  # behind IHDR
    return Encoded(data[:start] + png_chunks(content) + data[start:])


def png_chunks(content: Content) -> bytes:
    """The chunks of a PNG with all that is beside its pixels."""
    metadata = content.metadata
    chunks = []
    if content.note is not None:
        text = statement.as_text(content.note).encode("ascii")
        chunks.append((b"tEXt", NOTE + b"\0" + text))
    if content.profile:
        chunks.append((b"iCCP", b"profile\0\0" + zlib.compress(content.profile)))
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
    return b"".join(bounds.png_chunk(*chunk) for chunk in chunks)


def _jpeg(levels: np.ndarray, content: Content) -> Encoded:
    data = jpeg_data(on_white(levels), content)
    middle, lost = jpeg_segments(content)
    return Encoded(b"".join([jpeg_head(data, content), middle, memoryview(data)[20:]]), lost)


def jpeg_data(levels: np.ndarray, content: Content) -> bytes:
    """A JPEG with nothing but its pixels and their profile."""
    options = {"icc_profile": content.profile} if content.profile else {}
    # Not by simplejpeg, which would need no copy of 4 bytes a pixel: its fast transform errs more.
    return _by_pillow(levels, "JPEG", quality=content.quality, subsampling=0, **options)


def jpeg_head(data: bytes, content: Content) -> bytes:
    """The start of a JPEG and its JFIF segment, 20 bytes."""
    head = bytearray(data[:20])
    if content.metadata.density is not None:
        head[13:18] = _jfif(content.metadata.density)
    return bytes(head)


def jpeg_segments(content: Content) -> Encoded:
    """The segments of a JPEG with all that is beside its pixels, and what has no place there."""
    metadata = content.metadata
    segments = []  # what it is called, if it may be too long, the marker and the content
    block = _noted(content)
    if len(EXIF + block) > MOST_SEGMENT:
        block = metadata.exif
    if content.note is not None and block == metadata.exif:  # it has no room there, or another's
        text = statement.as_text(content.note).encode("ascii")
        segments.append(("the note of what made it", 0xFE, NOTE + b" " + text))
    if block:
        segments.append(("EXIF", 0xE1, EXIF + block))
    if metadata.xmp:
        segments.append(("XMP", 0xE1, XMP + metadata.xmp))
        segments += [("XMP", 0xE1, more) for more in metadata.more_xmp]
    step = MOST_SEGMENT - len(PHOTOSHOP)
    for at in range(0, len(metadata.resources), step):
        segments.append(("IPTC", 0xED, PHOTOSHOP + metadata.resources[at : at + step]))
    segments += [("a comment", 0xFE, comment) for comment in metadata.comments]
    for keyword, text in map(text_of, metadata.texts):
        name = f"the text {keyword.decode('latin-1')!r}"
        segments.append((name, 0xFE, text if keyword == b"Comment" else keyword + b": " + text))
    written = [
        bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body
        for _, marker, body in segments
        if len(body) <= MOST_SEGMENT
    ]
    lost = tuple(
        f"{name} of {len(body):,} bytes" for name, _, body in segments if len(body) > MOST_SEGMENT
    )
    return Encoded(b"".join(written), lost)


def _tiff(levels: np.ndarray, content: Content) -> Encoded:
    file = BytesIO()
    tifffile.imwrite(file, levels, **tiff_options(levels.shape, levels.itemsize, content))
    return Encoded(exif.merged(file.getvalue(), *tiff_fields(content)), lost_of_tiff(content))


def tiff_options(shape: tuple[int, ...], itemsize: int, content: Content) -> dict[str, Any]:
    """How tifffile shall write levels."""
    density = content.metadata.density
    options: dict[str, Any] = {"extrasamples": ["unassalpha"]} if shape[-1] == 4 else {}
    if density is not None and density.per_metre:
        across, down = (round(side * 0.0254, 4) for side in (density.across, density.down))
        options |= {"resolution": (across, down), "resolutionunit": 2}
    is_motorola = content.metadata.exif.startswith(b"MM")  # the block is copied as it is
    return options | {
        "photometric": "rgb",
        "compression": "zlib",
        "compressionargs": {"level": TIFF_LEVEL},
        "predictor": True,
        "rowsperstrip": max(1, (1 << 18) // (shape[1] * itemsize * shape[-1])),
        "metadata": None,
        "software": False,
        "bigtiff": False,
        "byteorder": ">" if is_motorola else "<",
    }


def tiff_fields(content: Content) -> tuple[bytes, dict[int, bytes]]:
    """The block of EXIF and the fields that `exif.merged` puts into a TIFF."""
    metadata = content.metadata
    fields = {_XMP_TAG: metadata.xmp, _ICC_TAG: content.profile}
    return _noted(content), fields | {_PHOTOSHOP_TAG: metadata.resources}


def lost_of_tiff(content: Content) -> tuple[str, ...]:
    """What has no place in a TIFF."""
    lost = ["a comment"] * len(content.metadata.comments)
    texts = content.metadata.texts
    return (*lost, *(f"the text {text_of(text)[0].decode('latin-1')!r}" for text in texts))


def _webp(levels: np.ndarray, content: Content) -> Encoded:
    return _of_parts(levels, content, "WEBP", method=4)


def _avif(levels: np.ndarray, content: Content) -> Encoded:
    return _of_parts(levels, content, "AVIF", subsampling="4:4:4")


def _of_parts(levels: np.ndarray, content: Content, kind: str, **options: object) -> Encoded:
    """A format that has EXIF, XMP and a profile, and nothing else."""
    metadata = content.metadata
    parts = {"exif": _noted(content), "xmp": metadata.xmp, "icc_profile": content.profile}
    options |= {name: part for name, part in parts.items() if part}
    data = _by_pillow(levels, kind, quality=content.quality, **options)
    lost = ["IPTC"] if metadata.resources else []
    lost += ["a comment"] * len(metadata.comments)
    lost += [f"the text {text_of(text)[0].decode('latin-1')!r}" for text in metadata.texts]
    return Encoded(data, tuple(lost))


_WRITERS: dict[str, Callable[[np.ndarray, Content], Encoded]] = {
    "PNG": _png,
    "JPEG": _jpeg,
    "TIFF": _tiff,
    "WEBP": _webp,
    "AVIF": _avif,
}


def _noted(content: Content) -> bytes:
    """EXIF with the note in it, where there is one."""
    block = content.metadata.exif
    return block if content.note is None else comment.with_note(block, content.note)


def on_white(levels: np.ndarray) -> np.ndarray:
    """Levels of 8 bits without alpha."""
    if levels.shape[-1] == 3:
        return levels
    alpha = levels[..., 3:].astype(np.float32) / np.float32(255.0)
    shown: np.ndarray = np.round(levels[..., :3] * alpha + 255.0 * (1.0 - alpha)).astype(np.uint8)
    return shown


def _by_pillow(levels: np.ndarray, kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    Image.fromarray(levels).save(buffer, kind, **options)
    return buffer.getvalue()


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


def _jfif(density: Density) -> bytes:
    scale = 0.0254 if density.per_metre else 1.0
    sides = (min(max(round(side * scale), 1), 65535) for side in (density.across, density.down))
    return bytes([density.per_metre]) + b"".join(side.to_bytes(2, "big") for side in sides)
