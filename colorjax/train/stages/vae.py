"""KL autoencoder from scratch (Rombach et al. 2022, section 3.1, without the adversary).

A stand-in for Stable Diffusion's at sizes where none exists. Colour is what it is for: beside the
L1 loss, the error of the pixels' chroma is weighted up.
"""

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from colorjax import release
from colorjax.maths import losses
from colorjax.maths.schedule import sample_posterior, split_moments
from colorjax.models.layers import apply
from colorjax.models.vae import AutoencoderKL
from colorjax.train.stages.stage import Stage, image_and_luminance, plain
from colorjax.types import Params

NEEDS: tuple[str, ...] = ()
STARTS_FROM: dict[str, tuple[str, ...]] = {"vae": ("vae",)}
MUST_START = False


def build(
    config: ConfigDict, options: ConfigDict, parts: Params, start: Params, total_steps: int
) -> Stage:
    model = AutoencoderKL(**config.model.vae)
    size = config.model.image_size

    def init(key, start):
        fresh = model.init(key, jnp.zeros((1, size, size, 3)))["params"]
        return release.fit(fresh, start["vae"], "the VAE to continue from") if start else fresh

    def loss(params, frozen, batch, key):
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

    def predict(params, frozen, batch, key):
        image, _ = image_and_luminance(batch["image"])
        return {"reconstruction": apply(model, params, image)}

    def finish(params, frozen, batch):
        image, _ = image_and_luminance(batch["image"])
        moments = apply(model, params, image, method="encode")
        mean, log_variance = split_moments(moments)
        # Of the sampled latents, as Stable Diffusion's factor: total variance by its parts.
        deviation = jnp.sqrt(jnp.var(mean) + jnp.exp(log_variance).mean())
        return {"vae": params}, {"scaling_factor": float(1.0 / deviation)}

    return plain(init, loss, start, {}, options, total_steps, predict=predict, finish=finish)
