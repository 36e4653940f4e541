"""What colouring photographs waits for: `python -m benchmarks.photographs [--count N]`.

Reads, computes and writes photographs of one size one stage after another and tells the processor's
seconds of each, their shares, and the pictures a second by the clock when the command's stages work
together. Then a device that takes so long for a picture, and none of the processor, stands for the
model: how many pictures a second the cores keep up with, and how much of the time the device waits
for reading and for room behind it, once its first batch is there.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from colorjax import release
from colorjax.colorize import jobs, processing
from colorjax.colorize.colorizer import Colorizer
from colorjax.colorize.command import stages as reading
from colorjax.colorize.files import saving
from colorjax.colorize.painters import Colouring
from colorjax.devices import compile_cache

BATCHES = (1, 4, 16)
DEVICES = (0.4, 0.2, 0.1, 0.05)  # seconds for a picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pixels", type=int, default=2_000_000, help="of a photograph")
    parser.add_argument("--count", type=int, default=16, help="photographs")
    parser.add_argument("--only_devices", action="store_true", help="leave the stages out")
    parser.add_argument("--num_steps", type=int, default=8, help="of sampling")
    args = parser.parse_args()
    compile_cache.setup()
    print(f"{args.count} JPEGs of {args.pixels / 1e6:g} megapixels, {args.num_steps} steps")
    with tempfile.TemporaryDirectory() as folder:
        sources = photographs(Path(folder, "in"), args.count, args.pixels)
        if not args.only_devices:
            by_batch(sources, Path(folder), args)
        table("device s", "pictures/s", "waits for reading", "for writing")
        for seconds in DEVICES:
            print(f"{seconds:18.2f}" + device(sources, Path(folder, "out"), seconds), flush=True)


def table(*headings: str) -> None:
    print("".join(f"{heading:>18}" for heading in headings))


def by_batch(sources: list[Path], folder: Path, args: argparse.Namespace) -> None:
    """The stages' seconds of the processor for a picture, by the size of batches."""
    table(
        "batch", "reading", "computing", "writing", "reading share", "writing share", "pictures/s"
    )
    for batch in BATCHES:
        seconds = np.array(stages(sources, folder / "out", batch, args.num_steps))
        shares = seconds / seconds.sum()
        model = Colorizer(release.BUNDLED, batch_size=batch, num_steps=args.num_steps)
        together = len(sources) / overlapped(sources, folder / "together", model).wall
        row = (*(seconds / len(sources)), shares[0], shares[2], together)
        print(f"{batch:18}" + "".join(f"{value:18.3f}" for value in row), flush=True)


class Device(Colorizer):
    """Takes its time for a picture, as an accelerator does: the processor is free meanwhile."""

    compilations = 0

    def __init__(self, seconds: float) -> None:
        self.seconds, self.busy = seconds, 0.0
        self.buckets, self.batch_size = ((32, 32),), 4
        self.tokenize = lambda texts: np.zeros((len(texts), 77), np.int32)

    def __call__(self, pictures: Any) -> np.ndarray:
        count, height, width = np.shape(pictures.lightness)
        self.busy += self.seconds * count
        time.sleep(self.seconds * count)
        return np.full((count, height, width, 3), (0.2, 0.0, -0.2), np.float32)


def device(sources: list[Path], output: Path, seconds: float) -> str:
    """A row of the table of devices: the command's three stages around one."""
    took = overlapped(sources, output, Device(seconds))
    row = (len(sources) / took.wall, took.reading / took.wall, took.writing / took.wall)
    return "".join(f"{value:18.2f}" for value in row)


class Took(NamedTuple):
    """Seconds by the clock: all of it, and what the model waited for photographs and for room."""

    wall: float
    reading: float
    writing: float


def overlapped(sources: list[Path], output: Path, model: Colorizer) -> Took:
    """The command's stages around a model, which is called once before."""
    painter = Colouring()
    requests = [jobs.Request(path, "a colorful image") for path in sources]
    first = jobs.ready(requests[: model.batch_size], model.buckets, painter)
    list(processing.process(model, first, painter, 0))  # compiled
    waited = {"reading": 0.0, "writing": 0.0}

    def timed(items: Iterator[Any]) -> Iterator[Any]:
        start = time.monotonic()
        for number, item in enumerate(items):
            if number >= model.batch_size:  # what comes before, everybody waits for
                waited["reading"] += time.monotonic() - start
            yield item
            start = time.monotonic()

    def write(outcome: jobs.Outcome) -> None:
        for part in processing.rendered(painter, outcome):
            name = f"{Path(str(outcome.request.source)).stem}.jpg"
            saving.save_photo(output / name, part.levels, outcome.metadata)

    start, behind = time.monotonic(), reading.Behind(write)
    prepared = reading.ahead(jobs.ready(requests, model.buckets, painter), lambda: False)
    for outcome in processing.process(model, timed(prepared), painter, 0):
        before = time.monotonic()
        list(behind.give(outcome, 0 if outcome.job is None else outcome.job.pixels))
        waited["writing"] += time.monotonic() - before
    list(behind.rest())
    return Took(time.monotonic() - start, **waited)


def photographs(folder: Path, count: int, pixels: int) -> list[Path]:
    """Smooth pictures with grain, as scans have it."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    side = round(pixels**0.5)
    for i in range(count):
        coarse = Image.fromarray(rng.integers(30, 220, (30, 30), np.uint8))
        smooth = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC)).astype(float)
        grain = np.clip(smooth + rng.normal(0, 4, smooth.shape), 0, 255).astype(np.uint8)
        Image.fromarray(grain).save(folder / f"{i:03d}.jpg", quality=92)
    return sorted(folder.iterdir())


def stages(sources: list[Path], output: Path, batch: int, steps: int) -> list[float]:
    """Processor seconds of reading, computing and writing; compiled before."""
    colorizer = Colorizer(release.BUNDLED, batch_size=batch, num_steps=steps)
    painter = Colouring()
    requests = [jobs.Request(path, "a colorful image") for path in sources]
    first = list(jobs.ready(requests[:batch], colorizer.buckets, painter))
    list(processing.process(colorizer, first, painter, 0))
    times = [time.process_time()]
    prepared = list(jobs.ready(requests, colorizer.buckets, painter))
    times.append(time.process_time())
    outcomes = list(processing.process(colorizer, prepared, painter, 0))
    times.append(time.process_time())
    for i, outcome in enumerate(outcomes):
        for part in processing.rendered(painter, outcome):
            saving.save_photo(output / f"{i}.jpg", part.levels, outcome.metadata)
    times.append(time.process_time())
    return list(np.diff(times))


if __name__ == "__main__":
    main()
