"""PatchGAN (Isola et al. 2017), the critic of L-CAD's pixel space.

Parameters are named by the layer numbers of the reference's sequence: `main_0/kernel`.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from colorjax.maths.types import Array, Image
from colorjax.models.layers import Maps

NORMAL = nn.initializers.normal(
    0.02
)  # pix2pix's, for the kernels and around 1 for the norms' scales


def around_one(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """Initial scales, normal around 1."""
    return 1.0 + 0.02 * jax.random.normal(key, shape, dtype)


class BatchNorm(nn.Module):
    """Normalises by the batch's own statistics. No running ones: a critic is only ever trained."""

    @nn.compact
    def __call__(self, maps: Maps) -> Maps:
        scale = self.param("scale", around_one, (maps.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (maps.shape[-1],))
        mean = maps.mean((0, 1, 2))
        # The biased variance, as PyTorch normalises by; a second pass over the values keeps digits.
        variance = jnp.square(maps - mean).mean((0, 1, 2))
        return (maps - mean) * jax.lax.rsqrt(variance + 1e-5) * scale + bias


class PatchDiscriminator(nn.Module):
    """Logits of overlapping patches, positive for real; with three layers a patch is 70 pixels.

    `layers` strided convolutions that double the width, one more at stride 1, one to the logits.
    """

    features: int = 64
    layers: int = 3

    @nn.compact
    def __call__(self, image: Image) -> Float[Array, "b h w 1"]:
        # The numbers count the activations too, which have no parameters.
        maps, number = image, 0
        for i in range(self.layers + 1):
            maps = nn.Conv(
                self.features * 2 ** min(i, 3),
                (4, 4),
                strides=2 if i < self.layers else 1,
                padding=1,
                use_bias=i == 0,  # the others are normed, which would take a bias away again
                kernel_init=NORMAL,
                name=f"main_{number}",
            )(maps)
            number += 1
            if i > 0:
                maps = BatchNorm(name=f"main_{number}")(maps)
                number += 1
            maps = nn.leaky_relu(maps, 0.2)
            number += 1
        return nn.Conv(1, (4, 4), padding=1, kernel_init=NORMAL, name=f"main_{number}")(maps)
