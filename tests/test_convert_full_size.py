"""The full-size model, with random weights: 9 GB of disk, 12 GB of memory, some minutes."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from colorjax.convert import writers
from tests.manifests.test_manifests import manifest
from tests.small import DATA

pytestmark = pytest.mark.slow

COLORIZE = """
import sys, jax, numpy as np
from colorjax.methods import lcad
model, params = lcad.load(sys.argv[1])
ids = np.full((1, 77), 49407)
luminance, keys = np.zeros((1, 256, 256, 1), np.float32), jax.random.split(jax.random.key(0), 1)
inputs = lcad.Inputs(luminance, ids, ids, 5.0, keys)
image = jax.jit(lambda p: lcad.colorize(model, p, inputs, lcad.Options(2)))(params)
assert image.shape == (1, 256, 256, 3) and np.isfinite(np.asarray(image)).all()
"""


def measured(*command: str) -> float:
    """Runs Python; its peak memory in GB. What it maps from files counts."""
    start = time.monotonic()
    code = (
        "import resource, subprocess, sys;"
        "code = subprocess.run([sys.executable, *sys.argv[1:]]).returncode;"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss);"
        "sys.exit(code)"
    )
    arguments = [sys.executable, "-c", code, *command]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    peak = int(done.stdout.split()[-1]) / 2**20
    print(f"{command[1][:20]!r}: {time.monotonic() - start:.0f} s, {peak:.2f} GB")
    return peak


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A released checkpoint's keys, shapes and layout; the values are uniform and small."""
    path = tmp_path_factory.mktemp("full") / "lcad.ckpt"
    rng = np.random.default_rng(0)
    state = manifest("lcad")
    buffers = np.load(Path(__file__).parent / "golden" / "schedule.npz")
    for key, leaf in state.items():
        if key in buffers:
            state[key] = buffers[key]
        elif key.endswith("position_ids"):
            state[key] = np.arange(77)[None]
        else:
            fan_in = np.prod(leaf.shape[1:])
            state[key] = (rng.random(leaf.shape, np.float32) - 0.5) / np.float32(fan_in**0.5)
    writers.write_checkpoint(path, state)
    return path


@pytest.fixture(scope="module")
def release(checkpoint: Path) -> Path:
    output = checkpoint.parent / "release"
    size = checkpoint.stat().st_size / 2**30
    flags = ["--format=lcad", f"--input={checkpoint}", f"--output={output}"]
    peak = measured("-m", "colorjax.convert", *flags, f"--tokenizer={DATA / 'tokenizer'}")
    assert peak < 2.2 * size
    return output


def test_conversion(release: Path) -> None:
    assert {path.stem for path in release.glob("*.safetensors")} == {
        *("text_encoder", "vae", "luminance_encoder", "unet", "extras")
    }


def test_two_steps_of_one_picture(release: Path) -> None:
    measured("-c", COLORIZE, str(release))
