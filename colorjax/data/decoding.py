"""Pixels of an opened picture as upright sRGB, whatever its mode, depth, profile and turning."""

from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float
from PIL import Image, ImageCms

from colorjax.maths import color

# By suffix, Pillow's names of the formats that pictures come in, of data sets and photographs.
FORMATS = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), "JPEG"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    **{f".{name.lower()}": name for name in ("PNG", "WEBP", "BMP", "GIF")},
}
MAX_PIXELS = 64 * 10**6  # a file of 20 kB may unpack to gigabytes
ORIENTATION = 0x0112  # the EXIF tag that says how a camera was held
# The tags that describe the photograph; the rest of a TIFF's describes its bytes. 34665 and
# 34853 are the Exif and GPS directories.
_CARRIED_TAGS = frozenset((269, 270, 271, 272, 282, 283, 285, 296, 305, 306, 315, 316)) | {
    *(18246, 33432, 34665, 34853),
    *range(40091, 40096),
}
_MAX_EXIF_BYTES = 65_000  # one JPEG segment


def decode(path: Path | None, picture: Image.Image) -> tuple[Float[np.ndarray, "h w 3"], bytes]:
    """sRGB in [0,1] and the EXIF block worth keeping (orientation and layout removed).

    `path` is where an opened file is read again if Pillow cannot keep its 16 bits; None for a
    picture in memory.

    Keeps 16 bits, converts an embedded profile to sRGB, lays transparency on white, applies the
    EXIF orientation. Raises whatever Pillow raises for a damaged file.
    """
    layout = str(getattr(picture, "tile", ""))
    is_deep = (
        path is not None
        and picture.mode in ("RGB", "RGBA")
        and (";16" in layout or "65535" in layout)
    )
    is_deep = is_deep and "RGBa" not in layout  # OpenCV does not undo premultiplied alpha
    inverted = picture.format == "TIFF" and picture.mode.startswith("I;16")
    inverted = inverted and getattr(picture, "tag_v2", {}).get(262) == 0
    picture.load()
    values = _channels(path, picture, is_deep)
    if inverted:  # white is zero: Pillow turns 8-bit scans round, 16-bit ones not
        values = 1.0 - values
    rgb, alpha = values[..., :3], values[..., 3:]
    profile = picture.info.get("icc_profile")
    if profile and picture.mode != "CMYK":
        rgb = _to_srgb(rgb, profile)
    if rgb.shape[-1] == 1:
        rgb = np.repeat(rgb, 3, axis=-1)
    if alpha.shape[-1]:
        rgb = rgb * alpha + (1.0 - alpha)
    try:
        exif = picture.getexif()
        # Pillow turns TIFF files upright by itself and removes the tag.
        rgb = _upright(rgb, exif.get(ORIENTATION, 1))
        carried = _carried_exif(exif)
    except Exception:  # a damaged EXIF block does not spoil the picture
        carried = b""
    return np.ascontiguousarray(rgb, np.float32), carried


def _channels(path: Path | None, picture: Image.Image, is_deep: bool) -> np.ndarray:
    """Values in [0,1], float32 `[h,w,c]`: c = 1 gray, 3 colour, 4 colour and alpha."""
    mode = picture.mode
    if mode.startswith("I;16"):
        return np.asarray(picture).astype(np.float32)[..., None] / np.float32(65535.0)
    if mode in ("I", "F"):
        values = np.nan_to_num(np.asarray(picture).astype(np.float64), posinf=0.0, neginf=0.0)
        # Nothing in the file says what white is: the smallest usual one that holds all values.
        whites = (65535.0,) if mode == "I" else (1.0, 255.0, 65535.0)
        white = next((w for w in whites if values.max() <= w), values.max())
        return np.clip(values / white, 0.0, 1.0).astype(np.float32)[..., None]
    if is_deep and path is not None:
        # Pillow keeps 8 of 16 bits of a colour picture, OpenCV all of them.
        array = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
        shape = (picture.height, picture.width)
        if array is not None and array.dtype == np.uint16 and array.shape[:2] == shape:
            order = [2, 1, 0, 3][: len(mode)]
            return array[..., order].astype(np.float32) / np.float32(65535.0)
    if mode == "CMYK":
        picture = _cmyk_to_rgb(picture)
    elif picture.has_transparency_data:
        picture = picture.convert("RGBA")
    elif mode in ("1", "L"):
        picture = picture.convert("L")
    else:
        picture = picture.convert("RGB")
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


def _to_srgb(values: np.ndarray, profile: bytes) -> np.ndarray:
    """Turns the colours of an embedded profile into sRGB.

    They stay unchanged if the profile is sRGB itself, or not valid.
    """
    eight = color.unit_to_bytes(values)
    source = Image.fromarray(eight[..., 0] if eight.shape[-1] == 1 else eight)
    try:
        parsed = ImageCms.ImageCmsProfile(BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(parsed).lower():
            return values
        srgb = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(source, parsed, srgb, outputMode="RGB")
    except (OSError, ImageCms.PyCMSError):
        return values
    # lcms sees 8 bits here; the finer ones ride along as the difference.
    fine = values - color.unit_from_bytes(eight)
    return np.clip(color.unit_from_bytes(np.asarray(converted)) + fine, 0.0, 1.0)


def _upright(rgb: np.ndarray, orientation: int) -> np.ndarray:
    if orientation in (5, 6, 7, 8):
        rgb = rgb.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        rgb = rgb[::-1]
    if orientation in (2, 3, 6, 7):
        rgb = rgb[:, ::-1]
    return rgb


def _carried_exif(exif: Image.Exif) -> bytes:
    for tag in set(exif) - _CARRIED_TAGS:
        del exif[tag]
    directory = exif.get_ifd(34665)
    for tag in (40962, 40963):  # width and height before the picture was turned
        directory.pop(tag, None)
    if not dict(exif) and not directory:
        return b""
    content = exif.tobytes()
    return content if len(content) <= _MAX_EXIF_BYTES else b""
