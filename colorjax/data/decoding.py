"""Pixels of a file as upright sRGB, whatever its mode, depth, profile and turning."""

from collections.abc import Mapping
from io import BytesIO
from typing import Any, NamedTuple

import cv2
import numpy as np
import simplejpeg
from jaxtyping import Float, UInt8
from PIL import Image, ImageCms

from colorjax.data import bounds, profiles, tiffs
from colorjax.data.rows import Rows
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


class Pixels(NamedTuple):
    """A picture upright in sRGB, in [0,1]; `alpha` is None of one that is opaque everywhere.

    `bits` is 16 of a picture of more than 8 bits a sample, else 8. Gray is one channel shown as
    three: a view that cannot be written to. `profile` is ICC's, that the file's values were of.
    Of `levels.pixels` the values are computed when they are asked for.
    """

    rgb: Float[np.ndarray, "h w 3"] | Rows
    alpha: Float[np.ndarray, "h w"] | None = None
    bits: int = 8
    profile: bytes = b""

    @property
    def on_white(self) -> Float[np.ndarray, "h w 3"]:
        """The picture without transparency."""
        rgb = np.asarray(self.rgb)
        if self.alpha is None:
            return rgb
        alpha = self.alpha[..., None]
        shown: np.ndarray = rgb * alpha + (1.0 - alpha)
        return shown


def pixels(data: bytes | None, picture: Image.Image, page: int = 0) -> Pixels:
    """An opened picture.

    Keeps 16 bits and floats, converts an embedded profile to sRGB, applies the EXIF orientation.

    Args:
        data: the file that `picture` was opened from; None for a picture in memory.
        page: which one `picture` stands at.

    Raises:
        Exception: whatever Pillow raises for a damaged file, `ValueError` as `bounds.check`.
    """
    values = None if data is None else _exact(data, picture, page)
    bits = 8 if values is None else _depth(data or b"", picture)
    if values is None:
        bits = 16 if picture.mode[0] in "IF" else 8
        picture.load()
        values = _channels(picture)
    info = dict(picture.info)
    if picture.mode == "CMYK":
        info.pop("icc_profile", None)  # it is applied already
    return _shown(values, info, orientation(picture), bits)


def decode(data: bytes | None, picture: Image.Image) -> Float[np.ndarray, "h w 3"]:
    """sRGB in [0,1] of an opened picture, as `pixels`, with transparency laid on white."""
    return pixels(data, picture).on_white


def tiff_pixels(data: bytes, number: int = 0) -> Pixels:
    """A page of a TIFF whose layout Pillow does not know.

    Raises:
        ValueError: it is none that is read.
    """
    page = tiffs.read(data, number)
    return _shown(page.values, {"icc_profile": page.profile}, page.orientation, page.bits)


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


def _exact(data: bytes, picture: Image.Image, page: int) -> np.ndarray | None:
    """Values in [0,1] where Pillow shortens them to 8 bits or paints over damage, else None."""
    bounds.check(data)
    if data.startswith(bounds.JPEG_SIGNATURE):
        spaces = {"L": "GRAY", "RGB": "RGB"}
        pixels = jpeg_pixels(data, spaces.get(picture.mode, "CMYK"))
        return color.unit_from_bytes(pixels) if picture.mode in spaces else None
    if picture.format == "TIFF":
        return _exact_tiff(data, picture, page)
    if picture.format == "PNG" and picture.mode in ("LA", "RGB", "RGBA"):
        return _exact_png(data, picture)
    return None


def _exact_tiff(data: bytes, picture: Image.Image, page: int) -> np.ndarray | None:
    tags = getattr(picture, "tag_v2", {})
    bits = max(tags.get(258, (1,)))
    if picture.mode == "CMYK" or (bits <= 8 and 3 not in tags.get(339, (1,))):
        return None
    try:
        return tiffs.read(data, page).values
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
    # Without a copy beside it, as large again.
    array = np.divide(np.asarray(picture), np.float32(255.0), dtype=np.float32)
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
    values: Float[np.ndarray, "h w c"], info: Mapping[Any, Any], turned: int, bits: int
) -> Pixels:
    """Upright sRGB, by what the file says of its colours."""
    number = 3 if values.shape[-1] > 2 else 1
    rgb, alpha = values[..., :number], values[..., number:]
    profile, gamma = info.get("icc_profile"), info.get("gamma")
    if profile:
        rgb = profiles.to_srgb(rgb, profile)
    elif gamma and "srgb" not in info:
        rgb = profiles.by_gamma(rgb, gamma)
    shown = upright(np.broadcast_to(rgb, (*rgb.shape[:2], 3)), turned)
    is_opaque = not alpha.shape[-1] or bool((alpha == 1.0).all())
    opacity = None if is_opaque else upright(alpha[..., 0], turned)
    return Pixels(shown, opacity, bits, profile or b"")


def _depth(data: bytes, picture: Image.Image) -> int:
    """Of the samples of a file that was read exactly: 8, or 16 for all that is more."""
    if picture.format == "TIFF":
        tags = getattr(picture, "tag_v2", {})
        return 16 if max(tags.get(258, (1,))) > 8 else 8
    return 16 if data.startswith(bounds.PNG_SIGNATURE) else 8


def upright(rgb: np.ndarray, turned: int) -> np.ndarray:
    """A view of a picture that EXIF says is turned, see `orientation`."""
    if turned in (5, 6, 7, 8):
        rgb = rgb.swapaxes(0, 1)
    if turned in (3, 4, 7, 8):
        rgb = rgb[::-1]
    if turned in (2, 3, 6, 7):
        rgb = rgb[:, ::-1]
    return rgb
