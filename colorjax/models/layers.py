"""Convolutional blocks shared by the VAE, the luminance encoder and the UNet.

Parameter names are those of diffusers with dots before numbers replaced by underscores:
`resnets.1.conv1.weight` is `resnets_1/conv1/kernel` here.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Float

from colorjax.maths.types import Array, Params
from colorjax.models.convolution import convolve

Maps = Float[Array, "b h w c"]
Tokens = Float[Array, "b q c"]


def apply(module: nn.Module, params: Params, *inputs: Any, method: str | None = None) -> Any:
    """A module's outputs for plain parameters."""
    return module.apply({"params": params}, *inputs, method=method)


def conv3x3(channels: int, dtype: Any, name: str, strides: int = 1, padding: Any = 1) -> nn.Conv:
    """A 3x3 convolution, by default with one pixel of padding on every side as in PyTorch."""
    # Not "SAME", which at stride 2 pads an even side on the right and bottom only.
    return nn.Conv(
        channels,
        (3, 3),
        strides=strides,
        padding=padding,
        dtype=dtype,
        conv_general_dilated=convolve,
        name=name,
    )


def _dot_rows(rows: Array, kernel: Array, dimensions: Any, **options: Any) -> Array:
    # Flax's own product contracts the last axis of an array of any rank; see `dense`.
    flat = rows.reshape(-1, rows.shape[-1])
    product = jax.lax.dot_general(flat, kernel, (((1,), (0,)), ((), ())), **options)
    return product.reshape(*rows.shape[:-1], -1)


def dense(features: int, dtype: Any, name: str, use_bias: bool = True) -> nn.Dense:
    """A linear layer of the last axis.

    All other axes are one to the product: the weight gradient over two axes is five times slower
    on CPUs, and the same elsewhere.
    """
    return nn.Dense(features, use_bias=use_bias, dtype=dtype, dot_general=_dot_rows, name=name)


def group_norm(groups: int, epsilon: float, dtype: Any, name: str) -> nn.GroupNorm:
    """Group norm with float32 statistics; `epsilon` is explicit since SD uses two of them.

    1e-5 is the UNet's, 1e-6 the VAE's and that of the transformers within the UNet.
    """
    # Flax reduces in float32 whatever `dtype` is. Its fast variance, E[v^2] - E[v]^2, would lose
    # the digits that the two have in common, which on a flat picture are nearly all.
    return nn.GroupNorm(groups, epsilon=epsilon, dtype=dtype, use_fast_variance=False, name=name)


def zero_conv(channels: int, kernel_size: int, dtype: Any, name: str, use_bias: bool) -> nn.Conv:
    """A convolution that starts as zero, so that what it feeds starts unchanged."""
    return nn.Conv(
        channels,
        (kernel_size, kernel_size),
        padding=kernel_size // 2,
        use_bias=use_bias,
        kernel_init=nn.initializers.zeros,
        dtype=dtype,
        name=name,
    )


class ResnetBlock(nn.Module):
    """A residual block: norm, SiLU, conv, (+ time), norm, SiLU, conv, + shortcut.

    The convolutions that `cec` names are channel-extended (L-CAD Eq. 5): a second, bias-free
    kernel reads the luminance feature and its output is added. This equals one convolution over
    concatenated channels, and is zero at initialisation.
    """

    channels: int
    groups: int = 32
    epsilon: float = 1e-6
    cec: tuple[str, ...] = ()
    dtype: Any = jnp.float32

    def convolve(self, name: str, maps: Maps, luminance_feature: Array | None) -> Array:
        """A 3x3 convolution, channel-extended if `cec` names it."""
        out = conv3x3(self.channels, self.dtype, name)(maps)
        if name in self.cec:
            # Without bias: the convolution beside it has one.
            extension = zero_conv(self.channels, 3, self.dtype, f"cec_{name}", False)
            out += extension(luminance_feature)
        return out

    @nn.compact
    def __call__(
        self,
        maps: Maps,
        time_embedding: Float[Array, "b d"] | None = None,
        luminance_feature: Float[Array, "b h w f"] | None = None,
    ) -> Float[Array, "b h w o"]:
        h = nn.silu(group_norm(self.groups, self.epsilon, self.dtype, "norm1")(maps))
        h = self.convolve("conv1", h, luminance_feature)
        if time_embedding is not None:
            # The embedding comes without its last SiLU: each block applies it before projecting.
            time = dense(self.channels, self.dtype, "time_emb_proj")
            h += time(nn.silu(time_embedding))[:, None, None, :]
        h = nn.silu(group_norm(self.groups, self.epsilon, self.dtype, "norm2")(h))
        h = self.convolve("conv2", h, luminance_feature)
        # As the original: a projection only where the width changes.
        if maps.shape[-1] != self.channels:
            maps = nn.Conv(self.channels, (1, 1), dtype=self.dtype, name="conv_shortcut")(maps)
        return maps + h


class Downsample(nn.Module):
    """A 3x3 convolution with stride 2, which halves the map.

    The VAE pads right and bottom only, the UNet all sides: with the other's padding the result is
    shifted by a pixel, and a trained network's pictures go wrong without an error.
    """

    channels: int
    padding: int | Sequence[tuple[int, int]]
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, maps: Maps) -> Float[Array, "b h2 w2 c"]:
        return conv3x3(self.channels, self.dtype, "conv", strides=2, padding=self.padding)(maps)


class Upsample(nn.Module):
    """Nearest-neighbour doubling, then a 3x3 convolution."""

    channels: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, maps: Maps) -> Float[Array, "b h2 w2 c"]:
        # Nearest-neighbour by a factor of 2 is each pixel twice, whichever way centres are counted.
        doubled = jnp.repeat(jnp.repeat(maps, 2, axis=1), 2, axis=2)
        return conv3x3(self.channels, self.dtype, "conv")(doubled)


def area_resize(maps: Maps, height: int, width: int) -> Float[Array, "b h2 w2 c"]:
    """Averages whole cells of a map.

    Raises:
        ValueError: the map is no integer multiple of the target size.
    """
    if maps.shape[1] % height or maps.shape[2] % width:
        raise ValueError(f"a map of {maps.shape[1:3]} is no multiple of {(height, width)}")
    factors = (maps.shape[1] // height, maps.shape[2] // width)
    if factors == (1, 1):
        return maps
    # The start is a NumPy zero of the map's type: from a traced one JAX could not tell that this
    # is a plain sum, and would have no gradient for it.
    return jax.lax.reduce_window(
        maps, np.zeros((), maps.dtype), jax.lax.add, (1, *factors, 1), (1, *factors, 1), "VALID"
    ) / (factors[0] * factors[1])
