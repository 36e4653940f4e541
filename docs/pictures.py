"""Draws the pictures of the README: `python docs/pictures.py` writes docs/*.png.

Each row: gray, and the same photograph coloured by the bundled model under two prompts.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from colorjax import color, recombine, release, runtime
from colorjax.data.photos import load_photo
from colorjax.inference import Colorizer, bucket_for, fingerprint

ROOT = Path(__file__).parent.parent
SIDE, GAP = 192, 6
ROWS = (
    ("car.png", "a red car on a gray background", "a blue car on a gray background"),
    ("horse.png", "a brown horse on a green background", "a white horse on a yellow background"),
    ("ship.png", "a white ship on a blue background", "a red ship on a yellow background"),
)


def main() -> None:
    runtime.setup()
    colorizer = Colorizer(release.BUNDLED, guidance_scale=3.0)
    rows = [row(colorizer, load_photo(ROOT / "examples" / name), *texts) for name, *texts in ROWS]
    sheet = np.concatenate(rows)[:-GAP]
    Image.fromarray(sheet).save(ROOT / "docs" / "prompts.png", optimize=True)


def row(colorizer, photo, *prompts: str) -> np.ndarray:
    lightness = color.lightness(photo.rgb)[..., 0]
    size = bucket_for(*lightness.shape, colorizer.buckets)
    small = recombine.to_model_size(lightness, *size)
    count = len(prompts)
    prints = [fingerprint(lightness)] * count
    images = colorizer(np.stack([small] * count), colorizer.tokenize(prompts), prints, seed=0)
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
