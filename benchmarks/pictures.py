"""The photographs that the input pipeline and the decoders are measured on: 640 x 480 JPEGs."""

import argparse
import io
import math
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT, SIZE = 640, 480, 256  # of the files, and of what a model is trained on
PHOTOGRAPHS = ("astronaut", "coffee", "chelsea", "rocket", "hubble_deep_field", "retina")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds what chooses the photographs."""
    parser.add_argument("--pictures", type=Path, help="folder of photographs")
    parser.add_argument("--kilobytes", type=float, default=160.0, help="of each JPEG")


def photographs(folder: Path | None) -> list[Image.Image]:
    """The pictures of a folder, or scikit-image's, scaled to cover 640 x 480 and cut to it."""
    opened: list[Image.Image]
    if folder is not None:
        opened = [Image.open(path) for path in sorted(folder.iterdir()) if path.suffix != ".txt"]
    else:
        import skimage.data

        opened = [Image.fromarray(getattr(skimage.data, name)()) for name in PHOTOGRAPHS]
    return [_covering(picture.convert("RGB")) for picture in opened]


def _covering(picture: Image.Image) -> Image.Image:
    scale = max(WIDTH / picture.width, HEIGHT / picture.height)
    size = math.ceil(picture.width * scale), math.ceil(picture.height * scale)
    left, top = (size[0] - WIDTH) // 2, (size[1] - HEIGHT) // 2
    box = left, top, left + WIDTH, top + HEIGHT
    return picture.resize(size, Image.Resampling.LANCZOS).crop(box)


def compressed(picture: Image.Image, kilobytes: float) -> bytes:
    """A JPEG of about that size, by its quality."""
    for quality in range(50, 100):
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality)
        if file.tell() >= kilobytes * 1000:
            break
    return file.getvalue()


def write_files(folder: Path, pictures: list[Image.Image], count: int, kilobytes: float) -> float:
    """Writes `count` files with a caption each; returns their mean size in kB."""
    folder.mkdir()
    files = [compressed(picture, kilobytes) for picture in pictures]
    for i in range(count):
        (folder / f"{i:05d}.jpg").write_bytes(files[i % len(files)])
        (folder / f"{i:05d}.txt").write_text(f"a red car number {i} beside a green tree")
    return float(np.mean([len(file) for file in files])) / 1000
