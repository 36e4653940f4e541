"""Attention and transformer blocks of the Stable Diffusion UNet and VAE."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.sharding import AxisType
from jaxtyping import Float

from colorjax.maths.types import Array
from colorjax.models.feed_forward import FeedForward
from colorjax.models.layers import Maps, Tokens, dense, group_norm


def split_heads(tokens: Float[Array, "b n c"], heads: int) -> Float[Array, "b n heads c/heads"]:
    """Cuts the channels into heads, each a run of neighbours, as PyTorch's layers do."""
    return tokens.reshape(*tokens.shape[:2], heads, -1)


def attention_logits(
    query: Float[Array, "b q heads d"], key: Float[Array, "b n heads d"]
) -> Float[Array, "b heads q n"]:
    """Scaled products before the softmax, in float32."""
    products = jnp.einsum("bqhd,bnhd->bhqn", query, key, preferred_element_type=jnp.float32)
    return products * query.shape[-1] ** -0.5


def mix(
    logits: Float[Array, "b heads q n"], value: Float[Array, "b n heads d"]
) -> Float[Array, "b q heads d"]:
    """The values averaged by the softmax of the logits."""
    # The softmax itself is in float32, the type of the logits: a bfloat16 sum over 4,096 pixels
    # would stop growing early. Only its results are rounded.
    weights = jax.nn.softmax(logits, axis=-1).astype(value.dtype)
    return jnp.einsum("bhqn,bnhd->bqhd", weights, value)


# Bytes of float32 logits on a device: from the first on they are made in pieces of at most the
# second, which a TPU's vector memory (128 MB) holds twice.
LARGE_LOGITS = 2**27
PIECE_OF_LOGITS = 2**26
# On a CPU, whose caches hold those of one head, it pays from here on to go head by head.
LARGE_ON_CPU = 2**21


# cuDNN's flash attention pays from so many tokens on (measured on an H100 and an H200), and takes
# heads of at most so many channels.
FLASH_LENGTH, FLASH_WIDTH = 256, 128


@functools.cache
def cudnn_is_there() -> bool:
    """Whether this process's GPU has a cuDNN that attends."""
    if jax.default_backend() != "gpu":
        return False
    shape = (1, FLASH_LENGTH, 1, 64)
    tokens = jax.ShapeDtypeStruct(shape, jnp.bfloat16)  # type: ignore[no-untyped-call]
    try:
        jax.eval_shape(_flash, tokens, tokens, tokens)
    except (RuntimeError, NotImplementedError, ValueError):  # too old a GPU or library, or none
        return False
    return True


def attend(
    query: Float[Array, "b q heads d"],
    key: Float[Array, "b n heads d"],
    value: Float[Array, "b n heads d"],
) -> Float[Array, "b q heads d"]:
    """Softmax attention by what is fastest where the program will run.

    That is cuDNN's flash attention for long sequences in half precision on a GPU that has it, and
    `attend_by_head` on a CPU and `attend_in_pieces` elsewhere. A program that is compiled for
    another platform than this process's has what is best there, but for cuDNN's.
    """
    if not pays_by_head(query, key):
        return attend_in_pieces(query, key, value)
    half = query.dtype in (jnp.bfloat16, jnp.float16)
    long = min(query.shape[1], key.shape[1]) >= FLASH_LENGTH
    narrow = query.shape[-1] <= FLASH_WIDTH and query.shape[-1] % 8 == 0
    flash = {"cuda": _flash} if half and long and narrow and cudnn_is_there() else {}
    mixed: Array = jax.lax.platform_dependent(
        query, key, value, cpu=attend_by_head, default=attend_in_pieces, **flash
    )
    return mixed


def _flash(query: Array, key: Array, value: Array) -> Array:
    return jax.nn.dot_product_attention(query, key, value, implementation="cudnn")


def pays_by_head(query: Array, key: Array) -> bool:
    """Whether `attend_by_head` is faster on a CPU, by the bytes of all float32 logits."""
    logits: int = math.prod(query.shape[:3]) * key.shape[1]
    return 4 * logits >= LARGE_ON_CPU


def attend_by_head(
    query: Float[Array, "b q heads d"],
    key: Float[Array, "b n heads d"],
    value: Float[Array, "b n heads d"],
) -> Float[Array, "b q heads d"]:
    """Softmax attention one head after the other; the backward pass computes the logits again.

    In plain products of matrices, which XLA's CPU backend gives to a library: with the axis of one
    head between, as `jax.nn.dot_product_attention` has it, it takes twice as long. The softmax's
    division comes after the values, of which there are fewer than of weights.
    """

    @jax.checkpoint
    def one(head: tuple[Array, Array, Array]) -> Array:
        q, k, v = head
        logits = jnp.einsum("bqd,bnd->bqn", q, k, preferred_element_type=jnp.float32)
        logits = logits * q.shape[-1] ** -0.5
        # The highest logit cancels: its gradient is exactly 0.
        highest = jax.lax.stop_gradient(logits.max(-1, keepdims=True))
        weights = jnp.exp(logits - highest)
        total = weights.sum(-1, keepdims=True)
        # Undivided, float16 would overflow, and bfloat16 be rounded twice.
        mixed = jnp.matmul(weights.astype(v.dtype), v, preferred_element_type=jnp.float32)
        return (mixed / total).astype(v.dtype)

    mixed = jax.lax.map(one, tuple(jnp.moveaxis(part, 2, 0) for part in (query, key, value)))
    return jnp.moveaxis(mixed, 0, 2)


def attend_in_pieces(
    query: Float[Array, "b q heads d"],
    key: Float[Array, "b n heads d"],
    value: Float[Array, "b n heads d"],
) -> Float[Array, "b q heads d"]:
    """Softmax attention whose logits are never all there at once, if they would be large.

    A piece is one head of some pictures. Its logits stay in a TPU's vector memory, while those of
    all heads would be written to HBM and read again at every step of the softmax. The backward pass
    computes them again.
    """
    batch, rows, heads, _ = query.shape
    pictures = batch // _devices(batch)  # on each device
    one_head = 4 * rows * key.shape[1]  # bytes of a picture's logits
    if pictures * heads * one_head < LARGE_LOGITS:
        return jax.nn.dot_product_attention(query, key, value)
    # The most pictures whose logits fit; pieces must be equal, for `lax.map` has one shape.
    divisors = (n for n in range(pictures, 1, -1) if pictures % n == 0)
    together = next((n for n in divisors if n * one_head <= PIECE_OF_LOGITS), 1)
    rounds = pictures // together

    # Without the checkpoint `lax.map` would keep the logits of every piece for the backward pass.
    @jax.checkpoint
    def one(piece: tuple[Array, Array, Array]) -> Array:
        q, k, v = (part[:, :, None] for part in piece)
        return jax.nn.dot_product_attention(q, k, v)[:, :, 0]

    def cut(part: Array) -> Array:
        # Every `rounds`-th picture, so that each piece has as many of each device.
        part = part.reshape(batch // rounds, rounds, *part.shape[1:])
        return jnp.moveaxis(part, (1, 3), (0, 1)).reshape(rounds * heads, -1, *part.shape[2::2])

    mixed = jax.lax.map(one, (cut(query), cut(key), cut(value)))
    mixed = mixed.reshape(rounds, heads, *mixed.shape[1:])
    return jnp.moveaxis(mixed, (0, 1), (1, 3)).reshape(query.shape)


def _devices(batch: int) -> int:
    """How many devices the partitioner splits a batch over.

    They are those of the mesh's automatic axes: within a `shard_map` the batch is a device's own.
    """
    mesh = jax.sharding.get_abstract_mesh()
    axes = zip(mesh.axis_sizes, mesh.axis_types, strict=True)
    count = math.prod(size for size, kind in axes if kind == AxisType.Auto)
    return count if batch % count == 0 else 1


class Attention(nn.Module):
    """Multi-head attention; `context` None means self-attention. Logits scale by width^-1/2.

    With the collection `capture` mutable, cross-attention stores its `logits` [b,heads,q,n] there,
    in float32; where the collection `replay` holds logits for it, it attends by these and computes
    the values only. Self-attention does the same with `capture_self` and `replay_self`.
    """

    heads: int
    use_bias: bool = False
    dtype: Any = jnp.float32

    def attend(self, tokens: Tokens, context: Float[Array, "b n d"] | None = None) -> Tokens:
        """Attends to `context`, or to the tokens themselves, and projects the result."""
        channels, kind = tokens.shape[-1], "_self" if context is None else ""
        context = tokens if context is None else context

        def project(name: str, inputs: Array) -> Array:
            layer = dense(channels, self.dtype, name, self.use_bias)
            return split_heads(layer(inputs), self.heads)

        query, key, value = (
            project("to_q", tokens),
            project("to_k", context),
            project("to_v", context),
        )
        if self.has_variable(f"replay{kind}", "logits"):
            mixed = mix(self.get_variable(f"replay{kind}", "logits"), value)
        # `init` makes every collection mutable, and would return logits beside the parameters.
        elif self.is_mutable_collection(f"capture{kind}") and not self.is_initializing():
            logits = attention_logits(query, key)
            self.put_variable(f"capture{kind}", "logits", logits)
            mixed = mix(logits, value)
        else:
            mixed = attend(query, key, value)
        return dense(channels, self.dtype, "to_out_0")(mixed.reshape(tokens.shape))

    @nn.compact
    def __call__(self, tokens: Tokens, context: Float[Array, "b n d"] | None = None) -> Tokens:
        return self.attend(tokens, context)


class PixelAttention(Attention):
    """The VAE's single-head self-attention over the pixels of a map: normed, residual, biased."""

    heads: int = 1
    use_bias: bool = True
    groups: int = 32

    @nn.compact
    def __call__(self, maps: Maps) -> Maps:  # type: ignore[override]
        batch, height, width, channels = maps.shape
        h = group_norm(self.groups, 1e-6, self.dtype, "group_norm")(maps)
        return maps + self.attend(h.reshape(batch, height * width, channels)).reshape(maps.shape)


class TransformerBlock(nn.Module):
    """Self-attention, cross-attention to the text, feed-forward; each pre-normed and residual."""

    heads: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Tokens, context: Float[Array, "b n d"]) -> Tokens:
        # PyTorch's epsilon; Flax's default is 1e-6.
        def norm(name: str) -> nn.LayerNorm:
            return nn.LayerNorm(epsilon=1e-5, dtype=self.dtype, name=name)

        attend = Attention(self.heads, dtype=self.dtype, name="attn1")
        tokens = tokens + attend(norm("norm1")(tokens))
        attend = Attention(self.heads, dtype=self.dtype, name="attn2")
        tokens = tokens + attend(norm("norm2")(tokens), context)
        return tokens + FeedForward(self.dtype, name="ff")(norm("norm3")(tokens))


class SpatialTransformer(nn.Module):
    """Transformer blocks over the pixels of a map (row by row), residual.

    `linear_projection`: SD 2 projects tokens with linear layers, SD 1 maps with 1x1 convolutions.
    """

    heads: int
    depth: int = 1
    groups: int = 32
    linear_projection: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, maps: Maps, context: Float[Array, "b n d"]) -> Maps:
        batch, height, width, channels = maps.shape

        def projection(name: str) -> nn.Module:
            if self.linear_projection:
                return dense(channels, self.dtype, name)
            return nn.Conv(channels, (1, 1), dtype=self.dtype, name=name)

        h = projection("proj_in")(group_norm(self.groups, 1e-6, self.dtype, "norm")(maps))
        h = h.reshape(batch, height * width, channels)
        for i in range(self.depth):
            name = f"transformer_blocks_{i}"
            h = TransformerBlock(self.heads, self.dtype, name=name)(h, context)
        return maps + projection("proj_out")(h.reshape(maps.shape))
