"""LZW strips of a TIFF, which tifffile cannot unpack by itself, through Pillow's libtiff."""

import itertools
import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image
from tifffile import COMPRESSION

_LZW = 5
_SHORT, _LONG = 3, 4


def repack(stream: BytesIO, page: Any) -> None:
    """Appends the page's strips or tiles to its file, packed by zlib; `page` then reads these.

    Predictors, planes and samples stay as they are: only the packing of bytes is another.

    Raises:
        ValueError: a strip is damaged.
    """
    data = stream.getbuffer()
    places = zip(page.dataoffsets, page.databytecounts, strict=True)
    strips = [
        zlib.compress(unpacked(bytes(data[start : start + count]), _size(page, i)), 1)
        for i, (start, count) in enumerate(places)
    ]
    data.release()
    at = stream.seek(0, 2)
    stream.write(b"".join(strips))
    page.databytecounts = tuple(map(len, strips))
    page.dataoffsets = tuple(itertools.accumulate(page.databytecounts[:-1], initial=at))
    page.compression = COMPRESSION.ADOBE_DEFLATE


def unpacked(strip: bytes, size: int) -> bytes:
    """The `size` bytes that LZW packed into a strip.

    Raises:
        ValueError: it is damaged.
    """
    # A picture of one row of 8-bit gray, of which libtiff knows nothing but its bytes.
    rows = [(256, _LONG, size), (257, _LONG, 1), (258, _SHORT, 8), (259, _SHORT, _LZW)]
    rows += [(262, _SHORT, 1), (273, _LONG, 0), (277, _SHORT, 1), (278, _LONG, 1)]
    rows += [(279, _LONG, len(strip))]
    behind = 8 + 2 + 12 * len(rows) + 4
    body = b"".join(
        struct.pack("<HHII", tag, kind, 1, behind if tag == 273 else value)
        for tag, kind, value in rows
    )
    file = struct.pack("<2sHIH", b"II", 42, 8, len(rows)) + body + bytes(4) + strip
    try:
        with Image.open(BytesIO(file), formats=("TIFF",)) as picture:
            return np.asarray(picture).tobytes()
    except (OSError, SyntaxError) as error:
        raise ValueError("its LZW strips are damaged") from error


def _size(page: Any, index: int) -> int:
    """The bytes of a strip or tile; the last strip of a plane may have fewer rows."""
    size = int(np.prod(page.chunks)) * page.dtype.itemsize
    if page.is_tiled:
        return size
    rows = int(page.rowsperstrip)
    first = index % -(-page.imagelength // rows) * rows
    return size // min(rows, page.imagelength) * min(rows, page.imagelength - first)
