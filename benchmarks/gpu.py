"""Stable Diffusion 1.5's sizes on one GPU, beside torch at equal precision.

    python -m benchmarks.gpu --json=gpu.json

Measured are a training step of L-CAD's latent stage (VAE, luminance encoder and text encoder
frozen and included, all of the UNet trained by AdamW on float32 weights, bfloat16 compute) and the
whole colorization of a picture in 50 steps with guidance, in bfloat16, both at 256 pixels. torch
does the same with diffusers' networks: UNet, VAE and, in the place of the luminance encoder, the
VAE's encoder once more; it has no channel-extended convolutions, so colorjax computes a little
more. Weights are random: they change no time.

Each side is a process (`gpu_jax`, `gpu_torch`); torch compiles its samplers while jax compiles,
and is timed when jax has ended. What cannot finish within `--seconds` is left out, and results are
written after each item. Figures are medians of synchronised repetitions.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple


class Size(NamedTuple):
    """Sizes of the networks; what both sides share else is Stable Diffusion 1.5's."""

    side: int  # of the picture
    unet: tuple[int, ...]
    vae: tuple[int, ...]
    text: int
    text_layers: int
    batch: int  # of the training step


SIZES = {
    "sd15": Size(256, (320, 640, 1280, 1280), (128, 256, 512, 512), 768, 12, 32),
    # For a try of this program where there is no GPU.
    "small": Size(64, (32, 64, 64, 64), (32, 32, 32, 32), 64, 2, 2),
}
SAMPLED = (8, 1)  # pictures at a time
NUM_STEPS = 50
GUIDANCE = 5.0
TOKENS = 77
VOCABULARY = 49408


class Log:
    """Results of one side, written after every item, and the time that is left for more."""

    def __init__(self, path: Path, until: float) -> None:
        self.path, self.until = path, until
        self.items: dict[str, Any] = {}

    def put(self, name: str, value: Any) -> None:
        self.items[name] = value
        self.path.write_text(json.dumps(self.items, indent=1) + "\n")
        print(f"{time.strftime('%H:%M:%S')} {name}: {json.dumps(value)}", flush=True)

    def left(self) -> float:
        return self.until - time.time()

    def attempt(self, name: str, measure: Callable[[], Any], needs: float = 5.0) -> None:
        """Measures one item, unless fewer than `needs` seconds are left.

        A failure is told in the item's place: it must not cost the others.
        """
        if self.left() < needs:
            self.put(name, {"skipped": f"{self.left():.0f} s were left"})
            return
        try:
            self.put(name, measure())
        except Exception as error:
            self.put(name, {"failed": f"{type(error).__name__}: {str(error)[:400]}"})


def timed(run: Callable[[], Any], pictures: int, **facts: Any) -> dict[str, Any]:
    """The rate of `run`, which returns when its work is done, after two that are not counted."""
    run()
    run()
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < 5 or (len(times) < 20 and time.perf_counter() - begin < 3.0):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    median = statistics.median(times)
    spread = [min(times), max(times)]
    found = {"images_per_s": pictures / median, "seconds": median, "least_and_most": spread}
    return found | facts


def wait_for(file: Path | None, until: float) -> None:
    while file is not None and not file.exists() and time.time() < until:
        time.sleep(0.2)


def arguments(description: str) -> argparse.ArgumentParser:
    """What this program and its two sides take."""
    parser = argparse.ArgumentParser(description=description.split("\n")[0])
    parser.add_argument("--json", type=Path, default=Path("gpu.json"))
    parser.add_argument("--seconds", type=float, default=600.0, help="for all of it")
    parser.add_argument("--size", choices=SIZES, default="sd15")
    parser.add_argument("--meet", type=Path, help="a folder where the sides tell each other")
    parser.add_argument(
        "--start_when", type=Path, help="compile, but measure only when this file is there"
    )
    return parser


def ratios(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, float]:
    """Our rate over theirs, for what both have measured; of several kinds the fastest."""

    def best(items: dict[str, Any], start: str) -> float:
        found = [
            value["images_per_s"]
            for name, value in items.items()
            if name.startswith(start) and "images_per_s" in value
        ]
        return max(found, default=0.0)

    whats = ["train", *(f"sample {count}," for count in SAMPLED)]
    pairs = {what.strip(","): (best(ours, what), best(theirs, what)) for what in whats}
    return {what: mine / other for what, (mine, other) in pairs.items() if mine and other}


def side_of(name: str, args: argparse.Namespace, folder: str, json_file: Path) -> subprocess.Popen:
    """Starts one side; only jax's starts before it may measure, to compile meanwhile."""
    command = [sys.executable, "-m", f"benchmarks.gpu_{name}", "--size", args.size]
    command += ["--meet", folder, "--json", str(json_file), "--seconds", str(args.seconds)]
    if args.start_when and name == "jax":
        command += ["--start_when", str(args.start_when)]
    environment = {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.75"} | os.environ
    return subprocess.Popen(command, env=environment)


def main() -> int:
    args = arguments(__doc__ or "").parse_args()
    paths = {
        name: args.json.with_name(f"{args.json.stem}_{name}.json") for name in ("jax", "torch")
    }
    with tempfile.TemporaryDirectory() as folder:
        sides = {"jax": side_of("jax", args, folder, paths["jax"])}
        wait_for(args.start_when, math.inf)
        begin = time.time()
        sides["torch"] = side_of("torch", args, folder, paths["torch"])
        for name, side in sides.items():
            try:
                side.wait(max(1.0, args.seconds - (time.time() - begin)) + 10.0)
            except subprocess.TimeoutExpired:
                side.kill()
            Path(folder, f"{name}_done").touch()
    found = {name: json.loads(path.read_text()) for name, path in paths.items() if path.is_file()}
    found["ratios"] = ratios(found.get("jax", {}), found.get("torch", {}))
    args.json.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found["ratios"], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
