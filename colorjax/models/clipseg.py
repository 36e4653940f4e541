"""CLIPSeg (Lüddecke and Ecker, CVPR 2022): what a phrase names in a picture, as a map of logits.

A CLIP whose vision tower is read at several depths, and a small transformer over its patches that
the phrase's embedding scales and shifts. Named as in transformers.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float, Int

from colorjax.maths.types import Array, Image
from colorjax.models.clip import (
    CLIP,
    CLIPTextModel,
    CLIPVisionModel,
    Mlp,
    SelfAttention,
    Tokens,
    layer_norm,
)
from colorjax.models.layers import dense


class VisionTaps(CLIPVisionModel):
    """Token states after the layers `taps`, counted from 0.

    There are no layers after the last tap: their results would not be used.
    """

    taps: tuple[int, ...] = (3, 6, 9)

    @nn.compact
    def __call__(self, image: Image) -> list[Tokens]:  # type: ignore[override]
        states = self.states(image)
        return [states[i] for i in self.taps]


class DecoderLayer(nn.Module):
    """A layer as CLIP's, but normed after each sum instead of before attention and MLP."""

    heads: int
    intermediate_size: int

    @nn.compact
    def __call__(self, tokens: Tokens) -> Tokens:
        attend = SelfAttention(self.heads, causal=False, name="self_attn")
        tokens = layer_norm(jnp.float32, "layer_norm1")(tokens + attend(tokens))
        mlp = Mlp(self.intermediate_size, "relu", name="mlp")
        return layer_norm(jnp.float32, "layer_norm2")(tokens + mlp(tokens))


class Decoder(nn.Module):
    """From the vision tower's states, the last one first, and a phrase to logits per pixel."""

    reduce_dim: int = 64
    heads: int = 4
    intermediate_size: int = 2048
    conditional_layer: int = 0
    patch_size: int = 16
    refined: bool = False

    @nn.compact
    def __call__(
        self, states: Sequence[Tokens], phrase: Float[Array, "k p"], grid: tuple[int, int]
    ) -> Float[Array, "k H W"]:
        tokens = jnp.zeros(())
        for i, state in enumerate(reversed(states)):
            tokens = tokens + dense(self.reduce_dim, jnp.float32, f"reduces_{i}")(state)
            # FiLM (Perez et al. 2018): the phrase scales and shifts every channel, in one layer.
            if i == self.conditional_layer:
                scale = dense(self.reduce_dim, jnp.float32, "film_mul")(phrase)[:, None]
                tokens = scale * tokens
                tokens += dense(self.reduce_dim, jnp.float32, "film_add")(phrase)[:, None]
            layer = DecoderLayer(self.heads, self.intermediate_size, name=f"layers_{i}")
            tokens = layer(tokens)
        # Without the class token, which has no place in the map.
        maps = tokens[:, 1:].reshape(len(tokens), *grid, self.reduce_dim)
        return self._enlarge(maps)[..., 0]

    def _enlarge(self, maps: Float[Array, "b h w c"]) -> Float[Array, "b H W 1"]:
        """Each cell becomes a patch; refined, in two steps after a convolution."""

        def enlarge(channels: int, factor: int, name: str) -> nn.ConvTranspose:
            sides = (factor, factor)
            # With `transpose_kernel` the kernel is PyTorch's, its axes turned as a convolution's.
            return nn.ConvTranspose(
                channels, sides, strides=sides, padding="VALID", transpose_kernel=True, name=name
            )

        if not self.refined:
            return enlarge(1, self.patch_size, "transposed_convolution")(maps)
        name, factor = "transposed_convolution", self.patch_size // 4
        maps = nn.relu(nn.Conv(self.reduce_dim, (3, 3), padding=1, name=f"{name}_0")(maps))
        maps = nn.relu(enlarge(self.reduce_dim // 2, factor, f"{name}_2")(maps))
        return enlarge(1, factor, f"{name}_4")(maps)


class CLIPSeg(nn.Module):
    """A map of logits for each phrase: how likely a pixel belongs to what it names.

    With `use_complex_transposed_convolution` (the "refined" weights) the map is enlarged by
    (patch_size // 4)^2 cells, which is the patch for a patch size of 16 only.
    """

    text: CLIPTextModel
    vision: VisionTaps
    projection_dim: int = 512
    reduce_dim: int = 64
    decoder_num_attention_heads: int = 4
    decoder_intermediate_size: int = 2048
    conditional_layer: int = 0
    use_complex_transposed_convolution: bool = False

    def setup(self) -> None:
        self.clip = CLIP(self.text, self.vision, self.projection_dim)
        self.decoder = Decoder(
            self.reduce_dim,
            self.decoder_num_attention_heads,
            self.decoder_intermediate_size,
            self.conditional_layer,
            self.vision.patch_size,
            self.use_complex_transposed_convolution,
        )

    def __call__(self, image: Image, input_ids: Int[Array, "k n"]) -> Float[Array, "k H W"]:
        """One map a phrase, of the size of the pictures.

        Args:
            image: one picture a phrase, or one for all of them (b is k or 1), normalized; its
                sides are multiples of the patch size, 352 pixels in training.
            input_ids: a phrase per row, padded with the end-of-text token.
        """
        states = self.clip.vision_model(image)
        grid = tuple(side // self.vision.patch_size for side in image.shape[1:3])
        return self.decoder(states, self.clip.encode_text(input_ids), grid)


def build(config: dict[str, Any]) -> CLIPSeg:
    """The network of a release's section `clipseg`: sizes as in transformers' configuration."""
    sizes = dict(config)
    text, vision = CLIPTextModel(**sizes.pop("text_config")), dict(sizes.pop("vision_config"))
    taps = tuple(sizes.pop("extract_layers"))
    vision["num_hidden_layers"] = max(taps) + 1
    return CLIPSeg(text, VisionTaps(**vision, taps=taps), **sizes)
