"""Photographs, read in whatever mode they come.

What naive readers get wrong and this one does not: 16-bit scans and floats keep their precision
(Pillow's own conversion clips them to white), EXIF orientation is applied, embedded profiles are
converted to sRGB, transparency is laid on white, metadata is carried over, and anything that is
not a picture is one sentence.
"""

import contextlib
import hashlib
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image, UnidentifiedImageError

from colorjax.colorize.files import metadata
from colorjax.colorize.files.kinds import EXTRAS, FORMATS
from colorjax.colorize.files.metadata import Metadata
from colorjax.data import bounds, decoding, levels, raws, tiffs
from colorjax.data.rows import Rows
from colorjax.errors import UserError, first_line

Source = str | os.PathLike[str] | Image.Image | np.ndarray  # what a photograph comes as


_PILLOWS = tuple(dict.fromkeys(kind for kind in FORMATS.values() if kind != "RAW"))
MOST_PIXELS = 400 * 10**6  # of one photograph, where nobody says anything
LARGE = 32 * 10**6  # pixels from which on memory is worth a rounding of its own
_SIZE_LOCK = threading.Lock()  # Pillow's own limit on sizes is one for all threads
_COLOUR_ABOVE = 2.5 / 255.0  # what a JPEG of a gray picture differs by between its channels
_STRIP_ROWS = 256


@dataclass(frozen=True)
class Photo:
    """A photograph upright, in sRGB; `is_colour` says if its channels differ by more than a JPEG of
    a gray picture's do (2 of 255).

    `metadata` is what `saving.save_photo` carries over, `format` is Pillow's name of the file's
    format, `digest` the SHA-256 of the file, empty for what is none.
    """

    pixels: decoding.Pixels
    is_colour: bool
    metadata: Metadata
    format: str
    digest: str = ""

    @property
    def rgb(self) -> Float[np.ndarray, "h w 3"]:
        """In [0,1], transparency laid on white."""
        return self.pixels.on_white


def read(
    source: Source, most_pixels: int = MOST_PIXELS, page: int = 0, *, in_rows: bool = False
) -> Photo:
    """A photograph from a file, a picture of Pillow's or an array.

    An array is uint8, or of fractions in [0,1]; its shape is [h,w], [h,w,1] or [h,w,3]. `page` is
    that of a file of several, from 0. `in_rows` is as of `load_photo`.

    Raises:
        UserError: it cannot be read, or is no photograph; see `load_photo`.
    """
    if isinstance(source, Image.Image):
        return _in_memory(source, most_pixels)
    if isinstance(source, str | os.PathLike):
        return load_photo(source, most_pixels, page, in_rows=in_rows)
    pixels = decoding.Pixels(_rgb(source, most_pixels))
    return Photo(pixels, _is_colour(pixels.rgb), Metadata(), "array")


def _in_memory(picture: Image.Image, most_pixels: int) -> Photo:
    _check_size("the picture", *picture.size, most_pixels)
    try:
        # A copy, because decoding takes tags out of the EXIF that a picture keeps.
        copy = picture.copy()
        turned = decoding.orientation(copy) > 4
        pixels = decoding.pixels(None, copy)
        carried = metadata.of_picture(picture)
    except MemoryError:
        raise
    except Exception as error:  # a truncated file is only noticed now
        raise UserError(f"the picture cannot be read ({first_line(error)})") from error
    carried = carried.turned if turned else carried
    return Photo(pixels, _is_colour(pixels.rgb), carried, str(picture.format))


def name_of(source: Source) -> str:
    """What a photograph is called in messages and settings: its path, or what it is."""
    if isinstance(source, str | os.PathLike):
        return str(source)
    return "a picture" if isinstance(source, Image.Image) else "an array"


def _rgb(array: Any, most_pixels: int) -> Float[np.ndarray, "h w 3"]:
    values = np.asarray(array)
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3 or values.shape[-1] not in (1, 3):
        raise UserError(
            f"the array has shape {np.shape(array)}; a photograph has [h,w], [h,w,1] or [h,w,3]"
        )
    _check_size("the array", values.shape[1], values.shape[0], most_pixels)
    if values.dtype == np.uint8:
        values = values.astype(np.float32) / np.float32(255.0)
    elif values.dtype.kind != "f":
        raise UserError(f"the array holds {values.dtype}; give uint8, or fractions in [0,1]")
    if not (values.min() >= 0.0 and values.max() <= 1.0):  # NaN is in no order
        raise UserError(
            f"the array goes from {values.min():g} to {values.max():g}; fractions are in [0,1]"
        )
    return np.ascontiguousarray(np.broadcast_to(values, (*values.shape[:2], 3)), np.float32)


def _is_colour(rgb: Float[np.ndarray, "h w 3"] | Rows) -> bool:
    if rgb[:1].strides[-1] == 0:  # one channel shown as three
        return False
    strips = (rgb[top : top + _STRIP_ROWS] for top in range(0, len(rgb), _STRIP_ROWS))
    return any(np.abs(s[..., 1:] - s[..., :1]).max() > _COLOUR_ABOVE for s in strips)


def load_photo(
    path: str | os.PathLike[str],
    most_pixels: int = MOST_PIXELS,
    page: int = 0,
    *,
    in_rows: bool = False,
) -> Photo:
    """Reads a picture of any mode and depth; of an animation or a multi-page file, one page.

    Args:
        in_rows: whether the colours of one of more than `LARGE` pixels may be `Rows`, which
            takes a quarter of the memory.

    Raises:
        UserError: it cannot be read, is damaged, or has more than `most_pixels` (checked before
            anything is decoded: a 20 kB file may unpack to gigabytes).
    """
    path = Path(path)

    def read_file() -> Photo:
        data = bounds.read_bytes(path, most_pixels)
        is_raw = _is_raw(path)
        picture = None if is_raw else _opened(data, str(path), most_pixels, page)
        if is_raw:
            _check_size(f"'{path}'", *raws.size(data), most_pixels)
            pixels = decoding.Pixels(raws.read(data), bits=16)
            carried, kind = metadata.of_file(data, None), "RAW"
        elif picture is None:
            pixels = decoding.tiff_pixels(data, page)
            carried, kind = metadata.of_file(data, None), "TIFF"
        else:
            with picture:
                turned, kind = decoding.orientation(picture), str(picture.format)
                carried = metadata.of_file(data, picture)
                is_large = picture.width * picture.height > LARGE
                pixels = _decoded(data, picture, page, in_rows=in_rows and is_large)
                carried = carried.turned if turned > 4 else carried
        digest = hashlib.sha256(data).hexdigest()
        return Photo(pixels, _is_colour(pixels.rgb), carried, kind, digest)

    photo: Photo = _told(path, read_file)
    return photo


def check(path: str | os.PathLike[str], most_pixels: int = MOST_PIXELS) -> int:
    """Looks at a picture's header only, to refuse it before anything is loaded for it.

    Returns:
        How many pages it has that are pictures of their own.

    Raises:
        UserError: as `load_photo`, as far as a header tells.
    """
    path = Path(path)

    def look() -> int:
        bounds.check_size(path, most_pixels)
        if _is_raw(path):
            _check_size(f"'{path}'", *raws.size(path.read_bytes()), most_pixels)
            return 1
        pages = 1
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                with _pillows(file) as picture:
                    size = picture.size
                    if picture.format == "TIFF":  # an animation's frames are one picture
                        pages = tiffs.count_pages(file)
            except UnidentifiedImageError:
                file.seek(0)
                if not tiffs.is_tiff(file.read(4)):
                    raise
                size, pages = tiffs.size(path.read_bytes()), tiffs.count_pages(file)
        _check_size(f"'{path}'", *size, most_pixels)
        return pages

    pages: int = _told(path, look)
    return pages


def _is_raw(path: Path) -> bool:
    """By its name: Pillow takes many of them for TIFFs, and shows their thumbnails."""
    if path.suffix.lower() not in raws.SUFFIXES:
        return False
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"'{path}' needs a reader of its own: pip install 'colorjax[raw]'.")
    return True


def _pillows(file: Any) -> Image.Image:
    """Pillow's picture, not yet decoded, whatever its size: sizes are checked here."""
    with _of_any_size():
        return Image.open(file, formats=_PILLOWS)


@contextlib.contextmanager
def _of_any_size() -> Iterator[None]:
    with _SIZE_LOCK:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _decoded(data: bytes, picture: Image.Image, page: int, *, in_rows: bool) -> decoding.Pixels:
    """Of a size that was allowed, which Pillow asks about once more when it decodes a TIFF."""
    limit = Image.MAX_IMAGE_PIXELS
    is_usual = limit is None or picture.width * picture.height <= 2 * limit  # then it only warns
    with contextlib.nullcontext() if is_usual else _of_any_size():
        shown = levels.pixels(data, picture, page) if in_rows else None
        return decoding.pixels(data, picture, page) if shown is None else shown


def _opened(data: bytes, name: str, most_pixels: int, page: int) -> Image.Image | None:
    """Pillow's picture, not yet decoded; None of a TIFF that it does not know."""
    try:
        picture = _pillows(BytesIO(data))
        if page:
            picture.seek(page)
    except UnidentifiedImageError:
        if not tiffs.is_tiff(data):
            raise
        _check_size(f"'{name}'", *tiffs.size(data, page), most_pixels)
        return None
    _check_size(f"'{name}'", *picture.size, most_pixels)
    return picture


def _told(path: Path, read_file: Callable[[], Any]) -> Any:
    """What `read_file` returns; whatever goes wrong is one sentence."""
    if not os.path.lexists(path):
        raise UserError(f"'{path}' does not exist; check the path of the picture.")
    if path.is_symlink() and not os.path.exists(path):
        raise UserError(f"'{path}' is a link that leads nowhere; give the path of a picture.")
    try:
        if not path.is_file():
            raise UserError(f"'{path}' is not a file; give the path of a picture.")
        if path.stat().st_size == 0:
            raise _unreadable(path, "the file is empty")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a mended EXIF block is no reason to refuse
            return read_file()
    except (UserError, MemoryError):
        raise
    except PermissionError as error:
        raise UserError(f"'{path}' may not be read by you; check its permissions.") from error
    except UnidentifiedImageError as error:
        extra = EXTRAS.get(path.suffix.lower())
        if extra and path.suffix.lower() not in FORMATS:
            raise UserError(
                f"'{path}' needs a reader of its own: pip install 'colorjax[{extra}]'."
            ) from error
        raise _unreadable(path, "its content is no known image format") from error
    # Broken files leave Pillow as OSError, ValueError, SyntaxError, struct.error and a few more.
    except Exception as error:
        raise _unreadable(path, first_line(error)) from error


def _unreadable(path: Path, why: str) -> UserError:
    return UserError(
        f"'{path}' is not a picture that can be read ({why.rstrip('.')}); "
        "give an undamaged PNG, JPEG, TIFF, WebP, BMP or GIF file."
    )


def _check_size(what: str, width: int, height: int, most_pixels: int) -> None:
    if width * height > most_pixels:
        raise UserError(
            f"{what} is {width} x {height} pixels, more than {most_pixels:,}; "
            "make it smaller, or raise --max_pixels if there is memory for it."
        )
    if min(width, height) < 1:
        raise UserError(f"{what} is {width} x {height} pixels; there is nothing to colour.")
