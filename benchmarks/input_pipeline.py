"""Images a second and core from JPEG to a ready batch, beside a plain torch DataLoader.

    taskset -c 1 python -m benchmarks.input_pipeline [--pictures=FOLDER] [--kilobytes=160]

Both read the same files, 640 x 480 JPEGs, in the same run, in turns: L-CAD's training transform,
RandomResizedCrop(256, (0.8, 1), (3/4, 4/3), bicubic) and a flip. The other side is what one writes
first with torch: a Dataset of files opened by Pillow, torchvision's own transforms, and a
DataLoader; once as the release has it, with ToTensor and Normalize, and once with PILToTensor,
which like ours leaves uint8 for the device to scale.

What is counted is CPU time over all threads and processes, so that another program on the machine
does not change the figure much, and the ratios are medians of those within each round; wall time
is printed too. Without --pictures the files are scikit-image's photographs at that size; COCO's
JPEGs have 160 kB on average, which the quality is chosen for. Needs torch, torchvision and
scikit-image (the extras `dev` and `parity`).
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from benchmarks import pytorch
from benchmarks.pictures import HEIGHT, SIZE, WIDTH, add_flags, photographs, write_files
from benchmarks.timing import cpu_seconds, fastest
from colorjax.data import captions, pipeline, records, transforms
from colorjax.prepare.planning import Request
from colorjax.prepare.run import prepare

# Samples a second and chip: the UNet trained at 256 pixels and 40 % of the peak.
TRAINING_RATES = {"v5e": 97.0, "v5p": 226.0, "v6e": 452.0}
OURS, PLAIN = "colorjax, 1 thread", "torch DataLoader, in the process"
OURS_TWICE, PLAIN_TWICE = "colorjax, 2 threads", "torch DataLoader, 2 workers"
AHEAD = 5  # batches that are taken before the clock starts, so that threads and workers are busy

Rates = dict[str, list[float]]  # images a second by name, a value for each round
Batches = Generator[Any, None, None]


class Amount(NamedTuple):
    """How much is measured."""

    batch_size: int
    batches: int  # in each round
    rounds: int


class Ratio(NamedTuple):
    """The ratios of two rates within each round."""

    median: float
    least: float
    most: float


class Figures(NamedTuple):
    """What the benchmark measures."""

    kilobytes: float  # of a file, on average
    rates: dict[str, float]  # medians over the rounds
    ratios: dict[str, Ratio]
    stages: dict[str, float]  # CPU milliseconds a picture


def tokenize(texts: Sequence[str]) -> np.ndarray:
    """Nothing: both sides leave the vocabulary out."""
    return np.zeros((len(texts), 77), np.int32)


def ours(data: Path, batch_size: int, threads: int) -> Batches:
    """Training batches as colorjax makes them."""
    batches = pipeline.train_batches(
        data,
        "train",
        size=SIZE,
        batch_size=batch_size,
        seed=0,
        tokenize=tokenize,
        num_threads=threads,
    )
    try:
        yield from batches
    finally:
        batches.close()


class PlainDataset:
    """Files opened by Pillow, transformed by torchvision."""

    def __init__(self, folder: Path, scaled: bool):
        from torchvision import transforms as vision

        tensor = [vision.ToTensor(), vision.Normalize([0.5] * 3, [0.5] * 3)]
        self.paths = sorted(folder.glob("*.jpg"))
        self.transform = vision.Compose(
            [
                vision.RandomResizedCrop(
                    SIZE, (0.8, 1.0), (3 / 4, 4 / 3), vision.InterpolationMode.BICUBIC
                ),
                vision.RandomHorizontalFlip(),
                *(tensor if scaled else [vision.PILToTensor()]),
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Any, str]:
        path = self.paths[index]
        with open(path, "rb") as file:
            picture = Image.open(file).convert("RGB")
        return self.transform(picture), path.with_suffix(".txt").read_text()


def plain(folder: Path, batch_size: int, workers: int, scaled: bool = True) -> Batches:
    """Training batches as one first writes them with torch; `scaled` to floats, or as bytes."""
    from torch.utils.data import DataLoader, RandomSampler

    files = PlainDataset(folder, scaled)
    endless = RandomSampler(files, replacement=True, num_samples=10**9)  # no stop at an epoch's end
    yield from DataLoader(files, batch_size, sampler=endless, num_workers=workers)


def measure(batches: Batches, amount: Amount) -> tuple[float, float]:
    """Images a CPU second and a second of wall time, when the batches ahead are made."""
    for _ in range(AHEAD):
        next(batches)
    cpu, wall = cpu_seconds(), time.perf_counter()
    for _ in range(amount.batches):
        next(batches)
    cpu, wall = cpu_seconds() - cpu, time.perf_counter() - wall
    batches.close()
    images = amount.batches * amount.batch_size
    return images / cpu, images / wall


def compare(folder: Path, data: Path, amount: Amount) -> Rates:
    """Rates of all sides in turns, per core and, with ", wall" after the name, by the clock."""
    rates: Rates = {}
    size = amount.batch_size
    sides: dict[str, Callable[[], Batches]] = {
        OURS: lambda: ours(data, size, 1),
        PLAIN: lambda: plain(folder, size, 0),
        f"{PLAIN}, uint8": lambda: plain(folder, size, 0, scaled=False),
        OURS_TWICE: lambda: ours(data, size, 2),
        PLAIN_TWICE: lambda: plain(folder, size, 2),
    }
    for _ in range(amount.rounds):
        for name, batches in sides.items():
            per_core, wall = measure(batches(), amount)
            rates.setdefault(name, []).append(per_core)
            rates.setdefault(f"{name}, wall", []).append(wall)
    return rates


def ratio(rates: Rates, one: str, other: str) -> Ratio:
    """How many times as fast one side is as another."""
    pairs = [a / b for a, b in zip(rates[one], rates[other], strict=True)]
    return Ratio(statistics.median(pairs), min(pairs), max(pairs))


def stages(data: Path, rounds: int) -> dict[str, float]:
    """CPU milliseconds a picture of each step of our pipeline, one after the other."""
    source = records.open_split(data, "train")
    indices = list(range(min(64, len(source))))
    packed = source.__getitems__(indices)
    unpacked = [records.Record.unpack(row) for row in packed]
    pixels = [transforms.decode(record.image) for record in unpacked]
    crops = [transforms.random_resized_crop(p, np.random.default_rng(0), SIZE) for p in pixels]
    image = np.empty((len(indices), SIZE, SIZE, 3), np.uint8)

    def put() -> None:
        for place, crop in enumerate(crops):
            image[place] = transforms.random_flip(crop, np.random.default_rng(place))

    def caption() -> None:
        for place, record in enumerate(unpacked):
            captions.sample(record.captions, np.random.default_rng(place))

    rng = np.random.default_rng
    steps: dict[str, Callable[[], object]] = {
        "read the record (ArrayRecord)": lambda: source.__getitems__(indices),
        "unpack it (msgpack)": lambda: [records.Record.unpack(row) for row in packed],
        "decode the JPEG": lambda: [transforms.decode(record.image) for record in unpacked],
        "crop and resize, bicubic": lambda: [
            transforms.random_resized_crop(p, rng(i), SIZE) for i, p in enumerate(pixels)
        ],
        "flip, into the batch": put,
        "choose the caption": caption,
    }
    return {name: 1e3 * fastest(step, rounds) / len(indices) for name, step in steps.items()}


def figures(pictures: list[Image.Image], count: int, kilobytes: float, amount: Amount) -> Figures:
    """Writes the files, prepares them as a data set, and measures both sides on them."""
    with tempfile.TemporaryDirectory() as directory:
        folder, data = Path(directory, "files"), Path(directory, "data")
        mean = write_files(folder, pictures, count, kilobytes)
        prepare(Request("folder", folder, data))
        rates = compare(folder, data, amount)
        pairs = ((OURS, PLAIN), (OURS, f"{PLAIN}, uint8"), (OURS_TWICE, PLAIN_TWICE))
        return Figures(
            mean,
            {name: statistics.median(of) for name, of in rates.items()},
            {f"{one} / {other}": ratio(rates, one, other) for one, other in pairs},
            stages(data, amount.rounds),
        )


def report(measured: Figures) -> None:
    """Prints the figures, and how many cores a chip would need."""
    rates = measured.rates
    print(f"{WIDTH} x {HEIGHT} JPEGs of {measured.kilobytes:.0f} kB, {os.cpu_count()} cores\n")
    print(f"{'images a second':36}{'per core':>10}{'wall':>10}")
    for name in (name for name in rates if not name.endswith("wall")):
        print(f"{name:36}{rates[name]:10.0f}{rates[f'{name}, wall']:10.0f}")
    print(f"\n{'ratio per core within a round':66}{'median':>8}{'least':>8}{'most':>8}")
    for name, (median, least, most) in measured.ratios.items():
        print(f"{name:66}{median:8.2f}{least:8.2f}{most:8.2f}")
    print("\nCPU ms a picture")
    for name, value in measured.stages.items():
        print(f"  {name:42}{value:8.3f}")
    print()
    for chip, rate in TRAINING_RATES.items():
        cores = rate / rates[OURS]
        print(f"a {chip} chip that trains {rate:.0f} samples a second needs {cores:.2f} host cores")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_flags(parser)
    parser.add_argument("--count", type=int, default=512, help="files")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--batches", type=int, default=32, help="measured in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    flags = parser.parse_args()
    # One thread, as in a worker: others of its own would be counted too.
    operators = pytorch.prepare()
    amount = Amount(flags.batch_size, flags.batches, flags.rounds)
    measured = figures(photographs(flags.pictures), flags.count, flags.kilobytes, amount)
    del operators  # torchvision needed them as long as it was used
    report(measured)
    if flags.json:
        flags.json.write_text(json.dumps(measured._asdict(), indent=1) + "\n")


if __name__ == "__main__":
    main()
