"""Draws the pictures of the README: `python docs/pictures.py` writes docs/*.png.

prompts.png: gray, and the same photograph coloured by the bundled model under two prompts.
vividness.png: gray, and one run of Diffusing Colors at vividness 0.6, 0.8, 1, 1.2 and 1.4.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from colorjax import release
from colorjax.colorize import recombine
from colorjax.colorize.buckets import bucket_for
from colorjax.colorize.colorizer import Colorizer
from colorjax.colorize.photos import load_photo
from colorjax.colorize.saving import to_picture
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


def main() -> None:
    compile_cache.setup()
    colorizer = Colorizer(release.BUNDLED)
    save("prompts.png", [prompts(colorizer, name, *texts) for name, *texts in ROWS])
    cold = Colorizer(release.BUNDLED, "diffusing_colors")
    save("vividness.png", [vividness(cold, name, text) for name, text, _ in ROWS])


def save(name: str, rows: list[np.ndarray]) -> None:
    Image.fromarray(np.concatenate(rows)[:-GAP]).save(ROOT / "docs" / name, optimize=True)


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
