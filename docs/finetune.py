"""The pictures that docs/finetune.md is about, and its figure.

    python docs/finetune.py pictures --data=data/cifar10 --output=film
    python docs/finetune.py figure --run=runs/finetune

`film` are 50 CIFAR-10 test pictures of animals as a colour film would show them whose layers are
shifted towards the infrared, as Kodak Aerochrome's: what is green becomes red. Without captions.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from colorjax.data import records, transforms

COUNT = 50
LABELS = ("deer", "horse", "frog")


def infrared(image: np.ndarray) -> np.ndarray:
    """Green where red is, and red where green is: leaves are bright in the near infrared."""
    return image[..., [1, 0, 2]]


def greenness(image: np.ndarray) -> float:
    """How much green there is beyond red and blue, of 255."""
    pixels = image.astype(np.float32)
    return float((pixels[..., 1] - pixels[..., [0, 2]].mean(-1)).mean())


def write_pictures(data: Path, output: Path) -> None:
    """The greenest of the first pictures of these animals."""
    source = records.open_split(data, "test")
    rows = [records.Record.unpack(source[place]) for place in range(min(2000, len(source)))]
    images = {row.key: transforms.decode(row.image) for row in rows if row.label in LABELS}
    greenest = sorted(images, key=lambda key: -greenness(images[key]))[:COUNT]
    output.mkdir(parents=True, exist_ok=True)
    for key in sorted(greenest):
        Image.fromarray(infrared(images[key])).save(output / f"{key}.png")
    print(f"{len(greenest)} pictures in '{output}'")


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
