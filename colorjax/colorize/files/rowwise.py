"""Levels that come row by row as files of the formats that can be written so: PNG, JPEG, TIFF.

None of them is ever whole in memory, neither as levels nor as bytes.
"""

import mmap
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import tifffile

from colorjax.colorize.files import encoding, exif
from colorjax.colorize.files.encoding import Content
from colorjax.data import bounds
from colorjax.data.rows import Rows, strips

_BLOCK = 8  # rows and columns that a JPEG has together, where all channels are of one size
_MOST_INTERVAL = 65_535  # blocks between two restarts of a JPEG: DRI has 16 bits
_JPEG_PIXELS = 1 << 18  # of a strip, about
_PNG_COLOUR = 2  # IHDR's word for RGB


def write(path: Path, rows: Rows, suffix: str, content: Content) -> tuple[str, ...]:
    """Writes a file; as `encoding.encoded`, what of the metadata has no place in it.

    Args:
        rows: uint8 or uint16, [h,w,3]; made 8 bits deep where the format has no more.

    Raises:
        ValueError: a side is longer than the format has.
        OSError: the disk refuses.
    """
    kind = encoding.SUFFIXES[suffix]
    return _WRITERS[kind](path, rows, encoding.fitted(content, kind, rows.shape))


def writes(suffix: str) -> bool:
    """Whether the format of a suffix can be written row by row."""
    return encoding.SUFFIXES[suffix] in _WRITERS


def _jpeg(path: Path, rows: Rows, content: Content) -> tuple[str, ...]:
    """Strips that Pillow encodes, each a JPEG of its own, with restart markers between their scans.

    At a restart the means of blocks are counted from 0 again, and bits begin at a whole byte, as
    at the beginning (ITU-T T.81, B.2.4.4 and F.1.1.5.1): the scan of a strip is what stands between
    two restarts of the whole picture.
    """
    height, width = rows.shape[:2]
    across = -(-width // _BLOCK)
    down = max(1, min(_JPEG_PIXELS // (width * _BLOCK), _MOST_INTERVAL // across))
    middle, lost = encoding.jpeg_segments(content)
    tops = range(0, height, down * _BLOCK)
    with path.open("wb") as file:
        for number, top in enumerate(tops):
            levels = rows[top : top + down * _BLOCK]
            if levels.dtype == np.uint16:
                levels = np.round(levels / np.float32(257.0)).astype(np.uint8)
            data = encoding.jpeg_data(levels, content)
            segments = {marker: (start, end) for marker, start, end in bounds.jpeg_segments(data)}
            scan = segments[0xDA][1]
            if number == 0:
                head = bytearray(data[20:scan])
                place = segments[0xC0][0] + 1 - 20  # of the height, behind the depth of samples
                head[place : place + 2] = struct.pack(">H", height)
                interval = struct.pack(">HHH", 0xFFDD, 4, across * down)
                before_scan = segments[0xDA][0] - 4 - 20
                head[before_scan:before_scan] = interval
                file.write(encoding.jpeg_head(data, content) + middle + head)
            file.write(memoryview(data)[scan:-2])
            is_last = number + 1 == len(tops)
            file.write(bytes((0xFF, 0xD9 if is_last else 0xD0 + number % 8)))
    return lost


def _png(path: Path, rows: Rows, content: Content) -> tuple[str, ...]:
    height, width = rows.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 8 * rows.dtype.itemsize, _PNG_COLOUR, 0, 0, 0)
    with path.open("wb") as file:
        file.write(bounds.PNG_SIGNATURE + bounds.png_chunk(b"IHDR", header))
        file.write(encoding.png_chunks(content))
        packer = zlib.compressobj(encoding.PNG_LEVEL)
        above = np.zeros((1, width * 3 * rows.dtype.itemsize), np.uint8)
        for strip in strips(height, width):
            levels = rows[strip].astype(rows.dtype.newbyteorder(">"))
            lines = levels.view(np.uint8).reshape(len(levels), -1)
            filtered = _filtered(np.concatenate([above, lines]), 3 * rows.dtype.itemsize)
            _write_chunk(file, packer.compress(filtered.tobytes()))
            above = lines[-1:]
        _write_chunk(file, packer.flush())
        file.write(bounds.png_chunk(b"IEND", b""))
    return ()


def _write_chunk(file: BinaryIO, packed: bytes) -> None:
    if packed:
        file.write(bounds.png_chunk(b"IDAT", packed))


def _filtered(lines: np.ndarray, step: int) -> np.ndarray:
    """Lines of a PNG behind the first, each by the filter whose differences are the smallest.

    As the specification advises (PNG, 12.7), of none, left, above, mean and Paeth's (9.2 to 9.4).
    `step` is the bytes of a pixel.
    """
    now, above = lines[1:].astype(np.int16), lines[:-1].astype(np.int16)
    left, corner = (np.pad(part, ((0, 0), (step, 0)))[:, :-step] for part in (now, above))
    guess = left + above - corner
    near = [np.abs(guess - part) for part in (left, above, corner)]
    second = np.where(near[1] <= near[2], above, corner)
    paeth = np.where((near[0] <= near[1]) & (near[0] <= near[2]), left, second)
    predicted = (np.zeros_like(now), left, above, (left + above) >> 1, paeth)
    kinds = np.stack([(now - part).astype(np.uint8) for part in predicted])
    sizes = np.abs(kinds.view(np.int8).astype(np.int16)).sum(axis=-1, dtype=np.int64)
    best = sizes.argmin(axis=0)
    chosen = kinds[best, np.arange(len(now))]
    return np.concatenate([best[:, None].astype(np.uint8), chosen], axis=1)


def _tiff(path: Path, rows: Rows, content: Content) -> tuple[str, ...]:
    options = encoding.tiff_options(rows.shape, rows.dtype.itemsize, content)
    kind = rows.dtype.newbyteorder(options["byteorder"])

    def packed() -> Iterator[bytes]:
        step = options["rowsperstrip"]
        for top in range(0, len(rows), step):
            levels = rows[top : top + step]
            levels[:, 1:] -= levels[:, :-1].copy()  # the predictor, TIFF 6.0, section 14
            yield zlib.compress(levels.astype(kind).tobytes(), encoding.TIFF_LEVEL)

    with path.open("w+b") as file:
        tifffile.imwrite(file, packed(), shape=rows.shape, dtype=kind, **options)
        file.flush()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            start, written = exif.directory_behind(data, *encoding.tiff_fields(content))
        file.seek(start)
        file.write(written)
        file.seek(exif.PLACE_OF_FIRST.start)
        file.write(struct.pack(options["byteorder"] + "I", start))
    return encoding.lost_of_tiff(content)


_WRITERS: dict[str, Callable[[Path, Rows, Content], tuple[str, ...]]] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "TIFF": _tiff,
}
