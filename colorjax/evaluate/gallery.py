"""Which pictures are shown, and what every painter makes of them once more.

Nothing was kept while measuring; a painter's picture is the same whenever it is made.
"""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image

from colorjax import files
from colorjax.evaluate import measures, pictures
from colorjax.evaluate.measures import Measure
from colorjax.evaluate.measuring import GRAY, TRUTH, Measurement
from colorjax.evaluate.tally import Tally
from colorjax.maths import color

FIRST = 12  # pictures of the grid, and with sliders
EXTREMES = 3  # worst and best ones by each measure
LARGEST_PNG = 64  # pixels a side; larger ones are JPEG
GAP = 2  # pixels of white between pictures of the grid
Pixels = Float[np.ndarray, "h w 3"]  # [0,1]


class Extremes(NamedTuple):
    """The pictures that one painter did worst and best on, by one measure."""

    painter: str
    measure: Measure
    worst: list[int]  # places in the split
    best: list[int]
    values: dict[int, float]


class Shown(NamedTuple):
    """One picture in every version: gray, each painter's, the truth."""

    key: str
    caption: str
    versions: dict[str, Pixels]


def extremes(tally: Tally, painters: Sequence[str]) -> list[Extremes]:
    """By every measure that pictures have values of, and that has a better end."""
    rows = []
    for painter in painters:
        scores = tally.scores(painter)
        for measure in measures.STATISTICS:
            if not measure.best or measure.of not in scores or measure.name == "psnr_pooled":
                continue
            values = np.abs(scores[measure.of])
            known = np.flatnonzero(~np.isnan(values))
            order = known[np.argsort(values[known], kind="stable")]
            if measure.best == "low":
                order = order[::-1]
            places = tally.places
            worst, best = order[:EXTREMES], order[::-1][:EXTREMES]
            shown = {int(places[i]): float(values[i]) for i in (*worst, *best)}
            if shown and measure.name != "delta_colourfulness":
                ends = [int(places[i]) for i in worst], [int(places[i]) for i in best]
                rows.append(Extremes(painter, measure, ends[0], ends[1], shown))
    return rows


def show(measurement: Measurement, places: Sequence[int]) -> dict[int, Shown]:
    """The pictures at these places, coloured again, batch by batch."""
    shown: dict[int, Shown] = {}
    size = measurement.frame.batch_size
    for start in range(0, len(places), size):
        part = list(places[start : start + size])
        batch = pictures.at(measurement.selection, measurement.frame, part)
        lightness = color.lightness(batch.truth)
        versions = {GRAY: color.gray(lightness)}
        for painter in measurement.painters:
            raw = painter.paint(batch, measurement.seed)
            versions[painter.name] = pictures.shown(raw, lightness)
        versions[TRUTH] = batch.truth
        for row, place in enumerate(part):
            own = {name: images[row] for name, images in versions.items()}
            shown[place] = Shown(batch.keys[row], batch.captions[row], own)
    return shown


def encoded(pixels: Pixels) -> tuple[str, bytes]:
    """The type and bytes of a picture's file: PNG for small ones, JPEG for large ones."""
    image = Image.fromarray(color.unit_to_bytes(pixels))
    file = io.BytesIO()
    if max(image.size) <= LARGEST_PNG:
        image.save(file, "PNG", optimize=True)
        return "image/png", file.getvalue()
    image.save(file, "JPEG", quality=92, subsampling=0)
    return "image/jpeg", file.getvalue()


def data_uri(pixels: Pixels) -> str:
    """A picture within a page."""
    kind, data = encoded(pixels)
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def grid(shown: Sequence[Shown]) -> bytes:
    """A PNG with a row for each picture, its versions side by side, small ones enlarged."""
    rows = []
    for one in shown:
        tiles = [
            np.pad(color.unit_to_bytes(p), ((0, GAP), (0, GAP), (0, 0)), constant_values=255)
            for p in one.versions.values()
        ]
        rows.append(np.concatenate(tiles, axis=1))
    picture = Image.fromarray(np.concatenate(rows))
    scale = max(1, 96 // (rows[0].shape[0] - GAP))
    size = (picture.width * scale, picture.height * scale)
    file = io.BytesIO()
    picture.resize(size, Image.Resampling.NEAREST).save(file, "PNG", optimize=True)
    return file.getvalue()


def save_all(measurement: Measurement, folder: Path) -> None:
    """Writes every painter's pictures, a folder for each, for `--outputs` of any program.

    PNG, as they are measured with the lightness kept.

    Raises:
        UserError: the disk refuses.
    """
    for batch in pictures.read(measurement.selection, measurement.frame):
        lightness = color.lightness(batch.truth)
        for painter in measurement.painters:
            images = pictures.shown(painter.paint(batch, measurement.seed), lightness)
            for key, pixels in zip(batch.keys, images, strict=True):
                file = io.BytesIO()
                Image.fromarray(color.unit_to_bytes(pixels)).save(file, "PNG")
                name = Path(key).with_suffix(".png").name
                files.write_bytes(folder / painter.name.replace("/", "_") / name, file.getvalue())
