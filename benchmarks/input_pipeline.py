"""Images a second and core from JPEG to a ready batch, beside a plain torch DataLoader.

    taskset -c 1 python -m benchmarks.input_pipeline [--pictures=FOLDER] [--kilobytes=160]

Both read the same files, 640 x 480 JPEGs, in the same run, in turns: L-CAD's training transform,
RandomResizedCrop(256, (0.8, 1), (3/4, 4/3), bicubic) and a flip. The other side is what one writes
first with torch: a Dataset of files opened by Pillow, torchvision's own transforms, and a
DataLoader; once as the release has it, with ToTensor and Normalize, and once with PILToTensor,
which like ours leaves uint8 for the device to scale.

What is counted is CPU time over all threads and processes, so that another program on the machine
does not change the figure much, and what is told are medians of the ratios within each round; wall
time is told too. Without --pictures the files are scikit-image's photographs at that size; COCO's
JPEGs have 160 kB on average, which the quality is chosen for. Needs torch, torchvision and
scikit-image (the extras `dev` and `parity`).
"""

import argparse
import io
import json
import math
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from colorjax.data import captions, pipeline, records, transforms
from colorjax.prepare.planning import Request
from colorjax.prepare.run import prepare
from tests.parity.conftest import prepare_torch

WIDTH, HEIGHT, SIZE = 640, 480, 256
PHOTOGRAPHS = ("astronaut", "coffee", "chelsea", "rocket", "hubble_deep_field", "retina")
# Samples a second and chip: the UNet trained at 256 pixels and 40 % of the peak.
TRAINING_RATES = {"v5e": 97.0, "v5p": 226.0, "v6e": 452.0}
OURS, PLAIN = "colorjax, 1 thread", "torch DataLoader, in the process"
OURS_TWICE, PLAIN_TWICE = "colorjax, 2 threads", "torch DataLoader, 2 workers"


def cpu_seconds() -> float:
    """Of this process with its threads, and of its living worker processes (Linux)."""
    total = time.process_time()
    for child in multiprocessing.active_children():
        fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        total += sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
    return total


def photographs(folder: Path | None) -> list[Image.Image]:
    """Pictures of the benchmark's size."""
    if folder is not None:
        opened = [Image.open(path) for path in sorted(folder.iterdir()) if path.suffix != ".txt"]
    else:
        import skimage.data

        opened = [Image.fromarray(getattr(skimage.data, name)()) for name in PHOTOGRAPHS]
    made = []
    for picture in opened:
        scale = max(WIDTH / picture.width, HEIGHT / picture.height)
        size = math.ceil(picture.width * scale), math.ceil(picture.height * scale)
        left, top = (size[0] - WIDTH) // 2, (size[1] - HEIGHT) // 2
        box = left, top, left + WIDTH, top + HEIGHT
        made.append(picture.convert("RGB").resize(size, Image.Resampling.LANCZOS).crop(box))
    return made


def compressed(picture: Image.Image, kilobytes: float) -> bytes:
    """A JPEG of about that size, by its quality."""
    for quality in range(50, 100):
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality)
        if file.tell() >= kilobytes * 1000:
            break
    return file.getvalue()


def write_files(folder: Path, pictures: list[Image.Image], count: int, kilobytes: float) -> float:
    """`count` files with a caption each; returns their mean size in kB."""
    folder.mkdir()
    files = [compressed(picture, kilobytes) for picture in pictures]
    for i in range(count):
        (folder / f"{i:05d}.jpg").write_bytes(files[i % len(files)])
        (folder / f"{i:05d}.txt").write_text(f"a red car number {i} beside a green tree")
    return float(np.mean([len(file) for file in files])) / 1000


def tokenize(texts: Any) -> np.ndarray:
    """Both sides leave the vocabulary out."""
    return np.zeros((len(texts), 77), np.int32)


def ours(data: Path, batch_size: int, threads: int) -> Iterator[Any]:
    return pipeline.train_batches(
        data,
        "train",
        size=SIZE,
        batch_size=batch_size,
        seed=0,
        tokenize=tokenize,
        num_threads=threads,
    )


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


def plain(folder: Path, batch_size: int, workers: int, scaled: bool = True) -> Iterator[Any]:
    from torch.utils.data import DataLoader, RandomSampler

    files = PlainDataset(folder, scaled)
    endless = RandomSampler(files, replacement=True, num_samples=10**9)  # no stop at an epoch's end
    yield from DataLoader(files, batch_size, sampler=endless, num_workers=workers)


def measure(batches: Iterator[Any], count: int, batch_size: int) -> tuple[float, float]:
    """Images a CPU second and a second of wall time, when the batches ahead are made."""
    for _ in range(5):
        next(batches)
    cpu, wall = cpu_seconds(), time.perf_counter()
    for _ in range(count):
        next(batches)
    cpu, wall = cpu_seconds() - cpu, time.perf_counter() - wall
    batches.close()
    return count * batch_size / cpu, count * batch_size / wall


def compare(folder: Path, data: Path, args: argparse.Namespace) -> dict[str, list[float]]:
    """Rates of all sides in turns, a value for each round."""
    rates: dict[str, list[float]] = {}
    sides: dict[str, Callable[[], Iterator[Any]]] = {
        OURS: lambda: ours(data, args.batch_size, 1),
        PLAIN: lambda: plain(folder, args.batch_size, 0),
        f"{PLAIN}, uint8": lambda: plain(folder, args.batch_size, 0, scaled=False),
        OURS_TWICE: lambda: ours(data, args.batch_size, 2),
        PLAIN_TWICE: lambda: plain(folder, args.batch_size, 2),
    }
    for _ in range(args.rounds):
        for name, batches in sides.items():
            per_core, wall = measure(batches(), args.batches, args.batch_size)
            rates.setdefault(name, []).append(per_core)
            rates.setdefault(f"{name}, wall", []).append(wall)
    return rates


def ratio(rates: dict[str, list[float]], one: str, other: str) -> tuple[float, float, float]:
    """Median, least and greatest of the ratios within each round."""
    pairs = [a / b for a, b in zip(rates[one], rates[other], strict=True)]
    return statistics.median(pairs), min(pairs), max(pairs)


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
    steps: dict[str, Callable[[], Any]] = {
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


def fastest(step: Callable[[], Any], rounds: int) -> float:
    """The least CPU seconds of so many runs."""
    times = []
    for _ in range(rounds + 1):
        start = time.process_time()
        step()
        times.append(time.process_time() - start)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=Path, help="folder of photographs")
    parser.add_argument("--kilobytes", type=float, default=160.0, help="of each JPEG")
    parser.add_argument("--count", type=int, default=512, help="files")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--batches", type=int, default=32, help="measured in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args()
    # One thread, as in a worker: others of its own would be counted too.
    operators = prepare_torch()  # noqa: F841  # torchvision needs them as long as it is used
    with tempfile.TemporaryDirectory() as directory:
        folder, data = Path(directory, "files"), Path(directory, "data")
        kilobytes = write_files(folder, photographs(args.pictures), args.count, args.kilobytes)
        prepare(Request("folder", folder, data))
        rates = compare(folder, data, args)
        figures = {
            "kilobytes": kilobytes,
            "rates": {name: statistics.median(of) for name, of in rates.items()},
            "ratios": {
                f"{ours} / {other}": ratio(rates, ours, other)
                for ours, other in (
                    (OURS, PLAIN),
                    (OURS, f"{PLAIN}, uint8"),
                    (OURS_TWICE, PLAIN_TWICE),
                )
            },
            "stages": stages(data, args.rounds),
        }
    report(figures)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


def report(figures: dict[str, Any]) -> None:
    rates = figures["rates"]
    print(f"{WIDTH} x {HEIGHT} JPEGs of {figures['kilobytes']:.0f} kB, {os.cpu_count()} cores\n")
    print(f"{'images a second':36}{'per core':>10}{'wall':>10}")
    for name in (name for name in rates if not name.endswith("wall")):
        print(f"{name:36}{rates[name]:10.0f}{rates[f'{name}, wall']:10.0f}")
    print(f"\n{'ratio per core within a round':66}{'median':>8}{'least':>8}{'most':>8}")
    for name, (median, least, most) in figures["ratios"].items():
        print(f"{name:66}{median:8.2f}{least:8.2f}{most:8.2f}")
    print("\nCPU ms a picture")
    for name, value in figures["stages"].items():
        print(f"  {name:42}{value:8.3f}")
    print()
    for chip, rate in TRAINING_RATES.items():
        cores = rate / rates[OURS]
        print(f"a {chip} chip that trains {rate:.0f} samples a second needs {cores:.2f} host cores")


if __name__ == "__main__":
    main()
