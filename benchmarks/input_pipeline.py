"""Images a second and core from JPEG to a ready batch, beside a plain torch DataLoader.

    python benchmarks/input_pipeline.py [--pictures=FOLDER] [--kilobytes=160] [--rounds=5]

Both read the same files, 640 x 480 JPEGs, in the same run, in turns: L-CAD's training transform,
RandomResizedCrop(256, (0.8, 1), (3/4, 4/3), bicubic) and a flip. The other side is what one writes
first with torch: a Dataset of files opened by Pillow, torchvision's transforms (written out below,
as torchvision does them on Pillow images), ToTensor and Normalize, and a DataLoader. Ours ends with
uint8, for Lab and scaling are the device's work.

What is counted is CPU time over all threads and processes, so that another program on the machine
does not change the figure much; wall time is told too. Without --pictures the files are
scikit-image's photographs at that size; COCO's JPEGs have 160 kB on average, which the quality is
chosen for. Needs torch and scikit-image (the extra `parity`).
"""

import argparse
import io
import json
import math
import multiprocessing
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from colorjax import prepare
from colorjax.data import captions, pipeline, records, transforms

WIDTH, HEIGHT, SIZE = 640, 480, 256
PHOTOGRAPHS = ("astronaut", "coffee", "chelsea", "rocket", "hubble_deep_field", "retina")
V5E_RATE = 97.0  # samples a second and chip, UNet trained at 256 pixels and 40 % of the peak


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
    """Files opened by Pillow, transformed as torchvision does."""

    def __init__(self, folder: Path):
        self.paths = sorted(folder.glob("*.jpg"))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Any, str]:
        import torch

        path = self.paths[index]
        with open(path, "rb") as file:
            picture = Image.open(file).convert("RGB")
        left, top, width, height = self._crop(picture.width, picture.height)
        picture = picture.crop((left, top, left + width, top + height))
        picture = picture.resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        if random.random() < 0.5:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        tensor = torch.from_numpy(np.array(picture, copy=True)).permute(2, 0, 1).contiguous()
        tensor = tensor.to(torch.float32).div(255)
        mean = torch.full((3, 1, 1), 0.5)
        return tensor.sub_(mean).div_(mean), path.with_suffix(".txt").read_text()

    def _crop(self, width: int, height: int) -> tuple[int, int, int, int]:
        for _ in range(10):
            area = width * height * random.uniform(0.8, 1.0)
            aspect = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
            w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if w <= width and h <= height:
                return random.randint(0, width - w), random.randint(0, height - h), w, h
        return 0, 0, width, height


def plain(folder: Path, batch_size: int, workers: int) -> Iterator[Any]:
    from torch.utils.data import DataLoader, RandomSampler

    files = PlainDataset(folder)
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
    """Rates of both sides in turns; medians over the rounds are what is told."""
    rates: dict[str, list[float]] = {}
    for _ in range(args.rounds):
        for name, batches in {
            "colorjax, 1 thread": ours(data, args.batch_size, 1),
            "torch DataLoader, in the process": plain(folder, args.batch_size, 0),
            "colorjax, 2 threads": ours(data, args.batch_size, 2),
            "torch DataLoader, 2 workers": plain(folder, args.batch_size, 2),
        }.items():
            per_core, wall = measure(batches, args.batches, args.batch_size)
            rates.setdefault(name, []).append(per_core)
            rates.setdefault(f"{name}, wall", []).append(wall)
    return rates


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


def decoders(data: Path, rounds: int) -> dict[str, float]:
    """CPU milliseconds a picture of what could decode and resize."""
    import cv2
    import simplejpeg

    source = records.open_split(data, "train")
    rows = source.__getitems__(list(range(min(32, len(source)))))
    files = [records.Record.unpack(row).image for row in rows]
    pixels = [transforms.decode(file) for file in files]
    opened = [Image.fromarray(p) for p in pixels]
    box = (13, 9, 613, 459)

    def pillow(file: bytes, draft: bool = False) -> np.ndarray:
        picture = Image.open(io.BytesIO(file))
        if draft:
            picture.draft("RGB", (SIZE, SIZE))
        return np.asarray(picture)

    def crop(p: np.ndarray) -> np.ndarray:
        return p[box[1] : box[3], box[0] : box[2]]

    size, area = (SIZE, SIZE), cv2.INTER_AREA
    bicubic = Image.Resampling.BICUBIC
    steps: dict[str, Callable[[], Any]] = {
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
    import torch

    torch.set_num_threads(1)  # as in a worker; its own threads would be counted too
    with tempfile.TemporaryDirectory() as directory:
        folder, data = Path(directory, "files"), Path(directory, "data")
        kilobytes = write_files(folder, photographs(args.pictures), args.count, args.kilobytes)
        prepare.prepare(prepare.Request("folder", folder, data))
        rates = compare(folder, data, args)
        figures = {
            "kilobytes": kilobytes,
            "rates": {name: statistics.median(of) for name, of in rates.items()},
            "stages": stages(data, args.rounds),
            "decoders": decoders(data, args.rounds),
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
    one = rates["colorjax, 1 thread"] / rates["torch DataLoader, in the process"]
    two = rates["colorjax, 2 threads"] / rates["torch DataLoader, 2 workers"]
    print(f"\nper core, colorjax is {one:.2f} times as fast alone, {two:.2f} times with two")
    for title in ("stages", "decoders"):
        print(f"\n{title + ', CPU ms a picture':44}")
        for name, value in figures[title].items():
            print(f"  {name:42}{value:8.3f}")
    cores = V5E_RATE / rates["colorjax, 2 threads"]
    print(f"\na v5e chip that trains {V5E_RATE:.0f} samples a second needs {cores:.2f} host cores")


if __name__ == "__main__":
    main()
