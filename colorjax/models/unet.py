"""The Stable Diffusion UNet with L-CAD's channel-extended convolutions (CEC)."""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from colorjax.maths.types import Array, Context, Latents, Timesteps
from colorjax.models.attention import SpatialTransformer
from colorjax.models.layers import (
    Downsample,
    Maps,
    ResnetBlock,
    Upsample,
    area_resize,
    conv3x3,
    dense,
    group_norm,
    zero_conv,
)

CEC_CHOICES = ("none", "conv_in", "down_blocks")
# What the backward pass keeps of a block: everything, the linear layers' results, or its input.
REMAT_CHOICES = ("none", "products", "blocks")
Block = TypeVar("Block", bound=type[nn.Module])


def rematerialized(block: Block, remat: str) -> Block:
    """A module's class whose values are computed again in the backward pass, to save memory.

    Args:
        block: the class of the module.
        remat: one of `REMAT_CHOICES`.
    """
    if remat == "none":
        return block
    # Products without a batch dimension are those with weights: attention's logits, which are large
    # and quick to make, are not among them.
    policies = jax.checkpoint_policies
    products = policies.dots_with_no_batch_dims_saveable if remat == "products" else None
    return nn.remat(block, policy=products)


# Where a block's output is sown when that is not just what its `__call__` returns.
OUTPUT = ("intermediates", "output")


def timestep_features(timesteps: Timesteps, channels: int) -> Float[Array, "b c"]:
    """Cosines then sines of t * 10000^(-i / (channels/2)), in float32.

    bfloat16 has 8 bits: from 512 on it knows every fourth timestep only.
    """
    half = channels // 2
    frequencies = jnp.exp(-jnp.log(10000.0) * jnp.arange(half, dtype=jnp.float32) / half)
    angles = timesteps.astype(jnp.float32)[:, None] * frequencies
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)


def guidance_features(guidance_scale: Float[Array, "b"], channels: int) -> Float[Array, "b c"]:
    """Sines then cosines of 1000 (s - 1), as latent consistency models embed a guidance scale s.

    The frequencies end at 1 / 10000, those of `timestep_features` one before (Luo et al. 2023, by
    the layout of their released weights).
    """
    half = channels // 2
    steps = jnp.arange(half, dtype=jnp.float32) / (half - 1)
    angles = 1000.0 * (guidance_scale.astype(jnp.float32) - 1.0)[:, None]
    angles = angles * jnp.exp(-jnp.log(10000.0) * steps)
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


class TimestepEmbedding(nn.Module):
    """Two linear layers that make every residual block's time embedding of `timestep_features`.

    Features of a guidance scale, if there are some, are added to them by a third, which starts as
    zero (diffusers' `cond_proj`).
    """

    channels: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, features: Float[Array, "b c"], guidance: Float[Array, "b g"] | None = None
    ) -> Float[Array, "b d"]:
        if guidance is not None:
            project = nn.Dense(
                features.shape[-1],
                use_bias=False,
                kernel_init=nn.initializers.zeros,
                dtype=self.dtype,
                name="cond_proj",
            )
            features += project(guidance)
        hidden = nn.silu(dense(self.channels, self.dtype, "linear_1")(features))
        return dense(self.channels, self.dtype, "linear_2")(hidden)


class Level(nn.Module):
    """What the blocks of one resolution share: their sizes and how to make them."""

    channels: int
    num_layers: int
    heads: int
    attention: bool
    depth: int
    groups: int
    linear_projection: bool
    resample: bool
    cec: tuple[str, ...] = ()
    dtype: Any = jnp.float32
    remat: str = "none"

    def resnet(self, i: int) -> ResnetBlock:
        """Residual block `i` of the level."""
        name = f"resnets_{i}"
        block = rematerialized(ResnetBlock, self.remat)
        return block(self.channels, self.groups, 1e-5, self.cec, self.dtype, name=name)

    def attend(self, i: int, maps: Maps, context: Context) -> Maps:
        """Transformer `i` of the level, if it has any."""
        if not self.attention:
            return maps
        transformer = rematerialized(SpatialTransformer, self.remat)(
            self.heads,
            self.depth,
            self.groups,
            self.linear_projection,
            self.dtype,
            name=f"attentions_{i}",
        )
        return transformer(maps, context)


class DownLevel(Level):
    """A level on the way down: blocks, each with its transformer, then a downsampling."""

    @nn.compact
    def __call__(
        self, maps: Maps, time: Array, context: Context, luminance_feature: Array | None
    ) -> tuple[Array, list[Array]]:
        """The map for the next level, and the skips, one after each block and resampling."""
        skips = []
        extension = None
        if self.cec and luminance_feature is not None:
            extension = area_resize(luminance_feature, *maps.shape[1:3])
        for i in range(self.num_layers):
            maps = self.resnet(i)(maps, time, extension)
            maps = self.attend(i, maps, context)
            skips.append(maps)
        if self.resample:
            maps = Downsample(self.channels, 1, self.dtype, name="downsamplers_0")(maps)
            skips.append(maps)
        return maps, skips


class MidLevel(Level):
    """The coarsest level's middle: block, transformer, block."""

    @nn.compact
    def __call__(self, maps: Maps, time: Array, context: Context) -> Maps:
        maps = self.resnet(0)(maps, time)
        return self.resnet(1)(self.attend(0, maps, context), time)


class UpLevel(Level):
    """A level on the way up: one block more than on the way down, then an upsampling."""

    @nn.compact
    def __call__(self, maps: Maps, time: Array, context: Context, skips: list[Array]) -> Array:
        """Consumes one skip per residual block from the end of `skips`."""
        for i in range(self.num_layers + 1):
            # The skip's channels come second: the kernels' input channels are in this order.
            maps = jnp.concatenate([maps, skips.pop()], axis=-1)
            maps = self.attend(i, self.resnet(i)(maps, time), context)
        if self.resample:
            maps = Upsample(self.channels, self.dtype, name="upsamplers_0")(maps)
        return maps


class UNet(nn.Module):
    """The denoiser: an estimate of the noise from z_t, t, text and luminance.

    `cec` says which convolutions read a feature of the luminance encoder through extended
    channels: "none" is plain Stable Diffusion, "conv_in" the released L-CAD weights,
    "down_blocks" the paper ("each downsampling module"; that this means `conv_in` and `conv1` of
    every residual block on the way down, with the feature averaged to the map's size, is our
    reading, and `cec_convolutions` another). At initialisation all three compute the same function.
    The feature is by default the encoder's last (`cec_feature`, an index that whoever calls this
    network heeds); a finer one is averaged to the latents' size.

    With `guidance_channels` it also reads the guidance scale that its estimate shall have inside,
    as consistency distillation wants it.
    """

    block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280)
    layers_per_block: int = 2
    attention_levels: tuple[bool, ...] = (True, True, True, False)
    num_attention_heads: tuple[int, ...] = (8, 8, 8, 8)
    transformer_depth: int = 1
    out_channels: int = 4
    norm_num_groups: int = 32
    linear_projection: bool = False
    cec: str = "down_blocks"
    cec_convolutions: tuple[str, ...] = ("conv1",)  # of the blocks on the way down
    cec_feature: int = -1
    guidance_channels: int = 0  # of `guidance_features`
    dtype: Any = jnp.float32
    remat: str = "none"

    def _level(self, i: int, **more: Any) -> dict[str, Any]:
        """The arguments of level `i`, the finest being 0."""
        return (
            dict(
                channels=self.block_out_channels[i],
                num_layers=self.layers_per_block,
                heads=self.num_attention_heads[i],
                attention=self.attention_levels[i],
                depth=self.transformer_depth,
                groups=self.norm_num_groups,
                linear_projection=self.linear_projection,
                dtype=self.dtype,
                remat=self.remat,
            )
            | more
        )

    @property
    def _last(self) -> int:
        return len(self.block_out_channels) - 1

    def down(self, i: int, **more: Any) -> DownLevel:
        """Level `i` on the way down, the finest being 0."""
        extended = self.cec_convolutions if self.cec == "down_blocks" else ()
        return DownLevel(**self._level(i, resample=i < self._last, cec=extended), **more)

    def middle(self, **more: Any) -> MidLevel:
        """The middle, which attends even where the coarsest level does not (Stable Diffusion)."""
        return MidLevel(**self._level(self._last, attention=True, resample=False), **more)

    def up(self, i: int, **more: Any) -> UpLevel:
        """Block `i` on the way up, the coarsest being 0."""
        return UpLevel(**self._level(self._last - i, resample=i < self._last), **more)

    @nn.compact
    def __call__(
        self,
        latents: Latents,
        timesteps: Timesteps,
        context: Context,
        luminance_feature: Float[Array, "b _ _ f"] | None = None,
        guidance_scale: Float[Array, "b"] | None = None,
    ) -> Float[Array, "b h w o"]:
        widths = self.block_out_channels
        context = context.astype(self.dtype)
        guidance = None
        if self.guidance_channels:
            assert guidance_scale is not None, "this UNet reads a guidance scale"
            guidance = guidance_features(guidance_scale, self.guidance_channels).astype(self.dtype)
        time = TimestepEmbedding(4 * widths[0], self.dtype, name="time_embedding")(
            timestep_features(timesteps, widths[0]).astype(self.dtype), guidance
        )
        conv_in = conv3x3(widths[0], self.dtype, "conv_in")
        maps = conv_in(latents.astype(self.dtype))
        if self.cec != "none":
            luminance_feature = luminance_feature.astype(self.dtype)  # type: ignore[union-attr]
            luminance_feature = area_resize(luminance_feature, *maps.shape[1:3])
            maps += zero_conv(widths[0], 3, self.dtype, "cec_conv_in", False)(luminance_feature)
        conv_in.sow(*OUTPUT, maps)
        skips = [maps]
        for i in range(len(widths)):
            level = self.down(i, name=f"down_blocks_{i}")
            maps, more = level(maps, time, context, luminance_feature)
            level.sow(*OUTPUT, maps)
            skips += more
        maps = self.middle(name="mid_block")(maps, time, context)
        for i in range(len(widths)):
            up = self.up(i, name=f"up_blocks_{i}")
            maps = up(maps, time, context, skips)
        # The estimate leaves in float32: samplers and losses compute in it.
        maps = nn.silu(group_norm(self.norm_num_groups, 1e-5, self.dtype, "conv_norm_out")(maps))
        return conv3x3(self.out_channels, self.dtype, "conv_out")(maps).astype(jnp.float32)
