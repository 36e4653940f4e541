"""Memory and time of large photographs: `python -m benchmarks.large [--megapixels 1 40 100 400]`.

Colours one gray TIFF of 8 bits after another to a JPEG (or, with `--suffix .tif`, a TIFF) by the
command, each in a process of its own, and tells the memory at its peak, the processor's seconds and
those that pass. The first is coloured twice, so that no program is compiled in what is told.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import tifffile

ROOT = Path(__file__).parent.parent
# In a process between, because what children took is told of all of them together.
MEASURED = """
import json, resource, subprocess, sys, time
start = time.monotonic()
code = subprocess.run([sys.executable, "-m", "colorjax.colorize", *sys.argv[1:]]).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
peak, seconds = used.ru_maxrss / 1024, used.ru_utime + used.ru_stime
print(json.dumps({"code": code, "peak": peak, "cpu": seconds, "wall": time.monotonic() - start}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megapixels", type=int, nargs="+", default=[1, 40, 100, 400])
    parser.add_argument("--suffix", default=".jpg", help="of the results")
    args = parser.parse_args()
    print(f"{'megapixels':>10}{'peak in MB':>12}{'processor s':>13}{'s by clock':>12}")
    with tempfile.TemporaryDirectory() as folder:
        for number, megapixels in enumerate(args.megapixels):
            source = write(Path(folder, f"{megapixels}.tif"), megapixels)
            output = source.with_name(f"{megapixels}.result{args.suffix}")
            for _ in range(1 + (number == 0)):
                told = measured(source, output)
            assert told["code"] == 0 and output.is_file()
            row = f"{megapixels:10}{told['peak']:12.0f}{told['cpu']:13.1f}{told['wall']:12.1f}"
            print(row, flush=True)
            source.unlink()


def write(path: Path, megapixels: int) -> Path:
    """Smooth with grain, as scans are; written in strips, as large as it is."""
    side = round((megapixels * 10**6) ** 0.5)
    rng = np.random.default_rng(0)
    across = 128 + 60 * np.sin(np.arange(side) / side * 9)
    image = tifffile.memmap(path, shape=(side, side), dtype=np.uint8, photometric="minisblack")
    for top in range(0, side, 256):
        rows = min(256, side - top)
        down = 50 * np.cos((top + np.arange(rows)) / side * 7)[:, None]
        grain = rng.integers(-8, 8, (rows, side))
        image[top : top + rows] = np.clip(across + down + grain, 0, 255).astype(np.uint8)
    image.flush()
    return path


def measured(source: Path, output: Path) -> dict[str, float]:
    """What colouring one file takes."""
    flags = [str(source), "--output", str(output), "--overwrite", "--quiet"]
    command = [sys.executable, "-c", MEASURED, *flags]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told


if __name__ == "__main__":
    main()
