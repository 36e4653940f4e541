"""Large pictures, of which only the levels that their file has are kept in memory."""

import numpy as np
from jaxtyping import UInt
from PIL import Image

from colorjax.data import bounds, decoding, profiles, tiffs
from colorjax.data.decoding import Pixels
from colorjax.data.rows import Rows, strips

_PLAIN = ("L", "RGB", "I;16", "I;16B")  # modes whose values are the file's


def pixels(data: bytes, picture: Image.Image, page: int = 0) -> Pixels | None:
    """An opened picture as by `decoding.pixels`, of which only the file's levels are kept.

    None of what has to be whole: with alpha, a palette, inks, or other than 8 or 16 bits.

    Raises:
        Exception: as `decoding.pixels`.
    """
    stored = _stored(data, picture, page)
    if stored is None:
        return None
    levels = decoding.upright(stored, decoding.orientation(picture))
    profile, gamma = picture.info.get("icc_profile"), picture.info.get("gamma")
    convert: profiles.Curve | None = None
    if profile:
        convert = profiles.conversion(profile, levels.shape[-1])
    elif gamma and "srgb" not in picture.info:
        convert = profiles.conversion_by_gamma(gamma)
    most = np.float32(np.iinfo(levels.dtype).max)

    def shown(rows: slice) -> np.ndarray:
        strip = levels[rows]
        values = np.divide(strip, most, dtype=np.float32)
        values = values if convert is None else convert(values)
        return np.broadcast_to(values, (*strip.shape[:2], 3))

    bits = 8 * levels.dtype.itemsize
    rgb = Rows((*levels.shape[:2], 3), np.float32, shown, levels.nbytes)
    return Pixels(rgb, None, bits, profile or b"")


def _stored(data: bytes, picture: Image.Image, page: int) -> UInt[np.ndarray, "h w c"] | None:
    """The levels of a file as they are stored, 1 channel or 3; None of what has others."""
    if picture.mode not in _PLAIN or picture.has_transparency_data:
        return None
    if data.startswith(bounds.JPEG_SIGNATURE):
        return decoding.jpeg_pixels(data, "GRAY" if picture.mode == "L" else "RGB")
    if picture.format == "TIFF":
        levels = tiffs.stored(data, page)
        if levels is not None or max(getattr(picture, "tag_v2", {}).get(258, (1,))) > 8:
            return levels
    if picture.format == "PNG" and picture.mode == "RGB" and data[24:25] == b"\x10":
        return None
    bounds.check(data)
    picture.load()
    kind = np.uint16 if picture.mode == "I;16" else np.uint8
    array = np.empty((picture.height, picture.width, len(picture.getbands())), kind)
    for strip in strips(*array.shape[:2]):  # all at once Pillow makes two copies
        part = picture.crop((0, strip.start, picture.width, strip.stop))
        array[strip] = np.asarray(part).reshape(array[strip].shape)
    return array
