"""Draws the pictures of the README: `python docs/pictures.py` writes them into docs/.

photographs.jpg: photographs of the 19th century, each beside what was made of it; failure.jpg: one
that the small model has no words for.
prompts.png: gray, and the same photograph coloured by the bundled model under two prompts.
vividness.png: gray, and one run of Diffusing Colors at vividness 0.6, 0.8, 1, 1.2 and 1.4.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import colorjax
from colorjax import release
from colorjax.colorize.buckets import bucket_for
from colorjax.colorize.chroma import recombine
from colorjax.colorize.colorizer import Colorizer
from colorjax.colorize.files.photos import load_photo
from colorjax.colorize.files.saving import to_picture
from colorjax.colorize.library import PhotoColorizer
from colorjax.devices import compile_cache
from colorjax.maths import color
from colorjax.methods.method import Pictures

ROOT = Path(__file__).parent.parent
SIDE, GAP = 192, 6
ROWS = (
    ("car.png", "a red car on a gray background", "a blue car on a gray background"),
    ("horse.png", "a brown horse on a green background", "a white horse on a yellow background"),
    ("ship.png", "a white ship on a blue background", "a red ship on a yellow background"),
)

PHOTOGRAPHS: tuple[tuple[str, tuple[dict[str, Any], ...]], ...] = (
    (
        "boats.jpg",
        (
            dict(prompt="a brown ship on a blue background", seed=4),
            dict(prompt="a red ship on a blue background", seed=4),
        ),
    ),
    ("alps.jpg", (dict(), dict(vividness=1.3))),
)
FAILURE = ("house.jpg", (dict(), dict(prompt="a red house on a yellow field, blue sky")))
WIDTH = 480


def main() -> None:
    compile_cache.setup()
    photographer = colorjax.load("bundled")
    for name, rows in (("photographs.jpg", PHOTOGRAPHS), ("failure.jpg", (FAILURE,))):
        save(name, [coloured(photographer, *row) for row in rows])
    colorizer = Colorizer(release.BUNDLED)
    save("prompts.png", [prompts(colorizer, name, *texts) for name, *texts in ROWS])
    cold = Colorizer(release.BUNDLED, "diffusing_colors")
    save("vividness.png", [vividness(cold, name, text) for name, text, _ in ROWS])


def coloured(colorizer: PhotoColorizer, name: str, calls: Sequence[dict[str, Any]]) -> np.ndarray:
    """A photograph, and what each call makes of it."""
    path = ROOT / "examples" / name
    shown = [Image.open(path).convert("RGB")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the words that it does not know
        shown += [colorizer(path, **call).image for call in calls]
    height = round(WIDTH * shown[0].height / shown[0].width)
    sheet = np.full((height + GAP, (WIDTH + GAP) * len(shown) - GAP, 3), 255, np.uint8)
    for i, picture in enumerate(shown):
        left = i * (WIDTH + GAP)
        sheet[:height, left : left + WIDTH] = np.asarray(picture.resize((WIDTH, height)))
    return sheet


def save(name: str, rows: list[np.ndarray]) -> None:
    Image.fromarray(np.concatenate(rows)[:-GAP]).save(
        ROOT / "docs" / name, optimize=True, quality=88
    )


def prompts(colorizer: Colorizer, name: str, *texts: str) -> np.ndarray:
    lightness, small = load(colorizer, name)
    images = colorizer(pictures(colorizer, small, texts))
    return row(images, lightness, small)


def vividness(colorizer: Colorizer, name: str, text: str) -> np.ndarray:
    lightness, small = load(colorizer, name)
    candidates = colorizer.candidates(pictures(colorizer, small, [text]))
    return row(candidates.images[0, ::2], lightness, small)


def pictures(colorizer: Colorizer, small: np.ndarray, texts: Sequence[str]) -> Pictures:
    """One photograph, once for each text."""
    return Pictures(np.stack([small] * len(texts)), colorizer.tokenize(texts), seed=0)


def load(colorizer: Colorizer, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Lightness at full and at model size."""
    lightness = color.lightness(load_photo(ROOT / "examples" / name).rgb)[..., 0]
    size = bucket_for(*lightness.shape, colorizer.buckets)
    return lightness, recombine.to_model_size(lightness, *size)


def row(images: np.ndarray, lightness: np.ndarray, small: np.ndarray) -> np.ndarray:
    gray = np.zeros_like(images[0])
    return tiles([recombine.full_picture(raw, lightness, small) for raw in (gray, *images)])


def tiles(pictures: list[np.ndarray]) -> np.ndarray:
    sheet = np.full((SIDE + GAP, (SIDE + GAP) * len(pictures) - GAP, 3), 255, np.uint8)
    for i, picture in enumerate(pictures):
        tile = to_picture(picture).resize((SIDE, SIDE))
        left = i * (SIDE + GAP)
        sheet[:SIDE, left : left + SIDE] = np.asarray(tile)
    return sheet


if __name__ == "__main__":
    main()
