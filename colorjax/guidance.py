"""Wrappers that turn a denoiser into a guided denoiser."""

import jax.numpy as jnp
from jaxtyping import Float

from colorjax.samplers import Denoise
from colorjax.types import Array, Latents, Timesteps


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
