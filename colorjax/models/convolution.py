"""Convolutions by what is fastest where the program will run: the one place where that is chosen.

XLA has oneDNN's and Eigen's convolutions on CPUs. On the small maps deep in a full-size UNet their
kernel, 59 MB at 1,280 channels, is many times larger than the map, and they spend their time on
rearranging it. As one matrix product, whose rows are the pixels' neighbourhoods, it is read
once as it lies.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float

from colorjax.maths.types import Array

# On a CPU the product pays from so many channels on, where the kernel has so many numbers for each
# pixel of the batch: one layer alone is 1.4 to 2.4 times as fast (docs/speed.md). With half as many
# numbers for each pixel it is as fast or slower.
LEAST_CHANNELS = 512
LEAST_PER_PIXEL = 2**15


def convolve(
    maps: Float[Array, "b h w c"],
    kernel: Float[Array, "kh kw c o"],
    window_strides: tuple[int, int],
    padding: Any,
    **options: Any,
) -> Float[Array, "b h2 w2 o"]:
    """`jax.lax.conv_general_dilated` of maps in NHWC, as Flax's layers call it.

    On a CPU it is `as_product` where that is faster; the two differ by rounding.
    """

    def usual(maps: Array, kernel: Array) -> Array:
        return jax.lax.conv_general_dilated(maps, kernel, window_strides, padding, **options)

    if not pays(maps, kernel, window_strides):
        return usual(maps, kernel)

    def product(maps: Array, kernel: Array) -> Array:
        return as_product(maps, kernel, window_strides, padding)

    # The branch for the platform that the program is lowered for, which need not be this one.
    out: Array = jax.lax.platform_dependent(maps, kernel, cpu=product, default=usual)
    return out


def as_product(
    maps: Float[Array, "b h w c"],
    kernel: Float[Array, "kh kw c o"],
    strides: tuple[int, int],
    padding: Any,
) -> Float[Array, "b h2 w2 o"]:
    """A convolution as one matrix product of every pixel's neighbourhood and the kernel."""
    height, width, channels, features = kernel.shape
    maps = jnp.pad(maps, ((0, 0), *padding, (0, 0)))
    rows = (maps.shape[1] - height) // strides[0] + 1
    columns = (maps.shape[2] - width) // strides[1] + 1

    def shifted(down: int, right: int) -> Array:
        below = slice(down, down + (rows - 1) * strides[0] + 1, strides[0])
        beside = slice(right, right + (columns - 1) * strides[1] + 1, strides[1])
        return maps[:, below, beside]

    places = [shifted(i, j) for i in range(height) for j in range(width)]
    around = jnp.concatenate(places, -1).reshape(-1, height * width * channels)
    out = around @ kernel.reshape(-1, features)
    return out.reshape(len(maps), rows, columns, features)


def pays(maps: Array, kernel: Array, strides: tuple[int, int]) -> bool:
    """Whether `as_product` is faster on a CPU, by the shapes alone."""
    pixels = len(maps) * maps.shape[1] * maps.shape[2] / math.prod(strides)
    wide = min(kernel.shape[2:]) >= LEAST_CHANNELS
    return bool(wide and kernel.size >= LEAST_PER_PIXEL * pixels)
