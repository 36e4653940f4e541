"""The Stable Diffusion VAE, and L-CAD's luminance encoder that guides its decoder.

Paper symbols (L-CAD): E encoder, D decoder, E_g luminance encoder.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from colorjax.maths.types import Array, Features, Image, Latents, Luminance, Moments
from colorjax.models.attention import PixelAttention
from colorjax.models.layers import (
    Downsample,
    Maps,
    ResnetBlock,
    Upsample,
    conv3x3,
    group_norm,
    zero_conv,
)

# LDM pads by hand before a convolution without padding. PyTorch's `padding=1` would be all sides.
RIGHT_AND_BOTTOM = ((0, 1), (0, 1))


class DownBlock(nn.Module):
    """Residual blocks, then a stride-2 convolution. Returns the map and the tapped features."""

    channels: int
    num_layers: int
    groups: int
    downsample: bool
    zero_convs: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, maps: Maps) -> tuple[Array, Features]:
        taps: list[Array] = []
        for i in range(self.num_layers):
            block = ResnetBlock(self.channels, self.groups, dtype=self.dtype, name=f"resnets_{i}")
            maps = block(maps)
            if self.zero_convs:
                tap = zero_conv(self.channels, 1, self.dtype, f"zero_convs_{i}", True)
                taps.append(tap(maps))
        if self.downsample:
            down = Downsample(self.channels, RIGHT_AND_BOTTOM, self.dtype, name="downsamplers_0")
            maps = down(maps)
        return maps, tuple(taps)


class EncoderMidBlock(nn.Module):
    """Block, attention, block at the coarsest size. Returns the map and the tapped features."""

    channels: int
    groups: int
    zero_convs: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, maps: Maps) -> tuple[Array, Features]:
        taps: list[Array] = []
        for i in range(2):
            if i == 1:
                maps = PixelAttention(groups=self.groups, dtype=self.dtype, name="attentions_0")(
                    maps
                )
            block = ResnetBlock(self.channels, self.groups, dtype=self.dtype, name=f"resnets_{i}")
            maps = block(maps)
            if self.zero_convs:
                tap = zero_conv(self.channels, 1, self.dtype, f"zero_convs_{i}", True)
                taps.append(tap(maps))
        return maps, tuple(taps)


class EncoderTrunk(nn.Module):
    """Everything of the encoder up to its output norm: image to the coarsest map and the taps."""

    block_out_channels: tuple[int, ...]
    layers_per_block: int
    norm_num_groups: int
    zero_convs: bool = False
    dtype: Any = jnp.float32

    def trunk(self, image: Image) -> tuple[Array, Features]:
        """The coarsest map, and with `zero_convs` the features, fine to coarse."""
        widths, groups = self.block_out_channels, self.norm_num_groups
        maps = conv3x3(widths[0], self.dtype, "conv_in")(image)
        features: Features = ()
        for i, channels in enumerate(widths):
            block = DownBlock(
                channels,
                self.layers_per_block,
                groups,
                downsample=i < len(widths) - 1,
                zero_convs=self.zero_convs,
                dtype=self.dtype,
                name=f"down_blocks_{i}",
            )
            maps, taps = block(maps)
            features += taps
        mid = EncoderMidBlock(widths[-1], groups, self.zero_convs, self.dtype, name="mid_block")
        maps, taps = mid(maps)
        return maps, features + taps


class Encoder(EncoderTrunk):
    """The VAE's encoder: an image to what `quant_conv` makes moments of."""

    out_channels: int = 8

    @nn.compact
    def __call__(self, image: Image) -> Float[Array, "b h2 w2 o"]:
        maps, _ = self.trunk(image)
        maps = nn.silu(group_norm(self.norm_num_groups, 1e-6, self.dtype, "conv_norm_out")(maps))
        return conv3x3(self.out_channels, self.dtype, "conv_out")(maps)


class LuminanceEncoder(EncoderTrunk):
    """L-CAD's luminance encoder: the VAE encoder's trunk on lightness, with its own weights.

    After every residual block a 1x1 convolution, zero at initialisation, projects a side branch;
    the trunk itself continues unprojected. With two layers and four levels that gives ten
    features, fine to coarse, of which the decoder adds all and the UNet reads the last. The
    released file's unused output norm and convolution have no place here.
    """

    zero_convs: bool = True

    @nn.compact
    def __call__(self, luminance: Luminance) -> Features:
        # Three equal channels, as released: the first kernel has the shape of the VAE's.
        image = jnp.repeat(luminance, 3, axis=-1).astype(self.dtype)
        return self.trunk(image)[1]


class UpBlock(nn.Module):
    """One residual block more than an encoder level; luminance features join after all but it."""

    channels: int
    num_layers: int
    groups: int
    upsample: bool
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, maps: Maps, features: list[Array]) -> Array:
        for i in range(self.num_layers + 1):
            block = ResnetBlock(self.channels, self.groups, dtype=self.dtype, name=f"resnets_{i}")
            maps = block(maps)
            if features and i < self.num_layers:
                maps = maps + features.pop()
        if self.upsample:
            maps = Upsample(self.channels, self.dtype, name="upsamplers_0")(maps)
        return maps


class DecoderMidBlock(nn.Module):
    """Block, attention, block; a luminance feature joins after each block."""

    channels: int
    groups: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, maps: Maps, features: list[Array]) -> Maps:
        for i in range(2):
            if i == 1:
                maps = PixelAttention(groups=self.groups, dtype=self.dtype, name="attentions_0")(
                    maps
                )
            block = ResnetBlock(self.channels, self.groups, dtype=self.dtype, name=f"resnets_{i}")
            maps = block(maps)
            if features:
                maps = maps + features.pop()
        return maps


class Decoder(nn.Module):
    """The VAE's decoder, guided by luminance features where there are some."""

    block_out_channels: tuple[int, ...]
    layers_per_block: int
    norm_num_groups: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, latents: Latents, luminance_features: Features | None) -> Image:
        # Consumed from the end: the last feature, of the encoder's second middle block, meets the
        # decoder's first middle block.
        features = [f.astype(self.dtype) for f in luminance_features or ()]
        widths, groups = self.block_out_channels, self.norm_num_groups
        maps = conv3x3(widths[-1], self.dtype, "conv_in")(latents)
        maps = DecoderMidBlock(widths[-1], groups, self.dtype, name="mid_block")(maps, features)
        for i, channels in enumerate(reversed(widths)):
            block = UpBlock(
                channels,
                self.layers_per_block,
                groups,
                upsample=i < len(widths) - 1,
                dtype=self.dtype,
                name=f"up_blocks_{i}",
            )
            maps = block(maps, features)
        maps = nn.silu(group_norm(groups, 1e-6, self.dtype, "conv_norm_out")(maps))
        return conv3x3(3, self.dtype, "conv_out")(maps)


class AutoencoderKL(nn.Module):
    """The VAE. `encode` gives moments, `decode` takes unscaled latents (divided by the factor)."""

    block_out_channels: tuple[int, ...] = (128, 256, 512, 512)
    layers_per_block: int = 2
    latent_channels: int = 4
    norm_num_groups: int = 32
    dtype: Any = jnp.float32

    def setup(self) -> None:
        shape = (self.block_out_channels, self.layers_per_block, self.norm_num_groups)
        moments = 2 * self.latent_channels
        self.encoder = Encoder(*shape, dtype=self.dtype, out_channels=moments)
        self.decoder = Decoder(*shape, dtype=self.dtype)
        self.quant_conv = nn.Conv(moments, (1, 1), dtype=self.dtype)
        self.post_quant_conv = nn.Conv(self.latent_channels, (1, 1), dtype=self.dtype)

    def encode(self, image: Image) -> Moments:
        """Posterior mean and log variance, stacked on the channel axis, in float32."""
        return self.quant_conv(self.encoder(image.astype(self.dtype))).astype(jnp.float32)

    def decode(self, latents: Latents, luminance_features: Features | None = None) -> Image:
        """The unclamped image; luminance features guide it, None is the plain decoder."""
        maps = self.post_quant_conv(latents.astype(self.dtype))
        return self.decoder(maps, luminance_features).astype(jnp.float32)

    def __call__(self, image: Image) -> Image:
        mean, _ = jnp.split(self.encode(image), 2, axis=-1)
        return self.decode(mean)

    @property
    def factor(self) -> int:
        """How many pixels a latent is wide."""
        return 1 << (len(self.block_out_channels) - 1)
