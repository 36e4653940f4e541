"""What steps cost on this machine's CPU: CPU seconds a picture of the bundled model, by steps.

    python -m benchmarks.steps

A batch of pictures at the model's size, of random lightness; decoding is included, reading and
writing of files is not. CPU time of all threads, which other programs do not change much.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from benchmarks.timing import fastest
from colorjax import errors, release
from colorjax.colorize.colorizer import Colorizer
from colorjax.devices import compile_cache
from colorjax.methods.method import Pictures

STEPS: dict[str, tuple[int | str, ...]] = {
    "diffusing_colors": ("distilled", 1, 4, 10, 50),
    "lcad": (1, 4, 10, 50),
}


def seconds(method: str, num_steps: int | str, count: int, rounds: int) -> float:
    """CPU seconds for one picture of a batch."""
    more = {"spacing": "even"} if method == "lcad" else {}
    colorizer = Colorizer(
        release.BUNDLED, method, num_steps=num_steps, batch_size=count, vividness=1.0, **more
    )
    size = colorizer.image_size
    light = np.random.default_rng(0).uniform(0, 100, (count, size, size)).astype(np.float32)
    pictures = Pictures(light, colorizer.tokenize(["a red car"] * count), np.arange(count))
    return fastest(lambda: colorizer(pictures), rounds) / count


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=32, help="pictures in a batch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(arguments)
    compile_cache.setup()
    rows = {}
    for method, counts in STEPS.items():
        for num_steps in counts:
            name = f"{method}, {num_steps}"
            rows[name] = seconds(method, num_steps, args.count, args.rounds)
            print(f"{name:30}{1e3 * rows[name]:10.2f} ms", flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    errors.run(main)
