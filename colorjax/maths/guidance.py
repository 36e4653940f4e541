"""Wrappers that turn a denoiser into a guided denoiser."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from colorjax.errors import one_of
from colorjax.maths.samplers import Denoise
from colorjax.maths.types import Array, Latents, Params, Timesteps

Logits = Float[Array, "b heads q n"]
Masks = Float[Array, "b k H W"]
Spans = Bool[Array, "b k n"]
OBJECTIVES = ("inside", "algorithm_1", "outside")
# Where M (1 - M) is 1e-12, below which PyTorch's gradient of the cross-entropy takes that instead.
LARGEST = 27.6


def classifier_free(denoise: Denoise, scale: float | Float[Array, "..."]) -> Denoise:
    """Classifier-free guidance (Ho and Salimans 2022): u + scale (c - u); 1 is without effect.

    Args:
        denoise: takes a doubled batch, unconditional half first, conditional half second.
        scale: one number, or one per picture of shape [b, 1, 1, 1].
    """

    def guided(latents: Latents, timesteps: Timesteps) -> Latents:
        both = denoise(jnp.concatenate([latents] * 2), jnp.concatenate([timesteps] * 2))
        uncond, cond = jnp.split(both, 2)
        return uncond + scale * (cond - uncond)

    return guided


def refine_logits(
    logits: Logits,
    masks: Masks,
    spans: Spans,
    step_size: float | Float[Array, ""],
    objective: str = "inside",
    released_pixels: int | None = None,
) -> Logits:
    """Takes one gradient step on cross-attention logits that ties phrases to their masks.

    The gradient has a closed form for each logit; it does not go through the network (L-CAD
    section 3.4, Algorithm 1).

    Args:
        logits: before the softmax; q is a whole fraction of the masks' pixels, row by row.
        masks: one for each phrase, in [0, 1], soft edges allowed; sampled at the top left pixel
            of each cell, as released.
        spans: the tokens of each phrase. A phrase without tokens is padding.
        step_size: lambda, 0 or more. The objective is a sum over heads, tokens and pixels, so it
            means the same for maps of every size: with "inside" no logit moves by more.
        objective: the binary cross-entropy of M, the logits' sigmoid, and the mask m. "inside"
            takes its gradient by the logits, M - m, as L-CAD's release; "algorithm_1" that by M,
            (M - m) / (M (1 - M)), as the paper writes it. "outside" is the attention that falls
            outside of the mask (an earlier release); its gradient is the attention's size, so it
            needs a step of thousands.
        released_pixels: the latents' pixels, for the objective as in the release: a mean over
            heads, tokens and pixels ("outside": over heads and tokens, times the latents' pixels
            over the map's). Its step size of 1 then changes almost nothing.

    Raises:
        UserError: an unknown objective.
    """
    one_of("objective", objective, OBJECTIVES)
    heads, cells = logits.shape[1:3]
    inside = cell_masks(masks, cells)
    share = spans.astype(logits.dtype)  # [b,k,n]
    if released_pixels is not None:
        count = heads * jnp.maximum(share.sum(-1, keepdims=True), 1.0)  # padding: 0 / 1, not NaN
        share *= (released_pixels / cells if objective == "outside" else 1.0 / cells) / count
    # The masks meet the tokens first, so that no array has the axes k, heads, q and n at once.
    if objective == "outside":
        cost = jnp.einsum("bkq,bkn->bqn", 1.0 - inside, share)[:, None]
        # The softmax's Jacobian times the cost: p (c - sum p c).
        attention = jax.nn.softmax(logits, axis=-1)
        gradient = attention * (cost - (attention * cost).sum(-1, keepdims=True))
        return logits - step_size * gradient
    wanted = jnp.einsum("bkq,bkn->bqn", inside, share)[:, None]
    unwanted = share.sum(1)[:, None, None] - wanted
    if objective == "inside":
        gradient = jax.nn.sigmoid(logits) * (wanted + unwanted) - wanted
    else:
        # 1 / M is 1 + exp(-x), and 1 / (1 - M) is 1 + exp(x).
        bounded = jnp.clip(logits, -LARGEST, LARGEST)
        gradient = unwanted * (1.0 + jnp.exp(bounded)) - wanted * (1.0 + jnp.exp(-bounded))
    return logits - step_size * gradient


def cell_masks(masks: Masks, cells: int) -> Float[Array, "b k q"]:
    """Masks at the size of a map of `cells` pixels: the top left pixel of each cell.

    That is what PyTorch's nearest-neighbour `interpolate` takes, which the release uses.

    Raises:
        ValueError: the cells are not squares of pixels.
    """
    height, width = masks.shape[2:]
    stride = int(np.sqrt(height * width / cells))
    if stride * stride * cells != height * width or height % stride or width % stride:
        raise ValueError(f"a map of {cells} cells is no whole fraction of {height} x {width}")
    return masks[:, :, ::stride, ::stride].reshape(*masks.shape[:2], cells)


def instance_aware(
    capture: Callable[[Latents, Timesteps], tuple[Latents, Params]],
    replay: Callable[[Latents, Timesteps, Params], Latents],
    refine: Callable[[Logits, int], Logits],
) -> Denoise:
    """Instance-aware sampling (L-CAD Algorithm 1): a second pass with refined attention.

    Args:
        capture: gives the conditional estimate and what was captured, under `capture` the
            cross-attention logits of every layer.
        replay: gives the conditional estimate made with captured attention.
        refine: takes logits and the latents' pixels to other logits, by `refine_logits`.
    """

    def denoise(latents: Latents, timesteps: Timesteps) -> Latents:
        # Only the logits of the first pass count: XLA leaves out what its estimate alone needs.
        _, captured = capture(latents, timesteps)
        pixels = latents.shape[1] * latents.shape[2]
        layers = jax.tree.map(lambda logits: refine(logits, pixels), captured["capture"])
        return replay(latents, timesteps, captured | {"capture": layers})

    return denoise


def branches(uncond: Denoise, cond: Denoise, scale: float | Float[Array, "..."]) -> Denoise:
    """Classifier-free guidance of two denoisers that differ in more than their text.

    The conditional one may be `instance_aware`, which the unconditional one has no phrases for.
    """

    def guided(latents: Latents, timesteps: Timesteps) -> Latents:
        eps_uncond = uncond(latents, timesteps)
        return eps_uncond + scale * (cond(latents, timesteps) - eps_uncond)

    return guided


def attention_maps(
    logits: Params, spans: Spans, height: int, width: int
) -> Float[Array, "b k {height} {width}"]:
    """How much the captured cross-attention looks at each phrase, at the latents' size.

    The attention to a phrase's tokens, averaged over heads and summed over layers.
    """
    tokens = spans.astype(jnp.float32)

    def phrase_maps(layer: Logits) -> Float[Array, "b k h w"]:
        stride = int(np.sqrt(height * width / layer.shape[2]))
        attention = jax.nn.softmax(layer, axis=-1).mean(1)
        maps = jnp.einsum("bqn,bkn->bkq", attention, tokens)
        maps = maps.reshape(*maps.shape[:2], height // stride, width // stride)
        return jnp.repeat(jnp.repeat(maps, stride, axis=2), stride, axis=3)

    return sum(phrase_maps(layer) for layer in jax.tree.leaves(logits))


def attention_masks(maps: Float[Array, "b k h w"]) -> Masks:
    """Makes masks from `attention_maps`: a cell belongs to the phrase that it attends to most.

    Each map counts relative to its own mean, and a cell below every mean belongs to none. Our
    choice: the paper takes its masks from a segmenter.
    """
    relative = maps / jnp.maximum(maps.mean((2, 3), keepdims=True), 1e-8)
    most = relative.max(axis=1, keepdims=True)
    return ((relative == most) & (relative > 1.0)).astype(jnp.float32)
