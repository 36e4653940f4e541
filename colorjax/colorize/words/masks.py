"""Instance masks on disk: which part of a photograph each phrase of a prompt is about."""

import math
import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float
from PIL import Image

from colorjax.data.bounds import MAX_PIXELS
from colorjax.data.phrases import without_article
from colorjax.errors import UserError, first_line

Source = str | os.PathLike[str] | np.ndarray
_SUFFIXES = (".npy", ".png")
_MODES = ("1", "L", "LA", "P", "I", "I;16", "RGB", "RGBA")


def read_masks(
    path: str | Path, phrases: Sequence[str], height: int, width: int
) -> Float[np.ndarray, "k height width"]:
    """One mask a phrase, in [0,1]: 1 where the phrase holds. They may overlap, edges may be soft.

    `path` is a folder with one `.npy` or `.png` file for each phrase, or one such file. Files that
    are all called as the phrases are ("the red cup.png") belong to these; otherwise their order
    is that of the phrases, numbers by value: `_2` before `_10`, which L-CAD's release has the other
    way round. One file for several phrases is a map of the labels 0 (nothing) and 1 to k.

    Whatever their size, masks are stretched to the whole picture, linearly as in the release.

    Raises:
        UserError: the masks are not there, not readable, not as many as phrases or empty.
    """
    path = Path(path)
    if path.is_dir():
        files = _files(path, phrases)
        masks = [_coverage(file, _values(file)) for file in files]
        for file, mask in zip(files, masks, strict=True):
            if mask.shape != masks[0].shape:
                raise UserError(
                    f"'{file}' has {_size(mask)} pixels, but '{files[0]}' {_size(masks[0])}; all "
                    "masks must be of the same picture"
                )
    elif path.is_file():
        files = [path] * len(phrases)
        values = _values(path)
        if len(phrases) == 1:
            masks = [_coverage(path, values)]
        else:
            masks = _labelled(path, values, phrases)
    else:
        raise UserError(f"'{path}' does not exist; give a folder of masks, or a label map")
    return _at_model_size(masks, [f"'{file}'" for file in files], phrases, (height, width))


def masks_of_array(
    array: np.ndarray, phrases: Sequence[str], height: int, width: int
) -> Float[np.ndarray, "k height width"]:
    """Masks from an array [k,H,W], one for each phrase, as those that `read_masks` reads.

    Raises:
        UserError: they are not as many as phrases, empty, or no masks.
    """
    values = np.asarray(array)
    if values.ndim != 3 or len(values) != len(phrases):
        raise UserError(
            f"masks have shape {values.shape}, but there are {len(phrases)} phrases: "
            f"{', '.join(map(repr, phrases))}; give one [H,W] for each"
        )
    names = [f"masks[{i}]" for i in range(len(phrases))]
    masks = [_coverage(name, _checked(name, mask)) for name, mask in zip(names, values)]
    return _at_model_size(masks, names, phrases, (height, width))


def of_whole(source: Source, height: int, width: int) -> Float[np.ndarray, "height width"]:
    """One mask at a photograph's full size, in [0,1]; a folder's masks together.

    Args:
        source: an array [H,W], a `.npy` or `.png` file, or a folder of such files.

    Raises:
        UserError: it is no mask, not readable or empty.
    """
    if isinstance(source, np.ndarray):
        parts = [_coverage("the mask", _checked("the mask", source))]
    else:
        path = Path(source)
        if not path.exists():
            raise UserError(f"mask '{path}' does not exist; give a .png or .npy file")
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        files = [file for file in files if not path.is_dir() or file.suffix.lower() in _SUFFIXES]
        parts = [_coverage(file, _values(file)) for file in files]
    if not any(part.any() for part in parts):
        raise UserError(f"mask {_named(source)} has nothing in it; mark what shall be coloured")
    sized = [
        cv2.resize(part.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
        for part in parts
    ]
    whole: np.ndarray = np.clip(np.max(sized, axis=0), 0.0, 1.0)
    return whole


def _named(source: Source) -> str:
    return "of the array" if isinstance(source, np.ndarray) else f"'{source}'"


def _at_model_size(
    masks: Sequence[np.ndarray], names: Sequence[str], phrases: Sequence[str], size: tuple[int, int]
) -> Float[np.ndarray, "k height width"]:
    height, width = size
    resized = [cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR) for mask in masks]
    for name, phrase, mask in zip(names, phrases, resized, strict=True):
        if not mask.any():
            raise UserError(
                f"the mask of {phrase!r} in {name} has nothing in it at the model's size of "
                f"{width} x {height} pixels; mark the whole thing that the phrase names"
            )
    return np.stack(resized).astype(np.float32)


def _files(folder: Path, phrases: Sequence[str]) -> list[Path]:
    """The folder's masks in the order of the phrases."""
    files = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")
    ]
    if len(files) != len(phrases) or not files:
        raise UserError(
            f"'{folder}' has {len(files)} masks ({' or '.join(_SUFFIXES)}), but there are "
            f"{len(phrases)} phrases: {', '.join(map(repr, phrases))}; give one file for each"
        )
    by_name = {without_article(path.stem.lower()): path for path in files}
    names = [without_article(phrase.lower()) for phrase in phrases]
    if set(by_name) == set(names):
        return [by_name[name] for name in names]
    if strange := sorted(set(by_name) - set(names)) if set(by_name) & set(names) else []:
        raise UserError(
            f"'{folder}' has masks that are called as phrases and {', '.join(strange)}, which is "
            f"none of {', '.join(names)}; name all of them so, or none"
        )
    return sorted(files, key=lambda path: _natural(path.name))


def _natural(name: str) -> list[tuple[int, str]]:
    """A name as numbers and the words before them."""
    words = re.findall(r"(\D*)(\d*)", name.lower())
    return [(int(number or -1), word) for word, number in words]


def _values(path: Path) -> np.ndarray:
    """The file's numbers, as they are: [H,W] of booleans, integers or fractions."""
    if path.suffix.lower() not in _SUFFIXES:
        raise UserError(f"'{path}' is no mask; masks are {' or '.join(_SUFFIXES)} files")
    try:
        array = _npy(path) if path.suffix.lower() == ".npy" else _png(path)
    except UserError:
        raise
    # Broken files leave NumPy and Pillow as OSError, ValueError, SyntaxError, EOFError and more.
    except Exception as error:
        raise UserError(f"'{path}' cannot be read as a mask ({first_line(error)})") from error
    if array.ndim == 3 and 1 in (array.shape[0], array.shape[-1]):
        array = array.squeeze(0 if array.shape[0] == 1 else -1)
    return _checked(path, array)


def _checked(name: str | Path, array: np.ndarray) -> np.ndarray:
    """An array that can be a mask or a label map."""
    if array.ndim != 2 or not array.size or array.dtype.kind not in "buif":
        raise UserError(
            f"'{name}' holds {array.dtype} of shape {array.shape}; a mask has a height and a width "
            "and is of booleans, integers or fractions"
        )
    if not np.isfinite(array).all() or array.min() < 0:
        raise UserError(f"'{name}' holds negative or infinite values; a mask goes from 0 up")
    return array


def _npy(path: Path) -> np.ndarray:
    """An array of a size that a picture may have; its header comes first and says which."""
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0
        if version != (1, 0):
            read = np.lib.format.read_array_header_2_0
        shape = read(file)[0]
        if math.prod(shape) > MAX_PIXELS:
            raise ValueError(f"it has shape {shape}, more than {MAX_PIXELS} values")
        file.seek(0)
        array: np.ndarray = np.load(file, allow_pickle=False)
        return array


def _png(path: Path) -> np.ndarray:
    """Gray values, or the palette's indices."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path, formats=("PNG",)) as picture:
            if picture.mode not in _MODES:
                raise UserError(f"'{path}' has mode {picture.mode}, which is no mask's")
            values = np.asarray(picture)
    if values.ndim == 2:
        return values
    has_alpha = values.shape[-1] in (2, 4)
    colours = values[..., :-1] if has_alpha else values
    if (colours != colours[..., :1]).any():
        raise UserError(
            f"'{path}' is coloured; a mask is gray, and a label map has one number a pixel: save "
            "it with a palette or as gray"
        )
    return colours[..., 0]


def _coverage(path: str | Path, values: np.ndarray) -> Float[np.ndarray, "H W"]:
    """Values in [0,1]. Integers are 0 and 1, or else full at 255 or 65535."""
    largest = values.max()
    if values.dtype.kind == "f":
        if largest > 1:
            raise UserError(f"'{path}' has values up to {largest:g}; fractions go from 0 to 1")
        full = 1
    else:
        full = next((limit for limit in (1, 255, 65535) if largest <= limit), 0)
        if not full:
            raise UserError(f"'{path}' has values up to {largest}; a mask goes up to 1 or 255")
    return values.astype(np.float64) / full


def _labelled(
    path: Path, values: np.ndarray, phrases: Sequence[str]
) -> list[Float[np.ndarray, "H W"]]:
    """Mask j is where the label is j, from 1 on."""
    count = len(phrases)
    labels = set(np.unique(values).tolist()) - {0}
    if values.dtype.kind not in "ui" or labels != set(range(1, count + 1)):
        first = ", ".join(str(label) for label in sorted(labels)[:5])
        raise UserError(
            f"'{path}' has the labels {first}{', ...' if len(labels) > 5 else ''} in "
            f"{values.dtype}; for {count} phrases one file must hold the integers 0 (nothing) and "
            f"1 to {count}, or else give a folder with {count} masks"
        )
    return [(values == label).astype(np.float64) for label in range(1, count + 1)]


def _size(mask: np.ndarray) -> str:
    return f"{mask.shape[1]} x {mask.shape[0]}"
