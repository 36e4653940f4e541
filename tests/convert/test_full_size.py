"""The full-size model, with random weights: 9 GB of disk, 12 GB of memory, some minutes."""

import subprocess
import sys
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from colorjax.convert import writers
from tests.manifests.test_manifests import manifest
from tests.small import DATA

pytestmark = pytest.mark.slow

LOAD = """
import sys, jax, jax.numpy as jnp
from colorjax.methods import lcad
_, params = lcad.load(sys.argv[1], jnp.bfloat16)
assert all(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(params) if leaf.ndim > 1)
print(sum(leaf.nbytes for leaf in jax.tree.leaves(params)))
"""
COLORIZE = """
import sys, time, jax, numpy as np
from colorjax.methods import lcad
model, params = lcad.load(sys.argv[1])
params = jax.tree.map(jax.numpy.asarray, params)
ids = np.full((1, 77), 49407)
luminance, keys = np.zeros((1, 256, 256, 1), np.float32), jax.random.split(jax.random.key(0), 1)
inputs = lcad.Inputs(luminance, ids, ids, 5.0, keys)
colorize = jax.jit(lambda p: lcad.colorize(model, p, inputs, lcad.Options(2)))
for _ in range(2):
    start = time.monotonic()
    image = np.asarray(colorize(params))
    print(f"{time.monotonic() - start:.0f} s")
assert image.shape == (1, 256, 256, 3) and np.isfinite(image).all()
"""


def measured(*command: str) -> tuple[float, str]:
    """Runs Python; its peak memory in bytes, what it maps from files included, and its output."""
    start = time.monotonic()
    code = (
        "import resource, subprocess, sys;"
        "code = subprocess.run([sys.executable, *sys.argv[1:]]).returncode;"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss);"
        "sys.exit(code)"
    )
    arguments = [sys.executable, "-c", code, *command]
    done = subprocess.run(arguments, stdout=subprocess.PIPE, text=True, check=True)
    output, peak = done.stdout.strip().rsplit("\n", 1)
    print(f"{output}\n{time.monotonic() - start:.0f} s, {int(peak) / 2**20:.2f} GiB at the most")
    return int(peak) * 1024, output


class Weights(Mapping):
    """A released checkpoint's keys, shapes and layout; the values are uniform, small and made anew
    whenever they are asked for, so that this process never holds them all."""

    def __init__(self) -> None:
        self.shapes = {key: leaf.shape for key, leaf in manifest("lcad").items()}
        self.buffers = np.load(Path(__file__).parent.parent / "golden" / "schedule.npz")

    def __getitem__(self, key: str) -> np.ndarray:
        if key in self.buffers:
            return self.buffers[key]
        if key.endswith("position_ids"):
            return np.arange(77)[None]
        shape = self.shapes[key]
        values = np.random.default_rng(zlib.crc32(key.encode())).random(shape, np.float32)
        return (values - np.float32(0.5)) / np.float32(np.prod(shape[1:]) ** 0.5)

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    checkpoint = tmp_path_factory.mktemp("full") / "lcad.ckpt"
    writers.write_checkpoint(checkpoint, Weights())
    output, size = checkpoint.parent / "release", checkpoint.stat().st_size
    flags = ["--format=lcad", f"--input={checkpoint}", f"--output={output}"]
    peak, _ = measured("-m", "colorjax.convert", *flags, f"--tokenizer={DATA / 'tokenizer'}")
    print(f"{peak / size:.2f} times the file")
    assert peak < 2.2 * size
    checkpoint.unlink()
    return output


def test_conversion(release: Path) -> None:
    assert {path.stem for path in release.glob("*.safetensors")} == {
        *("text_encoder", "vae", "luminance_encoder", "unet", "extras")
    }


def test_loading_as_bfloat16(release: Path) -> None:
    peak, output = measured("-c", LOAD, str(release))
    print(f"{peak / int(output):.2f} times the weights")
    assert peak < 1.3 * int(output)


def test_two_steps_of_one_picture(release: Path) -> None:
    measured("-c", COLORIZE, str(release))
