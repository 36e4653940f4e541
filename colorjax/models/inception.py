"""The Inception network of the Frechet Inception Distance, as the package pytorch-fid has it.

It is the 2015 TensorFlow graph, not torchvision's: average pools ignore the padding, the last
block pools by maximum. Batch norms (epsilon 1e-3) are folded into the convolutions, which the
conversion does. Names are torchvision's. float32 convolutions of TPUs round to bfloat16 unless
`jax.default_matmul_precision("float32")` holds.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from colorjax.maths.types import Array, Image

SIDE = 299
FEATURES = 2048

Maps = Float[Array, "b h w c"]
Mixed = Float[Array, "b h2 w2 d"]
Step = tuple[str, int, int | tuple[int, int]]  # name, channels, kernel


def max_pool_half(maps: Maps) -> Mixed:
    """The maximum over 3x3 windows at every second pixel, without padding."""
    return nn.max_pool(maps, (3, 3), strides=(2, 2))


def average_pool(maps: Maps) -> Maps:
    """The mean over 3x3 windows. At the border it is that of the pixels that are there."""
    # PyTorch's default counts the padding's zeros; the TensorFlow graph does not.
    return nn.avg_pool(maps, (3, 3), padding="SAME", count_include_pad=False)


class Block(nn.Module):
    """Branches side by side, joined over the channels."""

    dtype: Any = jnp.float32

    def convolve(self, maps: Maps, step: Step, strides: int = 1, padding: str = "SAME") -> Mixed:
        """A convolution, its batch norm folded in, and a ReLU."""
        name, channels, kernel = step
        size = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        layer = nn.Conv(
            channels, size, strides=strides, padding=padding, dtype=self.dtype, name=name
        )
        return nn.relu(layer(maps))

    def chain(self, maps: Maps, *steps: Step) -> Mixed:
        """Convolutions one after another."""
        for step in steps:
            maps = self.convolve(maps, step)
        return maps

    def halve(self, maps: Maps, *steps: Step) -> Mixed:
        """A chain whose last convolution has stride 2 and no padding."""
        return self.convolve(self.chain(maps, *steps[:-1]), steps[-1], 2, "VALID")


class MixedA(Block):
    """1x1, 5x5 and two 3x3 convolutions, and the pool's 1x1."""

    pool_channels: int = 64

    @nn.compact
    def __call__(self, maps: Maps) -> Mixed:
        branches = (
            self.chain(maps, ("branch1x1", 64, 1)),
            self.chain(maps, ("branch5x5_1", 48, 1), ("branch5x5_2", 64, 5)),
            self.chain(
                maps,
                ("branch3x3dbl_1", 64, 1),
                ("branch3x3dbl_2", 96, 3),
                ("branch3x3dbl_3", 96, 3),
            ),
            self.chain(average_pool(maps), ("branch_pool", self.pool_channels, 1)),
        )
        return jnp.concatenate(branches, axis=-1)


class MixedB(Block):
    """Halves the map: 35 to 17."""

    @nn.compact
    def __call__(self, maps: Maps) -> Mixed:
        double = (("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3))
        branches = (
            self.halve(maps, ("branch3x3", 384, 3)),
            self.halve(maps, *double),
            max_pool_half(maps),
        )
        return jnp.concatenate(branches, axis=-1)


class MixedC(Block):
    """7x7 convolutions as rows and columns of `channels` between."""

    channels: int = 128

    @nn.compact
    def __call__(self, maps: Maps) -> Mixed:
        c, row, column = self.channels, (1, 7), (7, 1)
        branches = (
            self.chain(maps, ("branch1x1", 192, 1)),
            self.chain(
                maps,
                ("branch7x7_1", c, 1),
                ("branch7x7_2", c, row),
                ("branch7x7_3", 192, column),
            ),
            self.chain(
                maps,
                ("branch7x7dbl_1", c, 1),
                ("branch7x7dbl_2", c, column),
                ("branch7x7dbl_3", c, row),
                ("branch7x7dbl_4", c, column),
                ("branch7x7dbl_5", 192, row),
            ),
            self.chain(average_pool(maps), ("branch_pool", 192, 1)),
        )
        return jnp.concatenate(branches, axis=-1)


class MixedD(Block):
    """Halves the map: 17 to 8."""

    @nn.compact
    def __call__(self, maps: Maps) -> Mixed:
        branches = (
            self.halve(maps, ("branch3x3_1", 192, 1), ("branch3x3_2", 320, 3)),
            self.halve(
                maps,
                ("branch7x7x3_1", 192, 1),
                ("branch7x7x3_2", 192, (1, 7)),
                ("branch7x7x3_3", 192, (7, 1)),
                ("branch7x7x3_4", 192, 3),
            ),
            max_pool_half(maps),
        )
        return jnp.concatenate(branches, axis=-1)


class MixedE(Block):
    """Rows and columns side by side.

    `max_pool` is for the last block, whose pool takes the maximum in the graph, though the paper
    averages.
    """

    max_pool: bool = False

    def fork(self, maps: Maps, name: str) -> Mixed:
        """A row and a column of the same map, joined over the channels."""
        row = self.convolve(maps, (f"{name}a", 384, (1, 3)))
        column = self.convolve(maps, (f"{name}b", 384, (3, 1)))
        return jnp.concatenate([row, column], axis=-1)

    @nn.compact
    def __call__(self, maps: Maps) -> Mixed:
        if self.max_pool:
            pooled = nn.max_pool(maps, (3, 3), padding="SAME")
        else:
            pooled = average_pool(maps)
        double = self.chain(maps, ("branch3x3dbl_1", 448, 1), ("branch3x3dbl_2", 384, 3))
        branches = (
            self.chain(maps, ("branch1x1", 320, 1)),
            self.fork(self.chain(maps, ("branch3x3_1", 384, 1)), "branch3x3_2"),
            self.fork(double, "branch3x3dbl_3"),
            self.chain(pooled, ("branch_pool", 192, 1)),
        )
        return jnp.concatenate(branches, axis=-1)


class Inception(Block):
    """Images to the 2048 features of the last average pooling, float32."""

    def stem(self, maps: Maps) -> Mixed:
        """299 to 35 pixels a side, 192 channels."""
        maps = self.convolve(maps, ("Conv2d_1a_3x3", 32, 3), 2, "VALID")
        maps = self.convolve(maps, ("Conv2d_2a_3x3", 32, 3), 1, "VALID")
        maps = max_pool_half(self.convolve(maps, ("Conv2d_2b_3x3", 64, 3)))
        maps = self.convolve(maps, ("Conv2d_3b_1x1", 80, 1))
        return max_pool_half(self.convolve(maps, ("Conv2d_4a_3x3", 192, 3), 1, "VALID"))

    @nn.compact
    def __call__(self, image: Image) -> Float[Array, "b 2048"]:
        # Half-pixel centres, as PyTorch's `align_corners=False`; TensorFlow's first FID had others.
        # No antialiasing when shrinking: published distances were measured without.
        shape = (len(image), SIDE, SIDE, 3)
        maps = self.stem(jax.image.resize(image, shape, "bilinear", antialias=False))
        for letter, channels in zip("bcd", (32, 64, 64), strict=True):
            maps = MixedA(self.dtype, channels, name=f"Mixed_5{letter}")(maps)
        maps = MixedB(self.dtype, name="Mixed_6a")(maps)
        for letter, channels in zip("bcde", (128, 160, 160, 192), strict=True):
            maps = MixedC(self.dtype, channels, name=f"Mixed_6{letter}")(maps)
        maps = MixedD(self.dtype, name="Mixed_7a")(maps)
        maps = MixedE(self.dtype, name="Mixed_7b")(maps)
        maps = MixedE(self.dtype, max_pool=True, name="Mixed_7c")(maps)
        return maps.astype(jnp.float32).mean(axis=(1, 2))
