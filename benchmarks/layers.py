"""Single layers of a full-size UNet on one thread of a CPU, each way that there is, beside torch.

    python -m benchmarks.layers --json=layers.json

By these `colorjax.models.convolution` and `colorjax.models.attention` choose. Milliseconds of
CPU time, the least of the rounds, in float32; without torch its column stays empty.
"""

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.timing import fastest
from colorjax import errors
from colorjax.models import attention, convolution

# Pictures, side, channels in and out.
CONVOLUTIONS = (
    (1, 4, 1280, 1280),
    (2, 4, 1280, 1280),
    (1, 8, 1280, 1280),
    (1, 8, 2560, 1280),
    (1, 8, 512, 512),
    (1, 8, 256, 256),
    (1, 16, 1280, 1280),
    (1, 16, 1280, 640),
    (1, 16, 640, 640),
    (1, 32, 320, 320),
)
# Pictures, tokens, tokens attended to, heads, channels of a head.
ATTENTIONS = (
    (1, 1024, 1024, 8, 40),
    (2, 1024, 1024, 8, 40),
    (1, 256, 256, 8, 80),
    (1, 1024, 77, 8, 40),
    (1, 1024, 1024, 1, 512),
)
PADDING = ((1, 1), (1, 1))


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def milliseconds(run: Callable[..., Any], inputs: tuple[np.ndarray, ...], rounds: int) -> float:
    arrays = tuple(map(jnp.asarray, inputs))
    jitted = jax.jit(run)
    return 1e3 * fastest(lambda: jax.block_until_ready(jitted(*arrays)), rounds)


def by_torch(name: str, inputs: tuple[np.ndarray, ...], rounds: int) -> float | None:
    """None where torch is not installed."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(1)
    run: Callable[..., Any]
    if name == "convolution":
        orders = ((0, 3, 1, 2), (3, 2, 0, 1))
        run = lambda maps, kernel: torch.nn.functional.conv2d(maps, kernel, padding=1)  # noqa: E731
    else:
        orders = ((0, 2, 1, 3),) * 3
        run = torch.nn.functional.scaled_dot_product_attention
    tensors = [
        torch.from_numpy(np.ascontiguousarray(array.transpose(order)))
        for array, order in zip(inputs, orders, strict=True)
    ]
    with torch.inference_mode():
        return 1e3 * fastest(lambda: run(*tensors), rounds)


def convolve(maps: Any, kernel: Any) -> Any:
    numbers = jax.lax.conv_dimension_numbers(maps.shape, kernel.shape, ("NHWC", "HWIO", "NHWC"))
    return jax.lax.conv_general_dilated(maps, kernel, (1, 1), PADDING, dimension_numbers=numbers)


def product(maps: Any, kernel: Any) -> Any:
    return convolution.as_product(maps, kernel, (1, 1), PADDING)


def measured(rounds: int) -> dict[str, dict[str, float | None]]:
    """Milliseconds by XLA's own way, the other, torch's, and which the package takes, by layer."""
    rows: dict[str, dict[str, float | None]] = {}
    work: list[tuple[str, str, tuple[np.ndarray, ...], Callable[..., Any], Callable[..., Any]]] = []
    for count, side, inputs, outputs in CONVOLUTIONS:
        name = f"{count} x {side}x{side}, {inputs} to {outputs}"
        arrays = (normal(count, side, side, inputs), normal(3, 3, inputs, outputs))
        work.append(("convolution", name, arrays, convolve, product))
    for count, tokens, others, heads, width in ATTENTIONS:
        name = f"{count} x {tokens} to {others} tokens, {heads} heads of {width}"
        arrays = tuple(normal(count, n, heads, width) for n in (tokens, others, others))
        whole, by_head = jax.nn.dot_product_attention, attention.attend_by_head
        work.append(("attention", name, arrays, whole, by_head))
    for kind, name, arrays, usual, other in work:
        chosen = (
            convolution.pays(*arrays, (1, 1))
            if kind == "convolution"
            else (attention.pays_by_head(*arrays[:2]))
        )
        row = {
            "XLA": milliseconds(usual, arrays, rounds),
            "other": milliseconds(other, arrays, rounds),
            "torch": by_torch(kind, arrays, rounds),
        }
        row["chosen"] = row["other" if chosen else "XLA"]
        rows[f"{kind}, {name}"] = row
        times = " ".join(f"{value or float('nan'):9.2f}" for value in row.values())
        print(f"{kind}, {name:45}{times}", flush=True)
    return rows


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(arguments)
    rows = measured(args.rounds)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    errors.run(main)
