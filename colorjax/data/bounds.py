"""What one file may cost: bytes, pixels, and the work that a few bytes can ask for."""

import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

MAX_BYTES = 2**30
_MOST_BYTES_OF_A_PIXEL = 8  # RGB with alpha, of 16 bits
MAX_PIXELS = 64 * 10**6  # a file of 20 kB may unpack to gigabytes
MAX_SCANS = 40  # of a progressive JPEG; encoders write about ten, and each costs a pass
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by PNG's colour type
# Of each pass of an interlaced PNG the first column and row, and the steps to the right and down.
_ADAM7 = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)
_WITHOUT_LENGTH = frozenset((0x01, *range(0xD0, 0xD9)))  # JPEG's markers that stand alone


def read_bytes(path: Path, most_pixels: int = 0) -> bytes:
    """A file's bytes.

    Raises:
        ValueError: there are more than a picture may have, see `check_size`.
    """
    check_size(path, most_pixels)
    return path.read_bytes()


def check_size(path: Path, most_pixels: int = 0) -> None:
    """Raises `ValueError` for a file of more bytes than a picture may have.

    That is `MAX_BYTES`, or what so many pixels take where nothing packs them.
    """
    size, most = path.stat().st_size, max(MAX_BYTES, most_pixels * _MOST_BYTES_OF_A_PIXEL)
    if size > most:
        raise ValueError(f"it has {size / 2**30:.1f} GiB, more than {most / 2**30:.1f} GiB")


def read_npz(path: Path, names: Sequence[str], most: int) -> list[np.ndarray]:
    """Arrays of a zip of NumPy's, by their names.

    Raises:
        Exception: whatever zipfile, zlib and NumPy's header parser like of a damaged one;
            `ValueError` where they unpack to more than `most` bytes.
    """
    with zipfile.ZipFile(path) as archive:
        size = sum(info.file_size for info in archive.infolist())
    if size > most:
        raise ValueError(f"it unpacks to {size} bytes, more than {most}")
    with np.load(path, allow_pickle=False) as arrays:
        return [arrays[name] for name in names]


def check(data: bytes) -> None:
    """Looks for damage that decoders paint over, and for work out of proportion.

    Costs less than decoding; other formats than JPEG and PNG pass.

    Raises:
        ValueError: a JPEG ends before its pixels do or is damaged within, has more scans than an
            encoder writes; a PNG unpacks to more than its pixels.
    """
    if data.startswith(JPEG_SIGNATURE):
        _check_jpeg(data)
    elif data.startswith(PNG_SIGNATURE):
        _check_png(data)


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The (kind, content) of each chunk up to the last whole one."""
    at = len(PNG_SIGNATURE)
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        if at + 12 + length > len(data):
            return
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        at += 12 + length


def check_chunks(data: bytes) -> None:
    """Raises `ValueError` for a PNG with a chunk of more bytes than the whole file.

    OpenCV makes room for a chunk before it looks whether there are so many, also for chunks behind
    an end that has something in it or comes before the pixels.
    """
    at, has_pixels = len(PNG_SIGNATURE), False
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if length > len(data) or (length and kind == b"IEND"):
            raise ValueError(f"chunk {kind!r} claims {length} bytes")
        has_pixels = has_pixels or kind == b"IDAT"
        if has_pixels and kind == b"IEND":
            return  # what is behind it is not read
        at += 12 + length


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk's bytes."""
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """The marker, first and last position (of the content) of each segment that has a length.

    Goes on behind the entropy-coded bytes of a scan, up to the end of the picture.
    """
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF or data[at + 1] == 0x00 or data[at + 1] in _WITHOUT_LENGTH:
            following = data.find(b"\xff", at + 1)
            if following < 0:
                return
            at = following
            continue
        marker = data[at + 1]
        if marker == 0xD9:
            return
        if marker == 0xFF:
            at += 1
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        yield marker, at + 4, min(end, len(data))
        at = end


def _check_jpeg(data: bytes) -> None:
    scans = blocks = 0
    arithmetic = False
    for marker, start, end in jpeg_segments(data):
        if marker == 0xDA:
            scans += 1
            if scans > MAX_SCANS:
                raise ValueError(f"more than {MAX_SCANS} scans")
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and end - start >= 6:
            height, width = struct.unpack(">HH", data[start + 1 : start + 5])
            blocks = -(-height // 8) * -(-width // 8)
            arithmetic = marker > 0xC8
    # Each block's mean costs a bit at least, unless bits are shared.
    if not arithmetic and len(data) * 8 < blocks:
        raise ValueError("it ends before its pixels do")


def _check_png(data: bytes) -> None:
    check_chunks(data)
    expected = left = 0
    unpacker = zlib.decompressobj()
    for kind, content in png_chunks(data):
        if kind == b"IHDR" and len(content) == 13:
            expected = left = _unpacked(content)
        if kind != b"IDAT":
            continue
        while content and not unpacker.eof:
            unpacked = len(unpacker.decompress(content, 1 << 20))
            content = unpacker.unconsumed_tail
            left -= unpacked
            if left < -expected // 8 - 1024:
                raise ValueError("it unpacks to more than its pixels")
            if not unpacked:
                break


def _unpacked(header: bytes) -> int:
    """The bytes of a PNG's filtered rows."""
    width, height, bits, kind, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    depth = bits * _CHANNELS.get(kind, 4)
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    total = 0
    for first_column, first_row, right, down in passes:
        columns = max(0, -(-(width - first_column) // right))
        rows = max(0, -(-(height - first_row) // down))
        total += rows * (1 + -(-columns * depth // 8)) if columns else 0
    return total
