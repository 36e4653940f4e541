"""CLIP's text and vision towers (Radford et al. 2021), named as in transformers."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Float

from colorjax.maths.types import Array, Image, TokenIds
from colorjax.models.attention import split_heads
from colorjax.models.layers import dense

Tokens = Float[Array, "b n d"]


def quick_gelu(values: Array) -> Array:
    """OpenAI's cheap GELU, v * sigmoid(1.702 v); OpenCLIP's towers use the exact one."""
    return values * jax.nn.sigmoid(1.702 * values)


def exact_gelu(values: Array) -> Array:
    """GELU by the error function; Flax's default is its approximation by a tanh."""
    return nn.gelu(values, approximate=False)


def layer_norm(dtype: Any, name: str) -> nn.LayerNorm:
    """Layer norm with the epsilon of CLIP; Flax's default is 1e-6."""
    return nn.LayerNorm(epsilon=1e-5, dtype=dtype, name=name)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "quick_gelu": quick_gelu,
    "gelu": exact_gelu,
    "relu": nn.relu,
}


class SelfAttention(nn.Module):
    """Multi-head self-attention; `causal`: a token sees itself and those before it only."""

    heads: int
    causal: bool
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Tokens) -> Tokens:
        def project(name: str) -> Array:
            layer = dense(tokens.shape[-1], self.dtype, name)
            return split_heads(layer(tokens), self.heads)

        mixed = jax.nn.dot_product_attention(
            project("q_proj"), project("k_proj"), project("v_proj"), is_causal=self.causal
        )
        out = dense(tokens.shape[-1], self.dtype, "out_proj")
        return out(mixed.reshape(tokens.shape))


class Mlp(nn.Module):
    """Two linear layers with an activation, by its name in `ACTIVATIONS`, between them."""

    intermediate_size: int
    activation: str
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Tokens) -> Tokens:
        hidden = dense(self.intermediate_size, self.dtype, "fc1")(tokens)
        hidden = ACTIVATIONS[self.activation](hidden)
        return dense(tokens.shape[-1], self.dtype, "fc2")(hidden)


class EncoderLayer(nn.Module):
    """Self-attention and MLP, each pre-normed and residual."""

    heads: int
    intermediate_size: int
    activation: str
    causal: bool
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Tokens) -> Tokens:
        attend = SelfAttention(self.heads, self.causal, self.dtype, name="self_attn")
        tokens = tokens + attend(layer_norm(self.dtype, "layer_norm1")(tokens))
        mlp = Mlp(self.intermediate_size, self.activation, self.dtype, name="mlp")
        return tokens + mlp(layer_norm(self.dtype, "layer_norm2")(tokens))


class Encoder(nn.Module):
    """A stack of layers; `layer` holds the arguments of each `EncoderLayer`."""

    num_layers: int
    layer: dict[str, Any]

    @nn.compact
    def __call__(self, tokens: Tokens) -> list[Tokens]:
        """The states after each layer."""
        states = []
        for i in range(self.num_layers):
            tokens = EncoderLayer(**self.layer, name=f"layers_{i}")(tokens)
            states.append(tokens)
        return states


class TextEmbeddings(nn.Module):
    """The sum of what a token and its place are embedded as."""

    vocab_size: int
    max_position_embeddings: int
    hidden_size: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, input_ids: TokenIds) -> Tokens:
        def embed(size: int, name: str) -> nn.Embed:
            init = nn.initializers.normal(0.02)
            return nn.Embed(
                size, self.hidden_size, dtype=self.dtype, embedding_init=init, name=name
            )

        tokens = embed(self.vocab_size, "token_embedding")(input_ids)
        positions = jnp.arange(input_ids.shape[1])
        return tokens + embed(self.max_position_embeddings, "position_embedding")(positions)


class CLIPTextModel(nn.Module):
    """Token ids to text states after the final norm.

    There is no mask for the padding, as in Stable Diffusion: causal attention keeps it from the
    words before it, and the denoiser was trained to read its states as well.
    """

    vocab_size: int = 49408
    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    max_position_embeddings: int = 77
    hidden_act: str = "quick_gelu"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, input_ids: TokenIds) -> Tokens:
        sizes = (self.vocab_size, self.max_position_embeddings, self.hidden_size)
        tokens = TextEmbeddings(*sizes, self.dtype, name="embeddings")(input_ids)
        layer = _layer(self, causal=True)
        tokens = Encoder(self.num_hidden_layers, layer, name="encoder")(tokens)[-1]
        return layer_norm(self.dtype, "final_layer_norm")(tokens).astype(jnp.float32)


def cubic_weights(size: int, new_size: int) -> Float[np.ndarray, "new_size size"]:
    """Bicubic resampling along one axis as PyTorch's `interpolate` does it.

    Keys' kernel with a = -0.75, where jax.image.resize has -0.5; pixel centres are aligned, the
    border is repeated, and shrinking does not blur.
    """
    a = -0.75
    position = (np.arange(new_size) + 0.5) * size / new_size - 0.5
    first = np.floor(position).astype(int)
    weights = np.zeros((new_size, size))
    for offset in range(-1, 3):  # the four neighbours that the kernel reaches
        x = np.abs(position - first - offset)
        near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
        far = a * (((x - 5.0) * x + 8.0) * x - 4.0)
        # Columns repeat at the border, so the weights are added, not assigned.
        column = np.clip(first + offset, 0, size - 1)
        np.add.at(weights, (np.arange(new_size), column), np.where(x <= 1.0, near, far))
    return weights.astype(np.float32)


class VisionEmbeddings(nn.Module):
    """Patches, a class token before them, and positions of a `grid` x `grid` picture.

    For another picture the positions, but not the class token's, are resized bicubically.
    """

    hidden_size: int
    patch_size: int
    grid: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: Image) -> Tokens:
        patch = (self.patch_size, self.patch_size)
        convolve = nn.Conv(
            self.hidden_size,
            patch,
            strides=patch,
            padding="VALID",
            use_bias=False,
            dtype=self.dtype,
            name="patch_embedding",
        )
        patches = convolve(image.astype(self.dtype))
        shape = patches.shape[1:3]
        patches = patches.reshape(len(image), -1, self.hidden_size)
        init = nn.initializers.normal(0.02)
        first = self.param("class_embedding", init, (self.hidden_size,)).astype(self.dtype)
        first = jnp.broadcast_to(first, (len(image), 1, self.hidden_size))
        tokens = jnp.concatenate([first, patches], axis=1)
        count = self.grid**2 + 1
        embed = nn.Embed(
            count,
            self.hidden_size,
            dtype=self.dtype,
            embedding_init=init,
            name="position_embedding",
        )
        positions = embed(jnp.arange(count))
        if shape != (self.grid, self.grid):
            rows, columns = (cubic_weights(self.grid, size) for size in shape)
            cells = positions[1:].reshape(self.grid, self.grid, -1)
            cells = jnp.einsum("yi,xj,ijd->yxd", rows, columns, cells)
            positions = jnp.concatenate([positions[:1], cells.reshape(-1, self.hidden_size)])
        return tokens + positions.astype(self.dtype)


class CLIPVisionModel(nn.Module):
    """A normalised image to all token states, and to the pooled one: the class token's, normed."""

    image_size: int = 224
    patch_size: int = 14
    hidden_size: int = 1024
    intermediate_size: int = 4096
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    hidden_act: str = "quick_gelu"
    dtype: Any = jnp.float32

    def states(self, image: Image) -> list[Tokens]:
        """Token states after each layer, class token first."""
        grid = self.image_size // self.patch_size
        embed = VisionEmbeddings(
            self.hidden_size, self.patch_size, grid, self.dtype, name="embeddings"
        )
        # The name's misspelling is transformers', and so that of every file.
        tokens = layer_norm(self.dtype, "pre_layrnorm")(embed(image))
        layer = _layer(self, causal=False)
        return Encoder(self.num_hidden_layers, layer, name="encoder")(tokens)

    @nn.compact
    def __call__(self, image: Image) -> tuple[Tokens, Float[Array, "b d"]]:
        tokens = self.states(image)[-1]
        pooled = layer_norm(self.dtype, "post_layernorm")(tokens[:, 0])
        return tokens.astype(jnp.float32), pooled.astype(jnp.float32)


def _layer(tower: CLIPTextModel | CLIPVisionModel, causal: bool) -> dict[str, Any]:
    """The arguments of a tower's layers."""
    return dict(
        heads=tower.num_attention_heads,
        intermediate_size=tower.intermediate_size,
        activation=tower.hidden_act,
        causal=causal,
        dtype=tower.dtype,
    )


class CLIP(nn.Module):
    """Both towers, projected into one space; the logit scale is the log of 1/temperature."""

    text: CLIPTextModel
    vision: CLIPVisionModel
    projection_dim: int = 768

    def setup(self) -> None:
        self.text_model = self.text.clone()
        self.vision_model = self.vision.clone()
        self.text_projection = nn.Dense(self.projection_dim, use_bias=False)
        self.visual_projection = nn.Dense(self.projection_dim, use_bias=False)
        # ln(1 / 0.07), the initial temperature of the paper.
        self.logit_scale = self.param("logit_scale", nn.initializers.constant(2.6592), ())

    def encode_text(self, input_ids: TokenIds) -> Float[Array, "b p"]:
        """The projected state at the first end-of-text token, which has the highest id."""
        states = self.text_model(input_ids)
        # Padding is end-of-text again: of equals argmax takes the first.
        ends = jnp.argmax(input_ids, axis=1)
        return self.text_projection(states[jnp.arange(len(states)), ends])

    def encode_image(self, image: Image) -> Float[Array, "b p"]:
        """The projected state of the class token."""
        return self.visual_projection(self.vision_model(image)[1])

    def __call__(self, image: Image, input_ids: TokenIds) -> Float[Array, "b b"]:
        """Scaled cosine similarities, images by texts."""

        def unit(vectors: Array) -> Array:
            return vectors / jnp.linalg.norm(vectors, axis=-1, keepdims=True)

        similarity = unit(self.encode_image(image)) @ unit(self.encode_text(input_ids)).T
        return jnp.exp(self.logit_scale) * similarity
