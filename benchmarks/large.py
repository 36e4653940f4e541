"""Memory and time of large photographs: `python -m benchmarks.large [--megapixels 1 40 100 400]`.

Colours one gray TIFF of 8 bits after another (`--kind`: another file) to a JPEG (by `--suffix .tif`
to a TIFF) by the command, each in a process of its own, and tells the memory at its peak and the
seconds of the processor and by the clock. The first is coloured twice, so that nothing is compiled.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import tifffile

from colorjax.colorize.files import saving
from colorjax.data.rows import Rows, strips

KINDS = ("gray.tif", "gray16.tif", "rgb.jpg", "rgb.png", "rgb.tif", "rgb16.tif")
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
    parser.add_argument("--kind", choices=KINDS, default="gray.tif", help="of photographs")
    parser.add_argument("--suffix", default=".jpg", help="of the results")
    args = parser.parse_args()
    print(f"{'megapixels':>10}{'peak in MB':>12}{'processor s':>13}{'s by clock':>12}")
    with tempfile.TemporaryDirectory() as folder:
        for number, megapixels in enumerate(args.megapixels):
            source = write(Path(folder, f"{megapixels}.{args.kind}"), megapixels)
            output = source.with_name(f"{megapixels}.result{args.suffix}")
            for _ in range(1 + (number == 0)):
                told = measured(source, output)
            assert told["code"] == 0 and output.is_file()
            row = f"{megapixels:10}{told['peak']:12.0f}{told['cpu']:13.1f}{told['wall']:12.1f}"
            print(row, flush=True)
            source.unlink()


def write(path: Path, megapixels: int) -> Path:
    """Smooth with grain, as scans are; written in strips."""
    side = round((megapixels * 10**6) ** 0.5)
    depth, rng = np.dtype(np.uint16 if "16" in path.name else np.uint8), np.random.default_rng(0)
    most = float(np.iinfo(depth).max)
    across = 0.5 + 0.23 * np.sin(np.arange(side) / side * 9)

    def strip(rows: slice) -> np.ndarray:
        down = 0.2 * np.cos(np.arange(rows.start, rows.stop) / side * 7)[:, None]
        gray = across + down + rng.integers(-8, 8, (len(down), side)) / 255
        return (np.clip(gray, 0.0, 1.0) * most).astype(depth)

    if "rgb" in path.name:
        rows = Rows((side, side, 3), depth, lambda at: np.stack([strip(at)] * 3, axis=-1), 0)
        saving.save_photo(path, rows)
        return path
    image = tifffile.memmap(path, shape=(side, side), dtype=depth, photometric="minisblack")
    for rows in strips(side, side):
        image[rows] = strip(rows)
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
