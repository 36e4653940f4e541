"""KL autoencoder from scratch (Rombach et al. 2022, section 3.1, without the adversary).

A stand-in for Stable Diffusion's at sizes where none exists. Colour is what it is for: beside the
L1 loss, the error of the pixels' chroma is weighted up.
"""

from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from colorjax import release
from colorjax.maths import losses
from colorjax.maths.schedule import sample_posterior, split_moments
from colorjax.maths.types import Array, Image, Params, PRNGKey
from colorjax.models.layers import apply
from colorjax.models.vae import AutoencoderKL
from colorjax.train import optim
from colorjax.train.stages.stage import (
    Batch,
    Stage,
    Weights,
    image_and_luminance,
    single_loss_stage,
)


def build(config: ConfigDict, options: ConfigDict, weights: Weights, total_steps: int) -> Stage:
    """Encoder and decoder, trained to reproduce pictures."""
    model = AutoencoderKL(**config.model.vae)
    size = config.model.image_size

    def init(key: PRNGKey, start: Params) -> Params:
        fresh = model.init(key, jnp.zeros((1, size, size, 3)))["params"]
        return release.conform(fresh, start["vae"], "the VAE to continue from") if start else fresh

    def loss(
        params: Params, frozen: Params, batch: Batch, key: PRNGKey
    ) -> tuple[Array, optim.Metrics]:
        image, _ = image_and_luminance(batch["image"])
        moments = apply(model, params, image, method="encode")
        noise = jax.random.normal(key, (*moments.shape[:3], model.latent_channels))
        latents = sample_posterior(moments, noise)
        decoded = apply(model, params, latents, method="decode")
        l1 = jnp.abs(decoded - image).mean()
        chroma = losses.chroma_mse(image, decoded)
        kl = losses.kl_to_standard_normal(moments).mean()
        value = l1 + options.chroma_weight * chroma + options.kl_weight * kl
        return value, {"l1": l1, "chroma_mse": chroma, "kl": kl}

    def predict(params: Params, frozen: Params, batch: Batch, key: PRNGKey) -> dict[str, Image]:
        image, _ = image_and_luminance(batch["image"])
        return {"reconstruction": apply(model, params, image)}

    def finish(params: Params, frozen: Params, batch: Batch) -> tuple[Params, dict[str, Any]]:
        image, _ = image_and_luminance(batch["image"])
        moments = apply(model, params, image, method="encode")
        mean, log_variance = split_moments(moments)
        # Stable Diffusion's factor makes sampled latents of unit variance: the total variance is
        # that of the means plus the mean of the variances.
        deviation = jnp.sqrt(jnp.var(mean) + jnp.exp(log_variance).mean())
        return {"vae": params}, {"scaling_factor": float(1.0 / deviation)}

    return single_loss_stage(
        init=init,
        loss=loss,
        start=weights.start,
        options=options,
        total_steps=total_steps,
        predict=predict,
        finish=finish,
    )
