"""Colours that a person has put somewhere, spread along the photograph's own edges.

Levin, Lischinski and Weiss 2004, "Colorization using optimization": neighbours of like lightness
get like chroma, which is a sparse linear system. Here it has one term more: a slight pull of every
pixel to the model's own chroma, so that a stroke wins where it is near and nothing lies between,
and what no stroke is about stays as the model has it.
"""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float
from PIL import Image, ImageColor

from colorjax import files
from colorjax.colorize.chroma.recombine import Chroma, enlarged, to_model_size
from colorjax.data.bounds import MAX_PIXELS
from colorjax.data.rows import Rows
from colorjax.errors import UserError, first_line
from colorjax.maths import color

HintSource = str | os.PathLike[str] | Image.Image | Sequence[Mapping[str, Any]]
SIDE = 256  # of the square whose area the system is solved at, in pixels, if the model's is less
PULL = (
    1e-4  # of the model's chroma, which bounds how far a stroke is felt: some 1/sqrt(PULL) pixels
)
_ADVICE = "give a PNG or a JSON file of points"
_FELT, _SURE = 0.05, 0.35  # of confidence: where a stroke begins to count, where it is all
_RADIUS = 0.01  # of a point, as a share of the photograph's longer side
# Of lightness: noise is no edge, and no texture is so rough that an edge would be like it.
_LEAST_VARIANCE, _MOST_VARIANCE = 4.0, 36.0
_OPAQUE = 0.5
_MOST_PIXELS = 4 * 10**6  # that hints are kept at: the system is solved at fewer
_MOST_POINTS = 5000  # each may cover the whole photograph, a millisecond's work


class Hints(NamedTuple):
    """Chroma where a person has said it, at the photograph's size or, of a large one, less."""

    ab: Float[np.ndarray, "H W 2"]
    where: Bool[np.ndarray, "H W"]


def read(source: HintSource, height: int, width: int) -> Hints:
    """Hints for a photograph of a size.

    Args:
        source: a transparent picture of strokes, of the photograph's shape, or points: a list of
            objects with `x` and `y` in the photograph's pixels, `color` (as CSS writes it) and,
            if wanted, a `radius`; or a path to a PNG or a JSON file with them.

    Raises:
        UserError: it cannot be read, says nothing, or a point lies outside.
    """
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        try:
            if path.suffix.lower() != ".json":
                with Image.open(path, formats=("PNG",)) as picture:
                    if picture.width * picture.height > MAX_PIXELS:
                        raise UserError(f"hints '{path}' have more pixels than a photograph may")
                    picture.load()
                return _of_strokes(picture, f"'{path}'", height, width)
            points = files.read_json(path, advice=_ADVICE)
        except UserError:
            raise
        except FileNotFoundError:
            raise UserError(f"hints '{path}' do not exist; give a PNG or a JSON file") from None
        except Exception as error:  # broken files leave libraries in many ways
            raise UserError(
                f"hints '{path}' cannot be read ({first_line(error)}); give a PNG or a JSON file"
            ) from error
        return _of_points(points, f"'{path}'", height, width)
    if isinstance(source, Image.Image):
        return _of_strokes(source, "the hints", height, width)
    return _of_points(source, "the hints", height, width)


def blended(chroma: Chroma, hints: Hints, lightness: Float[np.ndarray, "H W"] | Rows) -> Chroma:
    """The model's chroma with a person's in it, at the size that the system is solved at."""
    height, width = _working_size(chroma.lightness.shape, lightness.shape)
    guide = to_model_size(lightness, height, width)
    model = enlarged(chroma, guide)
    ab, where = _shrunk(hints, height, width)
    # The strokes' effect on a pixel, and their colours by it: both by one system.
    known = np.concatenate([ab, np.ones((height, width, 1), np.float32)], axis=-1)
    spread = solved(guide, known, where)
    own = spread[..., :2] / np.maximum(spread[..., 2:], 1e-6)
    share = np.clip((spread[..., 2:] - _FELT) / (_SURE - _FELT), 0.0, 1.0)
    sure = share * share * (3.0 - 2.0 * share)
    return Chroma((sure * own + (1.0 - sure) * model.ab).astype(np.float32), guide)


def solved(
    lightness: Float[np.ndarray, "h w"],
    known: Float[np.ndarray, "h w c"],
    where: Bool[np.ndarray, "h w"],
    pull: float = PULL,
) -> Float[np.ndarray, "h w c"]:
    """What is known somewhere, spread to everywhere.

    Solves u(r) (1 + pull) = sum_s w(r,s) u(s) over the eight neighbours s of every other pixel r,
    with w(r,s) ~ exp(-(Y(r) - Y(s))^2 / (2 sigma(r)^2)) of sum 1 (equations 1 and 2 of the paper;
    sigma(r)^2 is the variance of the lightness Y around r, here within bounds: at a sharp edge it
    would be so large that colours leak). `pull` 0 is the paper's; above 0 the result decays to 0
    with the distance from what is known.
    """
    # Here, since it takes a tenth of a second and most photographs come without hints.
    import scipy.sparse
    import scipy.sparse.linalg

    height, width = lightness.shape
    count = height * width
    rows, columns, weights = _weights(np.asarray(lightness, np.float64))
    free = ~where.ravel()
    kept = free[rows]
    matrix = scipy.sparse.csr_array(
        (-weights[kept], (rows[kept], columns[kept])), shape=(count, count)
    ) + scipy.sparse.diags_array(np.where(free, 1.0 + pull, 1.0))
    right = np.where(where[..., None], known, 0.0).reshape(count, -1).astype(np.float64)
    solution = scipy.sparse.linalg.splu(matrix.tocsc(), permc_spec="COLAMD").solve(right)
    spread: np.ndarray = solution.reshape(height, width, -1).astype(np.float32)
    return spread


def _weights(lightness: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixel, neighbour and weight of every pair; the weights of a pixel's neighbours sum to 1."""
    height, width = lightness.shape
    kernel, border = (3, 3), cv2.BORDER_REPLICATE
    mean = cv2.blur(lightness, kernel, borderType=border)
    variance = cv2.blur((lightness - lightness.mean()) ** 2, kernel, borderType=border)
    variance -= (mean - lightness.mean()) ** 2
    spread = 2.0 * np.clip(variance, _LEAST_VARIANCE, _MOST_VARIANCE)
    number = np.arange(height * width).reshape(height, width)
    rows, columns, weights = [], [], []
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            if down == right == 0:
                continue
            here = (_span(down, height), _span(right, width))
            there = (_span(-down, height), _span(-right, width))
            difference = lightness[here] - lightness[there]
            rows.append(number[here].ravel())
            columns.append(number[there].ravel())
            weights.append(np.exp(-(difference**2) / spread[here]).ravel())
    row, column, weight = map(np.concatenate, (rows, columns, weights))
    total = np.bincount(row, weight, minlength=height * width)
    return row, column, weight / np.maximum(total, np.finfo(np.float64).tiny)[row]


def _span(step: int, length: int) -> slice:
    """The places that have a neighbour `step` further on."""
    return slice(max(0, -step), length - max(0, step))


def _working_size(model: tuple[int, ...], full: tuple[int, ...]) -> tuple[int, int]:
    """(height, width) of the photograph's shape, of the model's area or of `SIDE` squared."""
    area = max(SIDE * SIDE, model[0] * model[1])
    scale = min(1.0, (area / (full[0] * full[1])) ** 0.5)
    return max(1, round(full[0] * scale)), max(1, round(full[1] * scale))


def _shrunk(hints: Hints, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean chroma where a pixel is touched by a hint, and where that is."""
    share = cv2.resize(
        hints.where.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA
    )
    marked = np.where(hints.where[..., None], hints.ab, 0.0).astype(np.float32)
    total = cv2.resize(marked, (width, height), interpolation=cv2.INTER_AREA)
    # A thin stroke shall not vanish, nor what it only grazes be counted.
    where = share >= min(0.25, float(share.max()) / 2.0)
    return total / np.maximum(share, 1e-6)[..., None], where


def _scale(height: int, width: int) -> float:
    """By which the hints of a large photograph are made small."""
    return min(1.0, math.sqrt(_MOST_PIXELS / (height * width)))


def _of_strokes(picture: Image.Image, name: str, height: int, width: int) -> Hints:
    if not picture.has_transparency_data:
        raise UserError(f"{name} has no transparency: strokes are painted on an empty layer")
    aspect = picture.width * height / (picture.height * width)
    if not 0.98 < aspect < 1.02:
        raise UserError(
            f"{name} is {picture.width} x {picture.height} pixels and the photograph "
            f"{width} x {height}; give strokes of the same shape"
        )
    scale = _scale(height, width)
    height, width = max(1, round(height * scale)), max(1, round(width * scale))
    layer = picture.convert("RGBA").resize((width, height), Image.Resampling.NEAREST)
    values = np.asarray(layer)
    where = values[..., 3] >= 255 * _OPAQUE
    if not where.any():
        raise UserError(f"{name} has no strokes in it")
    ab = np.zeros((height, width, 2), np.float32)
    ab[where] = color.srgb_to_lab(color.unit_from_bytes(values[where][:, :3]))[..., 1:]
    return Hints(ab, where)


def _of_points(points: Any, name: str, height: int, width: int) -> Hints:
    if not isinstance(points, Sequence) or isinstance(points, str) or not points:
        raise UserError(
            f'{name} must be a list of points such as {{"x": 40, "y": 25, "color": "#7a2b1f"}}'
        )
    if len(points) > _MOST_POINTS:
        raise UserError(f"{name} has {len(points)} points; give at most {_MOST_POINTS}")
    scale = _scale(height, width)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    # Which point is seen in a pixel, from 1: the last one that covers it.
    seen = np.zeros(size, np.int32)
    codes: list[tuple[int, ...]] = [(0, 0, 0)]
    for number, point in enumerate(points, 1):
        x, y, code, radius = _point(point, f"point {number} of {name}", height, width)
        place = (min(round(x * scale), size[1] - 1), min(round(y * scale), size[0] - 1))
        cv2.circle(seen, place, max(0, round(radius * scale)), number, cv2.FILLED)
        codes.append(code)
    ab = color.srgb_to_lab(color.unit_from_bytes(np.array(codes, np.uint8)))[:, 1:]
    ab[0] = 0.0
    return Hints(ab[seen], seen > 0)


def _point(
    point: Any, name: str, height: int, width: int
) -> tuple[float, float, tuple[int, ...], float]:
    try:
        x, y = float(point["x"]), float(point["y"])
        radius = float(point.get("radius", _RADIUS * max(height, width)))
        code = ImageColor.getrgb(str(point["color"]))[:3]
        if not all(0 <= level <= 255 for level in code):
            raise ValueError("a color's levels go from 0 to 255")
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UserError(
            f'{name} cannot be used ({first_line(error)}): give x, y and a color such as "#7a2b1f"'
        ) from None
    if not (0 <= x < width and 0 <= y < height and 0 <= radius <= max(height, width)):
        raise UserError(f"{name} lies outside of the photograph's {width} x {height} pixels")
    return x, y, code, radius
