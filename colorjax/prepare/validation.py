"""Which files become records: one picture each, 8-bit, in colour, undamaged, upright sRGB."""

import warnings
from dataclasses import dataclass
from io import BytesIO
from pathlib import PurePath

import cv2
import numpy as np
import simplejpeg
from jaxtyping import UInt8
from PIL import Image, ImageFile

from colorjax.data import bounds, decoding, transforms
from colorjax.errors import first_line
from colorjax.maths import color
from colorjax.prepare.sources.entries import Rejected

MIN_SIDE = 16
GRAY_BELOW = 1.0  # CIE Lab units; what eyes just notice is 2.3
_JPEG_QUALITY = 95
_FORMATS = tuple(dict.fromkeys(decoding.FORMATS.values()))


@dataclass(frozen=True)
class Checked:
    """A usable picture: the bytes of its record and whether it is gray (see `is_gray`)."""

    data: bytes
    gray: bool
    pixels: UInt8[np.ndarray, "h w 3"]


def check(data: bytes, name: str, short_side: int | None = None) -> Checked:
    """Decodes a file completely and makes it the bytes of a record.

    A JPEG or PNG stays as it is, byte for byte, unless it has to change. It is encoded anew, as a
    JPEG of quality 95 without chroma subsampling, if it has another format, is turned by its EXIF
    orientation, has a colour profile other than sRGB, or is shrunk to `short_side`.

    Args:
        data: the file's bytes.
        name: its name; a suffix must be that of its format.
        short_side: pixels that the shorter side is shrunk to, bicubic; None keeps the size, as does
            a picture that is smaller.

    Raises:
        Rejected: what the picture is that makes it useless here.
    """
    if not data:
        raise Rejected("empty file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(BytesIO(data), formats=_FORMATS) as picture:
                return _check_opened(data, name, picture, short_side)
    except (Rejected, MemoryError):
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise Rejected("too large", "more than 64 megapixels") from None
    except Image.UnidentifiedImageError:
        raise Rejected("not a picture", "its content is none of " + ", ".join(_FORMATS)) from None
    # Broken files leave Pillow as OSError, ValueError, SyntaxError, struct.error and a few more.
    except Exception as error:
        raise Rejected("damaged", first_line(error)) from None


def _check_opened(
    data: bytes, name: str, picture: ImageFile.ImageFile, short_side: int | None
) -> Checked:
    _check_header(name, picture)
    format = _format(picture)
    pixels = _pixels(data, picture, format)
    changed = format not in ("JPEG", "PNG")
    if picture.getexif().get(decoding.ORIENTATION, 1) != 1 or picture.info.get("icc_profile"):
        values = decoding.decode(data, picture)
        upright = color.unit_to_bytes(values)
        # Most profiles are sRGB itself and change nothing.
        changed = changed or not np.array_equal(upright, np.asarray(picture.convert("RGB")))
        pixels = upright if changed else pixels
    if short_side is not None and min(pixels.shape[:2]) > short_side:
        pixels, changed = _shrunk(pixels, short_side), True
    if changed:
        data = simplejpeg.encode_jpeg(
            np.ascontiguousarray(pixels), quality=_JPEG_QUALITY, colorsubsampling="444"
        )
    return Checked(data, is_gray(pixels), pixels)


def _format(picture: ImageFile.ImageFile) -> str:
    # Phones append depth maps and previews to a JPEG; Pillow then calls it MPO.
    return "JPEG" if picture.format == "MPO" else str(picture.format)


def _check_header(name: str, picture: ImageFile.ImageFile) -> None:
    """What can be told before decoding."""
    format, mode, (width, height) = _format(picture), picture.mode, picture.size
    suffix = PurePath(name).suffix.lower()
    if suffix and decoding.FORMATS.get(suffix) != format:
        raise Rejected("wrong extension", f"it is a {format} file")
    if width * height > bounds.MAX_PIXELS:
        raise Rejected("too large", f"{width} x {height} pixels")
    if min(width, height) < MIN_SIDE:
        raise Rejected("too small", f"{width} x {height} pixels")
    if format != "JPEG" and getattr(picture, "n_frames", 1) > 1:
        raise Rejected("several pictures", "it is animated or has pages")
    if mode in ("CMYK", "LAB", "YCbCr", "HSV"):
        raise Rejected("not RGB", f"its colours are {mode}")
    layout = str(picture.tile)
    if mode.startswith(("I", "F")) or ";16" in layout or "65535" in layout:
        raise Rejected("not 8 bits", f"mode {mode}")


def _pixels(data: bytes, picture: ImageFile.ImageFile, format: str) -> UInt8[np.ndarray, "h w 3"]:
    bounds.check(data)
    picture.load()
    if format == "JPEG":
        # Unlike Pillow, it also tells of damage that libjpeg can paint over.
        return decoding.jpeg_pixels(data)
    if picture.has_transparency_data and np.asarray(picture.convert("RGBA"))[..., 3].min() < 255:
        raise Rejected("transparent")
    return np.asarray(picture.convert("RGB"))


def _shrunk(pixels: np.ndarray, short_side: int) -> np.ndarray:
    height, width = pixels.shape[:2]
    scale = short_side / min(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return transforms.bicubic(pixels, *size)


def is_gray(pixels: UInt8[np.ndarray, "h w 3"]) -> bool:
    """Whether the colours of a picture are a function of its lightness, as in a gray or toned one.

    The picture is averaged to at most 64 pixels a side. If a parabola in lightness predicts a and b
    of CIE Lab to within 1.0 (root mean square), there is nothing to learn from its colours: it is
    gray, sepia, or a single tint. Of CIFAR-10's photographs 1.3 % are.
    """
    height, width = pixels.shape[:2]
    scale = min(1.0, 64 / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA) if scale < 1.0 else pixels
    lab = color.srgb_to_lab(color.unit_from_bytes(small)).reshape(-1, 3)
    lightness, ab = np.asarray(lab[:, :1], np.float64) / 100.0, np.asarray(lab[:, 1:], np.float64)
    terms = np.concatenate([np.ones_like(lightness), lightness, lightness**2], axis=1)
    residual = ab - terms @ np.linalg.lstsq(terms, ab, rcond=None)[0]
    return bool(np.sqrt((residual**2).sum(axis=1).mean()) < GRAY_BELOW)
