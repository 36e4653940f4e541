"""TIFF files of depths that Pillow does not keep, by what the file says of its samples."""

import logging
import struct
import zlib
from collections.abc import Sequence
from io import BufferedIOBase, BytesIO
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Float
from tifffile import COMPRESSION, PHOTOMETRIC, TiffFile

from colorjax.data import lzw
from colorjax.data.profiles import in_strips
from colorjax.maths import color

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
MOST_PAGES = 10_000
_MOST_SAMPLES = 8
_CHANNELS = {
    **dict.fromkeys((PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.MINISBLACK), 1),
    **dict.fromkeys((PHOTOMETRIC.RGB, PHOTOMETRIC.CIELAB), 3),
    PHOTOMETRIC.SEPARATED: 4,
}
_PACKED = (COMPRESSION.ADOBE_DEFLATE, COMPRESSION.DEFLATE)
_OWN = (COMPRESSION.NONE, COMPRESSION.PACKBITS, *_PACKED)
_PREMULTIPLIED, _STRAIGHT = 1, 2  # the kinds of extra samples that are alpha
# Whites of floats and of 32-bit integers, of which a file seldom says what they go to.
FLOAT_WHITES = (1.0, 255.0, 65535.0)
_WHITE_SHARE = 99.0  # percent of values that are no whiter than white, outliers aside

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # it tells of what it mends


class Tiff(NamedTuple):
    """A page: values in [0,1], c = 1 gray, 2 gray and alpha, 3 colour, 4 with alpha."""

    values: Float[np.ndarray, "h w c"]
    profile: bytes | None
    orientation: int
    bits: int  # 16 where a sample has more than 8


def read(data: bytes, number: int = 0) -> Tiff:
    """A file's page of a number, from 0.

    White is the largest value that the file's integers can have, or what its SMaxSampleValue
    says. Where a file of floats says nothing it is 1, 255 or 65535, the first that nearly all
    values stay below; the others are clipped. Extra samples are alpha if the file says so.

    Raises:
        ValueError: its samples are none that are read; the message says how many of how many bits.
    """
    stream = BytesIO(data)
    with TiffFile(stream) as file:
        page: Any = file.pages[number]
        if page.compression == COMPRESSION.LZW:
            lzw.repack(stream, page)
        values = _samples(stream.getvalue() if page.compression in _PACKED else data, page)
        channels = _CHANNELS[page.photometric]
        extras = [int(kind) for kind in page.extrasamples]
        alphas = [i for i, kind in enumerate(extras) if kind in (_PREMULTIPLIED, _STRAIGHT)]
        shown = _in_rgb(page, values[..., :channels])
        if alphas:
            opaque = 1.0 if values.dtype.kind == "f" else _largest(page)
            alpha = _scaled(values[..., channels + alphas[0], None], 0.0, opaque)
            if extras[alphas[0]] == _PREMULTIPLIED:
                shown = np.minimum(shown / np.maximum(alpha, 1e-6), 1.0)
            shown = np.concatenate([shown, alpha], axis=-1)
        profile = None if channels == 4 else _tag(page, 34675)  # inks are mixed without one
        bits = 8 if page.dtype.itemsize == 1 else 16
        return Tiff(shown, profile, int(_tag(page, 274) or 1), bits)


def _in_rgb(page: Any, values: np.ndarray) -> Float[np.ndarray, "h w c"]:
    """Gray or RGB in [0,1]."""
    if page.photometric == PHOTOMETRIC.CIELAB:
        # TIFF 6.0, section 23: lightness without, ab with a sign.
        deep = page.dtype.itemsize == 2
        ab = np.ascontiguousarray(values[..., 1:]).view(np.int16 if deep else np.int8)
        lab = np.empty(values.shape, np.float32)
        lab[..., 0] = values[..., 0].astype(np.float32) * np.float32(100.0 / _largest(page))
        lab[..., 1:] = ab.astype(np.float32) * np.float32(1.0 / 256.0 if deep else 1.0)
        shown = np.clip(color.lab_to_srgb(lab), 0.0, 1.0)
        return shown
    shown = _scaled(values, *_range(page, values))
    if page.photometric == PHOTOMETRIC.SEPARATED:
        return (1.0 - shown[..., :3]) * (1.0 - shown[..., 3:])
    return 1.0 - shown if page.photometric == PHOTOMETRIC.MINISWHITE else shown


def stored(data: bytes, number: int = 0) -> np.ndarray | None:
    """The samples of a page as its file has them, [h,w,c], where nothing is to be done to them.

    That is gray or RGB of whole bytes, from black to white, without further channels; where the
    file does not pack them it is a view of `data`. None of all others.

    Raises:
        ValueError: it is damaged.
    """
    stream = BytesIO(data)
    with TiffFile(stream) as file:
        page: Any = file.pages[number]
        channels = {PHOTOMETRIC.MINISBLACK: 1, PHOTOMETRIC.RGB: 3}.get(page.photometric)
        known = channels == page.samplesperpixel and page.planarconfig == 1
        known = known and page.dtype in (np.uint8, np.uint16)
        known = known and page.bitspersample == 8 * page.dtype.itemsize
        if not known or page.compression not in (*_OWN, COMPRESSION.LZW):
            return None
        if page.is_contiguous:
            shape = (page.imagelength, page.imagewidth, page.samplesperpixel)
            kind = page.dtype.newbyteorder(file.byteorder)
            start, count = page.dataoffsets[0], int(np.prod(shape))
            if start + count * kind.itemsize > len(data):
                raise ValueError("it ends before its pixels do")
            return np.frombuffer(data, kind, count, start).reshape(shape)
        if page.compression == COMPRESSION.LZW:
            lzw.repack(stream, page)
        return _samples(stream.getvalue() if page.compression in _PACKED else data, page)


def size(data: bytes, number: int = 0) -> tuple[int, int]:
    """Width and height of a page."""
    with TiffFile(BytesIO(data)) as file:
        page: Any = file.pages[number]
        return page.imagewidth, page.imagelength


def count_pages(file: BufferedIOBase) -> int:
    """How many pages a file has: the directories that point to each other, up to a known one.

    Nothing of a directory but its length is read: libraries, which read each, take seconds for
    what a megabyte can hold.

    Raises:
        ValueError: there are more than `MOST_PAGES`.
    """
    file.seek(0)
    head = file.read(16)
    order = ">" if head.startswith(b"MM") else "<"
    # Of TIFF and of BigTIFF: how the number of entries and a place are written, an entry's bytes.
    is_big = head[2:4] in (b"+\0", b"\0+")
    count, place, entry = (
        (order + "Q", order + "Q", 20) if is_big else (order + "H", order + "I", 12)
    )
    start = 8 if is_big else 4
    (at,) = struct.unpack_from(place, head.ljust(16, b"\0"), start)
    known: set[int] = set()
    while at and at not in known:
        file.seek(at)
        entries = file.read(struct.calcsize(count))
        if len(entries) < struct.calcsize(count):
            break
        known.add(at)
        if len(known) > MOST_PAGES:
            raise ValueError(f"it has more than {MOST_PAGES:,} pages")
        file.seek(at + len(entries) + entry * struct.unpack(count, entries)[0])
        following = file.read(struct.calcsize(place))
        if len(following) < struct.calcsize(place):
            break
        (at,) = struct.unpack(place, following)
    return max(1, len(known))


def is_tiff(data: bytes) -> bool:
    """Whether a file says that it is one, of 32 or 64 bits."""
    return data.startswith(SIGNATURES)


def white_of(values: np.ndarray, whites: Sequence[float]) -> float:
    """The first of the usual whites that nearly all values stay below, where no file says it."""
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values.ravel()
    some = finite[:: finite.size // 10**6 + 1].astype(np.float64)
    near = float(np.percentile(some, _WHITE_SHARE)) if some.size else 1.0
    return next((white for white in whites if near <= white), near)


def _scaled(values: np.ndarray, low: float, high: float) -> Float[np.ndarray, "h w c"]:
    def scale(strip: np.ndarray) -> np.ndarray:
        wide = np.nan_to_num(strip.astype(np.float64), nan=low, posinf=high, neginf=low)
        return np.clip((wide - low) / (high - low), 0.0, 1.0).astype(np.float32)

    return in_strips(scale, values)


def _samples(data: bytes, page: Any) -> np.ndarray:
    """[h,w,n] as they are stored."""
    count, bits, method = page.samplesperpixel, page.bitspersample, page.compression
    what = f"this TIFF has {count} samples of {bits} bits"
    known = page.photometric in _CHANNELS and page.dtype is not None
    known = known and count >= _CHANNELS[page.photometric]
    if page.photometric == PHOTOMETRIC.CIELAB:
        known = known and page.dtype.kind == "u" and bits in (8, 16)
    if not known or count > _MOST_SAMPLES or getattr(page, "imagedepth", 1) != 1:
        raise ValueError(f"{what}, which is not read")
    shape = (page.imagelength, page.imagewidth)
    if method in _OWN:
        if method in _PACKED:
            _check_strips(data, page)
        try:
            values = page.asarray()
        except (NotImplementedError, ValueError) as error:
            raise ValueError(f"{what}, which is not read") from error
        if "SY" in page.axes:  # each sample's plane by itself
            return np.moveaxis(values.reshape(count, *shape), 0, -1)
        return values.reshape(*shape, count)
    array = _by_opencv(data, page)
    if array is None:
        raise ValueError(
            f"{what}, compressed by {getattr(method, 'name', method)}, which is not read"
        )
    return array


def _by_opencv(data: bytes, page: Any) -> np.ndarray | None:
    """For the other ways to compress; None where it would read anything else than is stored."""
    count, shape = page.samplesperpixel, (page.imagelength, page.imagewidth)
    array: np.ndarray | None = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}.get(count)
    if array is None or order is None or _PREMULTIPLIED in page.extrasamples:
        return None
    if array.dtype != page.dtype or array.size != count * shape[0] * shape[1]:
        return None
    return array.reshape(*shape, count)[..., order]


def _check_strips(data: bytes, page: Any) -> None:
    """Raises `ValueError` if a few bytes unpack to more than the strip or tile has."""
    most = int(np.prod(page.chunks)) * page.dtype.itemsize
    for start, count in zip(page.dataoffsets, page.databytecounts):
        unpacker = zlib.decompressobj()
        unpacker.decompress(data[start : start + count], most + 1024)
        if unpacker.unconsumed_tail:
            raise ValueError("it unpacks to more than its pixels")


def _largest(page: Any) -> float:
    """The largest integer of the file's samples."""
    bits = int(page.bitspersample)
    return float(2 ** (bits - 1 if page.dtype.kind == "i" else bits) - 1)


def _range(page: Any, values: np.ndarray) -> tuple[float, float]:
    """Black and white."""
    if page.bitspersample <= 16 and values.dtype.kind != "f":
        return 0.0, _largest(page)
    low, high = _limit(page, 340), _limit(page, 341)
    if high is not None and high > (low or 0.0):
        return low or 0.0, high
    whites = FLOAT_WHITES if values.dtype.kind == "f" else (65535.0, _largest(page))
    return 0.0, white_of(values, whites)


def _limit(page: Any, code: int) -> float | None:
    """SMinSampleValue or SMaxSampleValue, which is of one sample or of each."""
    value = _tag(page, code)
    number = np.nan if value is None else float(np.max(value))
    return number if np.isfinite(number) else None


def _tag(page: Any, code: int) -> Any:
    tag = page.tags.get(code)
    return None if tag is None else tag.value
