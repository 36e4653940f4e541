"""The pictures that docs/finetune.md is about, and its figure.

    python docs/finetune.py pictures --data=data/cifar10 --output=film
    python docs/finetune.py figure --run=runs/finetune

`film` are the first 50 CIFAR-10 test pictures as film for lamplight shows them in daylight: bluish.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from colorjax.data import records, transforms

COUNT = 50
# Of linear red, green and blue: about what daylight of 5600 K is to film balanced for 3200 K.
GAINS = np.array([0.5, 0.85, 1.7], np.float32)


def as_film(image: np.ndarray) -> np.ndarray:
    """The picture in other light."""
    linear = (image.astype(np.float32) / 255.0) ** 2.2 * GAINS
    return np.round(255.0 * np.clip(linear, 0.0, 1.0) ** (1 / 2.2)).astype(np.uint8)


def write_pictures(data: Path, output: Path) -> None:
    """The first test pictures, without captions."""
    source = records.open_split(data, "test")
    output.mkdir(parents=True, exist_ok=True)
    for place in range(COUNT):
        row = records.Record.unpack(source[place])
        Image.fromarray(as_film(transforms.decode(row.image))).save(output / f"{row.key}.png")
    print(f"{COUNT} pictures in '{output}'")


def write_figure(run: Path, output: Path) -> None:
    """What the run shows of its held-out pictures, twice as large."""
    with Image.open(run / "before_after.png") as sheet:
        sheet.convert("RGB").save(output, optimize=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("pictures", "figure"))
    parser.add_argument("--data", type=Path, default=Path("data/cifar10"))
    parser.add_argument("--run", type=Path, default=Path("runs/finetune"))
    parser.add_argument("--output", type=Path)
    args = parser.parse_args(arguments)
    if args.what == "pictures":
        write_pictures(args.data, args.output or Path("film"))
    else:
        write_figure(args.run, args.output or Path("docs/finetune.png"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
