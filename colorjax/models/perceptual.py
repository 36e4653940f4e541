"""LPIPS, the learned perceptual distance (Zhang et al. 2018), on VGG16 or AlexNet.

Parameters are named by torchvision's layer numbers: `features_28/kernel`, and `lin_0` to `lin_4`
for the heads. float32 convolutions of TPUs round to bfloat16 unless
`jax.default_matmul_precision("float32")` holds.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from colorjax.maths.types import Array, Features, Image

# ImageNet's channel means and deviations, moved from [0, 1] to [-1, 1] and rounded to three
# digits, as the package lpips has them.
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)


class Layer(NamedTuple):
    """A convolution and its ReLU; `pool` is the window of the max pooling before it, 0 for none.

    The output of a layer with `tap` is one of the five that are compared.
    """

    number: int
    channels: int
    kernel: int = 3
    strides: int = 1
    padding: int = 1
    pool: int = 0
    tap: bool = False


BACKBONES: dict[str, tuple[Layer, ...]] = {
    "vgg16": (
        Layer(0, 64),
        Layer(2, 64, tap=True),
        Layer(5, 128, pool=2),
        Layer(7, 128, tap=True),
        Layer(10, 256, pool=2),
        Layer(12, 256),
        Layer(14, 256, tap=True),
        Layer(17, 512, pool=2),
        Layer(19, 512),
        Layer(21, 512, tap=True),
        Layer(24, 512, pool=2),
        Layer(26, 512),
        Layer(28, 512, tap=True),
    ),
    "alexnet": (
        Layer(0, 64, kernel=11, strides=4, padding=2, tap=True),
        Layer(3, 192, kernel=5, padding=2, pool=3, tap=True),
        Layer(6, 384, pool=3, tap=True),
        Layer(8, 256, tap=True),
        Layer(10, 256, tap=True),
    ),
}
# Below these sides the last pooling has nothing left to pool.
SMALLEST = {"vgg16": 16, "alexnet": 31}


def unit_length(maps: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Each pixel's features at length 1; zeros stay zeros.

    The root never sees 0, where its gradient is infinite: a dead pixel would make a loss NaN.
    """
    squared = jnp.square(maps).sum(axis=-1, keepdims=True)
    return maps / (jnp.sqrt(jnp.where(squared > 0, squared, 1.0)) + 1e-10)


def enlarged(image: Image, size: int) -> Image:
    """The image with its shorter side at `size`, bilinear.

    One that is larger already stays as it is.
    """
    scale = size / min(image.shape[1:3])
    if scale <= 1:
        return image
    height, width = (round(side * scale) for side in image.shape[1:3])
    return jax.image.resize(image, (len(image), height, width, 3), "bilinear")


def pooled(taps: Features) -> Float[Array, "b d"]:
    """The last map's mean over pixels, float32; see `Lpips.pooled`."""
    return taps[-1].astype(jnp.float32).mean(axis=(1, 2))


class Lpips(nn.Module):
    """Version 0.1 of the distance. Heads start at 1, which is its uncalibrated baseline."""

    backbone: str = "vgg16"
    dtype: Any = jnp.float32

    def setup(self) -> None:
        layers = BACKBONES[self.backbone]
        self.features = {
            str(layer.number): nn.Conv(
                layer.channels,
                (layer.kernel, layer.kernel),
                strides=layer.strides,
                padding=layer.padding,
                dtype=self.dtype,
            )
            for layer in layers
        }
        ones = nn.initializers.ones
        # The package has dropout before the heads, which acts when they are trained only.
        taps = sum(layer.tap for layer in layers)
        self.lin = [nn.Dense(1, use_bias=False, kernel_init=ones) for _ in range(taps)]

    def taps(self, image: Image) -> Features:
        """The five maps after a ReLU, fine to coarse; VGG16's are relu1_2 to relu5_3.

        Raises:
            ValueError: an image smaller than the poolings allow.
        """
        if min(image.shape[1:3]) < SMALLEST[self.backbone]:
            side = SMALLEST[self.backbone]
            raise ValueError(f"{self.backbone} needs sides of at least {side}, got {image.shape}.")
        maps = (image - jnp.array(SHIFT)) / jnp.array(SCALE)
        taps: list[Array] = []
        for layer in BACKBONES[self.backbone]:
            if layer.pool:
                maps = nn.max_pool(maps, (layer.pool, layer.pool), strides=(2, 2))
            maps = nn.relu(self.features[str(layer.number)](maps))
            if layer.tap:
                taps.append(maps)
        return tuple(taps)

    def pooled(self, image: Image) -> Float[Array, "b d"]:
        """The last map's mean over pixels, float32: features for a Frechet distance.

        512 of VGG16 (relu5_3), 256 of AlexNet. Not comparable with the Inception network's.
        """
        return pooled(self.taps(image))

    def between(self, taps: Features, others: Features) -> Float[Array, " b"]:
        """The distance of each pair of images whose `taps` these are."""
        distance = jnp.zeros(len(taps[0]))
        for lin, a, b in zip(self.lin, taps, others, strict=True):
            a, b = unit_length(a.astype(jnp.float32)), unit_length(b.astype(jnp.float32))
            distance += lin(jnp.square(a - b)).mean(axis=(1, 2, 3))
        return distance

    def __call__(self, image: Image, other: Image) -> Float[Array, " b"]:
        """The distance of each pair, 0 for equal images: the heads' means over pixels, summed."""
        return self.between(self.taps(image), self.taps(other))
