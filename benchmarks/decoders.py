"""CPU milliseconds a picture of what could decode and resize, for a decision among them.

    taskset -c 1 python -m benchmarks.decoders [--pictures=FOLDER] [--kilobytes=160]

The pictures are those of `input_pipeline`.
"""

import argparse
import io
from collections.abc import Callable, Sequence

import cv2
import numpy as np
import simplejpeg
from PIL import Image

from benchmarks.pictures import SIZE, add_flags, compressed, photographs
from benchmarks.timing import fastest
from colorjax.data import transforms


def decoders(files: Sequence[bytes], rounds: int) -> dict[str, float]:
    """CPU milliseconds a picture of each decoder and resizer, the least of so many rounds."""
    pixels = [transforms.decode(file) for file in files]
    opened = [Image.fromarray(p) for p in pixels]
    box = (13, 9, 613, 459)

    def pillow(file: bytes, draft: bool = False) -> np.ndarray:
        picture = Image.open(io.BytesIO(file))
        if draft:
            picture.draft("RGB", (SIZE,) * 2)
        return np.asarray(picture)

    def crop(p: np.ndarray) -> np.ndarray:
        return p[box[1] : box[3], box[0] : box[2]]

    size, area = (SIZE,) * 2, cv2.INTER_AREA
    bicubic = Image.Resampling.BICUBIC
    steps: dict[str, Callable[[], object]] = {
        "decode: simplejpeg (used)": lambda: [simplejpeg.decode_jpeg(f) for f in files],
        "decode: OpenCV": lambda: [
            cv2.imdecode(np.frombuffer(f, np.uint8), cv2.IMREAD_COLOR_RGB) for f in files
        ],
        "decode: Pillow": lambda: [pillow(f) for f in files],
        "decode: Pillow, draft mode": lambda: [pillow(f, draft=True) for f in files],
        "decode: simplejpeg at 5/8": lambda: [
            simplejpeg.decode_jpeg(f, min_height=300, min_width=400, min_factor=1) for f in files
        ],
        "resize: fast_image_resize, bicubic (used)": lambda: [
            transforms.bicubic(crop(p), *size) for p in pixels
        ],
        "resize: Pillow, bicubic": lambda: [p.crop(box).resize(size, bicubic) for p in opened],
        "resize: OpenCV, area": lambda: [
            cv2.resize(crop(p), size, interpolation=area) for p in pixels
        ],
    }
    return {name: 1e3 * fastest(step, rounds) / len(files) for name, step in steps.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_flags(parser)
    parser.add_argument("--rounds", type=int, default=5)
    flags = parser.parse_args()
    pictures = photographs(flags.pictures)
    files = [compressed(picture, flags.kilobytes) for picture in pictures]
    for name, value in decoders(files, flags.rounds).items():
        print(f"{name:44}{value:8.3f}")


if __name__ == "__main__":
    main()
