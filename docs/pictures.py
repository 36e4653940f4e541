"""Draws the pictures of the README: `python docs/pictures.py` writes docs/*.png.

prompts.png: gray, and the same photograph coloured by the bundled model under two prompts.
vividness.png: gray, and one run of Diffusing Colors at vividness 0.6, 0.8, 1, 1.2 and 1.4.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from colorjax import release
from colorjax.colorize import recombine
from colorjax.colorize.cold_colorizer import ColdColorizer
from colorjax.colorize.colorizer import Colorizer, bucket_for, fingerprint
from colorjax.colorize.photos import load_photo
from colorjax.devices import compile_cache
from colorjax.maths import color

ROOT = Path(__file__).parent.parent
SIDE, GAP = 192, 6
ROWS = (
    ("car.png", "a red car on a gray background", "a blue car on a gray background"),
    ("horse.png", "a brown horse on a green background", "a white horse on a yellow background"),
    ("ship.png", "a white ship on a blue background", "a red ship on a yellow background"),
)


def main() -> None:
    compile_cache.setup()
    colorizer = Colorizer(release.BUNDLED, guidance_scale=3.0)
    save("prompts.png", [prompts(colorizer, name, *texts) for name, *texts in ROWS])
    cold = ColdColorizer(release.BUNDLED)
    save("vividness.png", [vividness(cold, name, text) for name, text, _ in ROWS])


def save(name: str, rows: list[np.ndarray]) -> None:
    Image.fromarray(np.concatenate(rows)[:-GAP]).save(ROOT / "docs" / name, optimize=True)


def prompts(colorizer: Colorizer, name: str, *texts: str) -> np.ndarray:
    lightness, small = load(colorizer, name)
    count = len(texts)
    prints = [fingerprint(lightness)] * count
    images = colorizer(np.stack([small] * count), colorizer.tokenize(texts), prints, seed=0)
    return row(images, lightness, small)


def vividness(colorizer: ColdColorizer, name: str, text: str) -> np.ndarray:
    lightness, small = load(colorizer, name)
    ids = colorizer.tokenize([text])
    found = colorizer.candidates(small[None], ids, [fingerprint(lightness)], seed=0)
    return row(found.images[0, ::2], lightness, small)


def load(colorizer, name: str) -> tuple[np.ndarray, np.ndarray]:
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
        tile = Image.fromarray(np.round(picture * 255).astype(np.uint8)).resize((SIDE, SIDE))
        left = i * (SIDE + GAP)
        sheet[:SIDE, left : left + SIDE] = np.asarray(tile)
    return sheet


if __name__ == "__main__":
    main()
