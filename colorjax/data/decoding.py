"""Pixels of a file as upright sRGB, whatever its mode, depth, profile and turning."""

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import cv2
import numpy as np
import simplejpeg
from jaxtyping import Float, UInt8
from PIL import Image, ImageCms

from colorjax.data import bounds, profiles, tiffs
from colorjax.maths import color

# By suffix, Pillow's names of the formats that pictures come in, of data sets and photographs.
FORMATS = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), "JPEG"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    **{f".{name.lower()}": name for name in ("PNG", "WEBP", "BMP", "GIF")},
}
ORIENTATION = 0x0112  # the EXIF tag that says how a camera was held
_PIXELS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")  # the chunks that a PNG's numbers are in

cv2.utils.logging.setLogLevel(
    cv2.utils.logging.LOG_LEVEL_SILENT
)  # what goes wrong is told by the error, in a sentence of ours


def decode(data: bytes | None, picture: Image.Image) -> Float[np.ndarray, "h w 3"]:
    """sRGB in [0,1] of an opened picture.

    Keeps 16 bits and floats, converts an embedded profile to sRGB, lays transparency on white,
    applies the EXIF orientation. Gray is one channel shown as three: a view that cannot be
    written to.

    Args:
        data: the file that `picture` was opened from; None for a picture in memory.

    Raises:
        Exception: whatever Pillow raises for a damaged file, `ValueError` as `bounds.check`.
    """
    values = None if data is None else _exact(data, picture)
    if values is None:
        picture.load()
        values = _channels(picture)
    info = dict(picture.info)
    if picture.mode == "CMYK":
        info.pop("icc_profile", None)  # it is applied already
    return _upright(_shown(values, info), orientation(picture))


def decode_tiff(data: bytes) -> Float[np.ndarray, "h w 3"]:
    """sRGB in [0,1] of a TIFF whose layout Pillow does not know.

    Raises:
        ValueError: it is none that is read.
    """
    page = tiffs.read(data)
    return _upright(_shown(page.values, {"icc_profile": page.profile}), page.orientation)


def orientation(picture: Image.Image) -> int:
    """1 to 8, by EXIF; 1 is upright, as which a damaged EXIF block counts too.

    Pillow turns TIFF files upright by itself when it loads them, and then removes the tag.
    """
    try:
        turned = int(picture.getexif().get(ORIENTATION, 1))
    except Exception:  # a damaged EXIF block does not spoil the picture
        return 1
    return turned if 1 <= turned <= 8 else 1


def jpeg_pixels(data: bytes, colorspace: str = "RGB") -> UInt8[np.ndarray, "h w c"]:
    """A JPEG's pixels by a decoder that does not paint over damage, as Pillow's does.

    Raises:
        ValueError: it is damaged, ends too early, or asks for too much work.
    """
    bounds.check(data)
    pixels: np.ndarray = simplejpeg.decode_jpeg(data, colorspace=colorspace)
    return pixels


def _exact(data: bytes, picture: Image.Image) -> np.ndarray | None:
    """Values in [0,1] where Pillow shortens them to 8 bits or paints over damage, else None."""
    bounds.check(data)
    if data.startswith(bounds.JPEG_SIGNATURE):
        spaces = {"L": "GRAY", "RGB": "RGB"}
        pixels = jpeg_pixels(data, spaces.get(picture.mode, "CMYK"))
        return color.unit_from_bytes(pixels) if picture.mode in spaces else None
    if picture.format == "TIFF":
        return _exact_tiff(data, picture)
    if picture.format == "PNG" and picture.mode in ("LA", "RGB", "RGBA"):
        return _exact_png(data, picture)
    return None


def _exact_tiff(data: bytes, picture: Image.Image) -> np.ndarray | None:
    tags = getattr(picture, "tag_v2", {})
    bits = max(tags.get(258, (1,)))
    if picture.mode == "CMYK" or (bits <= 8 and 3 not in tags.get(339, (1,))):
        return None
    try:
        return tiffs.read(data).values
    except ValueError:
        if not picture.mode.startswith("I;16"):
            raise
        picture.load()  # of 12 bits, which only Pillow unpacks
        return np.asarray(picture).astype(np.float32)[..., None] / np.float32(2**bits - 1)


def _exact_png(data: bytes, picture: Image.Image) -> np.ndarray | None:
    if data[24:25] != b"\x10":  # bits of a sample
        return None
    picture.load()  # tells of damage
    chunks = [bounds.png_chunk(*chunk) for chunk in bounds.png_chunks(data) if chunk[0] in _PIXELS]
    plain = bounds.PNG_SIGNATURE + b"".join(chunks)
    array = cv2.imdecode(np.frombuffer(plain, np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None or array.dtype != np.uint16:
        raise ValueError("its pixels are damaged")
    order = {"LA": [0, 3], "RGB": [2, 1, 0], "RGBA": [2, 1, 0, 3]}[picture.mode]
    return array[..., order].astype(np.float32) / np.float32(65535.0)


def _channels(picture: Image.Image) -> Float[np.ndarray, "h w c"]:
    """Values in [0,1]: c = 1 gray, 2 gray and alpha, 3 colour, 4 colour and alpha."""
    mode = picture.mode
    if mode.startswith("I;16"):
        return np.asarray(picture).astype(np.float32)[..., None] / np.float32(65535.0)
    if mode in ("I", "F"):
        numbers = np.asarray(picture).astype(np.float64)
        # Nothing in the picture says what white is.
        white = tiffs.white_of(numbers, (65535.0,) if mode == "I" else tiffs.FLOAT_WHITES)
        numbers = np.nan_to_num(numbers, posinf=white, neginf=0.0)
        return np.clip(numbers / white, 0.0, 1.0).astype(np.float32)[..., None]
    is_gray = mode in ("1", "L", "LA", "La")
    if mode == "CMYK":
        picture = _cmyk_to_rgb(picture)
    elif picture.has_transparency_data:
        picture = picture.convert("LA" if is_gray else "RGBA")
    else:
        picture = picture.convert("L" if is_gray else "RGB")
    array = color.unit_from_bytes(np.asarray(picture))
    return array[..., None] if array.ndim == 2 else array


def _cmyk_to_rgb(picture: Image.Image) -> Image.Image:
    try:
        profile = ImageCms.ImageCmsProfile(BytesIO(picture.info["icc_profile"]))
        srgb = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(picture, profile, srgb, outputMode="RGB")
    except (KeyError, OSError, ImageCms.PyCMSError):
        converted = None
    return picture.convert("RGB") if converted is None else converted


def _shown(
    values: Float[np.ndarray, "h w c"], info: Mapping[Any, Any]
) -> Float[np.ndarray, "h w 3"]:
    """sRGB on white, by what the file says of its colours."""
    number = 3 if values.shape[-1] > 2 else 1
    rgb, alpha = values[..., :number], values[..., number:]
    profile, gamma = info.get("icc_profile"), info.get("gamma")
    if profile:
        rgb = profiles.to_srgb(rgb, profile)
    elif gamma and "srgb" not in info:
        rgb = profiles.by_gamma(rgb, gamma)
    if alpha.shape[-1]:
        rgb = rgb * alpha + (1.0 - alpha)
    return np.broadcast_to(rgb, (*rgb.shape[:2], 3))


def _upright(rgb: Float[np.ndarray, "h w 3"], turned: int) -> Float[np.ndarray, "h2 w2 3"]:
    if turned in (5, 6, 7, 8):
        rgb = rgb.swapaxes(0, 1)
    if turned in (3, 4, 7, 8):
        rgb = rgb[::-1]
    if turned in (2, 3, 6, 7):
        rgb = rgb[:, ::-1]
    return rgb
