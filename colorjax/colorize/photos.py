"""Photographs on disk: found, read in whatever mode they come, written without half files.

What naive readers get wrong and this one does not: 16-bit scans keep their precision (Pillow's
own conversion clips them to white), EXIF orientation is applied, embedded profiles are converted
to sRGB, transparency is laid on white, and anything that is not a picture is one sentence.
"""

import os
import uuid
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image

from colorjax.data.decoding import decode
from colorjax.errors import UserError

# A whitelist: Pillow's rarer decoders (PSD, FITS, EPS, ...) are more surface than use.
_FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF", "PPM", "JPEG2000", "AVIF")
_SUFFIXES = frozenset(
    ".png .jpg .jpeg .jfif .tif .tiff .webp .bmp .gif .ppm .pgm .pbm .pnm .jp2 .avif".split()
)
_JPEG_SUFFIXES = (".jpg", ".jpeg", ".jfif")
_OUTPUT_SUFFIXES = (".png", ".jpg", ".jpeg")
_MAX_PIXELS = 64 * 10**6
_MIN_SIDE = 8


@dataclass(frozen=True)
class Photo:
    """A photograph upright, in sRGB: `rgb` in [0,1]; `is_colour` says if its channels differ by
    more than a JPEG of a gray picture's do (2 of 255).

    `exif` is what `save_photo` carries over (orientation and layout removed, as they no longer
    hold), `format` is Pillow's name of the file's format.
    """

    rgb: Float[np.ndarray, "h w 3"]
    is_colour: bool
    exif: bytes
    format: str


def load_photo(path: str | os.PathLike[str]) -> Photo:
    """Reads a picture of any mode and depth; of an animation or a multi-page file, the first.

    Raises `UserError` for whatever cannot be read, for more than 64 megapixels (checked before
    anything is decoded: a 20 kB file may unpack to gigabytes) and for a side below 8 pixels.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"'{path}' does not exist; check the path of the picture.")
    if not path.is_file():
        raise UserError(f"'{path}' is not a file; give the path of a picture.")
    if path.stat().st_size == 0:
        raise _unreadable(path, "the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a mended EXIF block is no reason to refuse
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_FORMATS) as picture:
                _check_size(path, *picture.size)
                rgb, exif = decode(path, picture)
                tint = np.abs(rgb[..., 1:] - rgb[..., :1]).max()
                return Photo(rgb, bool(tint > 2.5 / 255.0), exif, str(picture.format))
    except (UserError, MemoryError):
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise UserError(f"'{path}' has more than 64 megapixels; make it smaller.") from error
    except PermissionError as error:
        raise UserError(f"'{path}' may not be read by you; check its permissions.") from error
    except Image.UnidentifiedImageError as error:
        raise _unreadable(path, "its content is no known image format") from error
    # Broken files leave Pillow as OSError, ValueError, SyntaxError, struct.error and a few more.
    except Exception as error:
        raise _unreadable(path, str(error).strip().split("\n")[0] or "damaged file") from error


def _unreadable(path: Path, why: str) -> UserError:
    return UserError(
        f"'{path}' is not a picture that can be read ({why.rstrip('.')}); "
        "give an undamaged PNG, JPEG, TIFF, WebP, BMP or GIF file."
    )


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > _MAX_PIXELS:
        raise UserError(
            f"'{path}' is {width} x {height} pixels, more than 64 megapixels; make it smaller."
        )
    if min(width, height) < _MIN_SIDE:
        raise UserError(
            f"'{path}' is {width} x {height} pixels; both sides must be at least {_MIN_SIDE}."
        )


def save_photo(
    path: str | os.PathLike[str],
    rgb: Float[np.ndarray, "h w 3"],
    exif: bytes = b"",
    quality: int = 95,
) -> None:
    """Writes sRGB in [0,1] as 8-bit PNG or JPEG (4:4:4, `quality` 1..95), with the given EXIF.

    The file appears complete or not at all, and its folder is made. Raises `UserError` for
    another suffix and for what the disk refuses.
    """
    path = Path(path)
    if path.suffix.lower() not in _OUTPUT_SUFFIXES:
        raise UserError(f"'{path}' cannot be written; end its name in .png, .jpg or .jpeg.")
    levels = np.round(np.clip(rgb, 0.0, 1.0) * np.float32(255.0)).astype(np.uint8)
    options: dict = {"format": "PNG"}
    if path.suffix.lower() != ".png":
        options = {"format": "JPEG", "quality": quality, "subsampling": 0}
    if exif:
        options["exif"] = exif
    temporary = path.parent / f".{uuid.uuid4().hex}.tmp"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            Image.fromarray(levels).save(temporary, **options)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        raise UserError(f"'{path}' cannot be written ({error}); choose another place.") from error


def find_photos(
    inputs: Sequence[str | os.PathLike[str]], exclude: str | os.PathLike[str] | None = None
) -> list[tuple[Path, Path]]:
    """Pictures of files and folders (recursively), as (path, folder relative to its input).

    Order: as given, sorted inside a folder; a file met twice counts once. Folders give what has
    a picture's suffix and is not hidden, and skip the folder `exclude` (earlier results); a file
    given by name is always taken. Raises `UserError` for a missing path or a folder without
    pictures.
    """
    found: dict[Path, tuple[Path, Path]] = {}
    excluded = None if exclude is None else Path(exclude).resolve()
    for root in map(Path, inputs):
        if not root.exists():
            raise UserError(f"'{root}' does not exist; give pictures or folders of pictures.")
        if not root.is_dir():
            found.setdefault(root.resolve(), (root, Path(".")))
            continue
        inside = []
        for folder, subfolders, names in os.walk(root):
            subfolders[:] = [
                n for n in subfolders if n[0] != "." and Path(folder, n).resolve() != excluded
            ]
            inside += [
                Path(folder, n)
                for n in names
                if n[0] != "." and Path(n).suffix.lower() in _SUFFIXES
            ]
        if not inside:
            raise UserError(f"'{root}' holds no pictures (.png, .jpg, .tif, ...); check the path.")
        for path in sorted(inside):
            found.setdefault(path.resolve(), (path, path.parent.relative_to(root)))
    return list(found.values())


def output_paths(photos: Sequence[tuple[Path, Path]], output: str | os.PathLike[str]) -> list[Path]:
    """Where the result of each of `find_photos`' pictures goes.

    An `output` ending in .png, .jpg or .jpeg is the file for exactly one picture. Otherwise it is
    a folder: `<relative folder>/<stem>.png`, `.jpg` for JPEG input; pictures that would share a
    name become `<stem>_<suffix>` and, if that is not enough, are numbered. Raises `UserError`
    where a result would replace one of the pictures.
    """
    output = Path(output)
    if output.suffix.lower() in _OUTPUT_SUFFIXES and not output.is_dir():
        if len(photos) != 1:
            raise UserError(
                f"'{output}' is one file for {len(photos)} pictures; give a folder instead."
            )
        results = [output]
    elif output.suffix.lower() in _SUFFIXES and not output.is_dir():
        raise UserError(f"'{output}' cannot be written; end its name in .png, .jpg or .jpeg.")
    elif output.exists() and not output.is_dir():
        raise UserError(f"'{output}' is a file; give a folder for the results.")
    else:
        results = [output / name for name in _names(photos)]
    sources = {path.resolve() for path, _ in photos}
    for result in results:
        if result.resolve() in sources:
            raise UserError(f"'{result}' would be replaced by its result; give another output.")
    return results


def _names(photos: Sequence[tuple[Path, Path]]) -> list[Path]:
    def name(path: Path, folder: Path, addition: str) -> Path:
        suffix = ".jpg" if path.suffix.lower() in _JPEG_SUFFIXES else ".png"
        return folder / f"{path.stem}{addition}{suffix}"

    # Lower case, because on macOS and Windows A.png and a.png are one file.
    plain = Counter(str(name(path, folder, "")).lower() for path, folder in photos)
    names: list[Path] = []
    taken: set[str] = {key for key, count in plain.items() if count == 1}
    for path, folder in photos:
        result = name(path, folder, "")
        if plain[str(result).lower()] > 1:
            kind = "_" + path.suffix.lower().lstrip(".") if path.suffix else ""
            result, number = name(path, folder, kind or "_1"), 2
            while str(result).lower() in taken:
                result, number = name(path, folder, f"{kind}_{number}"), number + 1
            taken.add(str(result).lower())
        names.append(result)
    return names
