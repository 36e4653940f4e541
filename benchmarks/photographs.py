"""What colouring photographs waits for: `python -m benchmarks.photographs [--count N]`.

Reads, computes and writes photographs of one size one stage after another and tells the processor's
seconds of each, and then the seconds that pass when the command's three threads do it together.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from colorjax import release
from colorjax.colorize import jobs, processing
from colorjax.colorize.colorizer import Colorizer
from colorjax.colorize.command import run
from colorjax.colorize.files import saving
from colorjax.colorize.painters import Colouring
from colorjax.devices import compile_cache

BATCHES = (1, 4, 16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pixels", type=int, default=2_000_000, help="of a photograph")
    parser.add_argument("--count", type=int, default=16, help="photographs")
    parser.add_argument("--num_steps", type=int, default=8, help="of sampling")
    args = parser.parse_args()
    compile_cache.setup()
    print(f"{args.count} JPEGs of {args.pixels / 1e6:g} megapixels, {args.num_steps} steps")
    headings = ("reading", "computing", "writing", "together", "pictures/s")
    print(f"{'batch':>6}" + "".join(f"{heading:>12}" for heading in headings))
    with tempfile.TemporaryDirectory() as folder:
        sources = photographs(Path(folder, "in"), args.count, args.pixels)
        for batch in BATCHES:
            seconds = stages(sources, Path(folder, "out"), batch, args.num_steps)
            together = overlapped(Path(folder), batch, args.num_steps)
            row = (*seconds, together, args.count / together)
            print(f"{batch:6}" + "".join(f"{value:12.2f}" for value in row), flush=True)


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


def overlapped(folder: Path, batch: int, steps: int) -> float:
    """Seconds of the command, less what comes once: with half of the photographs and with all."""
    seconds = []
    for some in ("in/00[0-7].jpg", "in/*.jpg"):
        inputs = [str(path) for path in sorted(folder.glob(some))]
        common = ["--batch_size", str(batch), "--num_steps", str(steps), "--quiet", "--overwrite"]
        start = time.monotonic()
        run.main([*inputs, "--output", str(folder / "together"), *common])
        seconds.append((time.monotonic() - start, len(inputs)))
    (few, least), (all_of_it, most) = seconds
    return (all_of_it - few) / (most - least) * most


if __name__ == "__main__":
    main()
