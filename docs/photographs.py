"""Draws the pictures of docs/photographs.md: `python docs/photographs.py`."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import colorjax
from colorjax.colorize.chroma import sheets
from colorjax.colorize.command.run import main as main_command
from colorjax.colorize.library import PhotoColorizer

ROOT = Path(__file__).parent.parent
SIDE, GAP, STEPS = 224, 6, 6
BOATS = ROOT / "examples" / "boats.jpg"
CAR = ROOT / "examples" / "car.png"
# x and y as shares of the sides: the suit, the face, the hair, the wall, the flag.
POINTS = (
    *((0.45, 0.75, "#e0702a"), (0.3, 0.6, "#e0702a"), (0.2, 0.8, "#e0702a")),
    *((0.43, 0.2, "#d09a7c"), (0.42, 0.12, "#6b4a2a"), (0.62, 0.12, "#b9c0c8")),
    *((0.24, 0.3, "#b9c0c8"), (0.11, 0.3, "#7c3030")),
)


def main() -> None:
    colorizer = colorjax.load("bundled")
    grid(colorizer)
    result = colorizer(BOATS, "ships on the sea")
    assert result.image is not None
    gray = result.adjusted(0.0)
    save("compare", [gray.image, result.image])
    tints = [result.adjusted(tint=(warm, 0)).image for warm in (-20, 0, 20)]
    save("tint", [*tints, result.adjusted(vividness=2.0).image])
    save("doubt", [colorizer(CAR, "a car").image, colorizer.doubt(CAR, "a car").image])
    hints(colorizer)
    frames()


def grid(colorizer: PhotoColorizer) -> None:
    results = colorizer.variations(CAR, 6, "a car")
    pictures = [np.asarray(result.image) for result in results]
    page = sheets.sheet(pictures, [f"seed {i}" for i in range(6)])
    Image.fromarray(page).save(ROOT / "docs" / "photographs_grid.png", optimize=True)


def hints(colorizer: PhotoColorizer) -> None:
    photo = ROOT / "examples" / "astronaut.jpg"
    width, height = Image.open(photo).size
    points = [{"x": x * width, "y": y * height, "color": color} for x, y, color in POINTS]
    plain, hinted = colorizer(photo), colorizer(photo, hints=points)
    marked = plain.adjusted(0.0).image
    assert marked is not None
    draw = ImageDraw.Draw(marked)
    for point in points:
        draw.circle((point["x"], point["y"]), 9, point["color"], "white", 2)
    save("hints", [marked, plain.image, hinted.image])


def frames() -> None:
    """A view that moves over a photograph, coloured frame by frame and along the motion."""
    whole = Image.open(BOATS).convert("L")
    with tempfile.TemporaryDirectory() as folder:
        views = Path(folder, "frames")
        views.mkdir()
        for i in range(STEPS):
            left, top = 20 * i, 10 * i
            whole.crop((left, top, left + 800, top + 560)).save(views / f"{i}.png")
        rows = []
        for more in ([], ["--frames"]):
            output = Path(folder, "out" + "".join(more))
            main_command([str(views), "--output", str(output), *more])
            rows.append([Image.open(output / f"{i}.png") for i in range(STEPS)])
        small = [[picture.resize((130, 91)) for picture in row] for row in rows]
        page = Image.new("RGB", (STEPS * 136 - GAP, 2 * 97 - GAP), "white")
        for j, row in enumerate(small):
            for i, picture in enumerate(row):
                page.paste(picture, (i * 136, j * 97))
        page.save(ROOT / "docs" / "photographs_frames.png", optimize=True)


def save(name: str, pictures: Sequence[Image.Image | None]) -> None:
    """Side by side, as a JPEG would show them and small enough for a page."""
    tiles = []
    for picture in pictures:
        assert picture is not None
        scale = SIDE / picture.width
        tiles.append(picture.convert("RGB").resize((SIDE, round(picture.height * scale))))
    height = max(tile.height for tile in tiles)
    page = Image.new("RGB", (len(tiles) * (SIDE + GAP) - GAP, height), "white")
    for i, tile in enumerate(tiles):
        page.paste(tile, (i * (SIDE + GAP), 0))
    page.save(ROOT / "docs" / f"photographs_{name}.png", optimize=True)


if __name__ == "__main__":
    main()
