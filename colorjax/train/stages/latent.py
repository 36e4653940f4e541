"""L-CAD's latent space: the UNet learns to denoise from text and luminance (section 3.3)."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float
from ml_collections import ConfigDict

from colorjax import release
from colorjax.maths.schedule import add_noise, eps_weights, sample_posterior, sample_timesteps
from colorjax.maths.types import (
    Array,
    Context,
    Features,
    Image,
    ImageBytes,
    Latents,
    Moments,
    Params,
    PRNGKey,
    Timesteps,
    TokenIds,
)
from colorjax.methods import lcad
from colorjax.train import optim
from colorjax.train.stages.learned import of_unet
from colorjax.train.stages.stage import (
    Batch,
    Stage,
    Weights,
    image_and_luminance,
    single_loss_stage,
)


def loss(
    model: lcad.LCAD,
    params: Params,
    pixels: ImageBytes,
    input_ids: TokenIds,
    *,
    timesteps: Timesteps,
    eps: Latents,
    posterior_noise: Latents,
    moments: Moments | None = None,
    context: Context | None = None,
    min_snr: float = 0.0,
) -> Float[Array, ""]:
    """The `denoising_loss` of pictures and captions; all randomness comes from outside.

    The pictures are encoded, unless their `moments` are there, and so are the captions, unless
    their states, the `context`, are.
    """
    image, luminance = image_and_luminance(pixels)
    if moments is None:
        moments = lcad.encode_image(model, params, image)
    z_0 = sample_posterior(moments, posterior_noise) * model.scaling_factor
    features = None
    if model.unet.cec != "none":
        features = lcad.encode_luminance(model, params, luminance)
    if context is None:
        context = lcad.encode_text(model, params, input_ids)
    return denoising_loss(
        model, params, z_0, timesteps, eps, context=context, features=features, min_snr=min_snr
    )


def denoising_loss(
    model: lcad.LCAD,
    params: Params,
    z_0: Latents,
    timesteps: Timesteps,
    eps: Latents,
    *,
    context: Context,
    features: Features | None,
    min_snr: float = 0.0,
) -> Float[Array, ""]:
    """Mean squared error of the noise estimate (L-CAD Eq. 6) for latents that are known.

    Where the UNet estimates v it is the error of v (Salimans and Ho 2022, Eq. 14); with a `min_snr`
    it is weighted as `schedule.eps_weights` says.
    """
    z_t = add_noise(z_0, eps, timesteps, model.schedule)
    eps_pred = lcad.predict_eps(model, params, z_t, timesteps, context, features)
    weights = eps_weights(timesteps, model.schedule, model.prediction_type, min_snr)
    return (weights[:, None, None, None] * (eps_pred - eps) ** 2).mean()


def samples(
    model: lcad.LCAD, params: Params, batch: Batch, key: PRNGKey, sampling: ConfigDict
) -> dict[str, Image]:
    """The pictures coloured by their captions of every level."""
    _, luminance = image_and_luminance(batch["image"])
    levels = ("complete", "partial", "scarce")
    keys = jax.random.split(key, len(luminance))
    # All levels in one batch, with the same noise: one sampler to compile, one to run.
    inputs = lcad.Inputs(
        jnp.concatenate([luminance] * len(levels)),
        jnp.concatenate([batch[level] for level in levels]),
        jnp.concatenate([batch["none"]] * len(levels)),
        sampling.guidance_scale,
        keys=jnp.concatenate([keys] * len(levels)),
        temperature=sampling.temperature,
    )
    options = lcad.Options(sampling.num_steps, sampling.spacing, sampling.sampler, sampling.decoder)
    images = lcad.colorize(model, params, inputs, options)
    return dict(zip(levels, jnp.split(images, len(levels)), strict=True))


def build(config: ConfigDict, options: ConfigDict, weights: Weights, total_steps: int) -> Stage:
    """The trainable share of the UNet; everything else of the model stays as it is."""
    model = lcad.build(config.model.to_dict(), jnp.dtype(config.dtype), config.remat)
    side = config.model.image_size // model.vae.factor
    latent = (side, side, model.vae.latent_channels)

    def unet(key: PRNGKey, start: Params) -> Params:
        fresh = lcad.init(model, key)["unet"]
        if not start:
            return fresh
        return release.conform(fresh, start["unet"], "the UNet to start from", may_lack="cec_")

    learned = of_unet("unet", unet, options, weights, config.seed)

    def batch_loss(
        params: Params, frozen: Params, batch: Batch, key: PRNGKey
    ) -> tuple[Array, optim.Metrics]:
        pixels = batch["image"]
        shape = (len(pixels), *latent)
        time_key, eps_key, posterior_key = jax.random.split(key, 3)
        value = loss(
            model,
            learned.whole(params, frozen),
            pixels,
            batch["input_ids"],
            timesteps=sample_timesteps(time_key, len(pixels), model.schedule),
            eps=jax.random.normal(eps_key, shape),
            posterior_noise=jax.random.normal(posterior_key, shape),
            moments=batch.get("moments"),
            context=batch.get("context"),
            min_snr=options.get("min_snr", 0.0),
        )
        return value, {}

    def predict(params: Params, frozen: Params, batch: Batch, key: PRNGKey) -> dict[str, Image]:
        return samples(model, learned.whole(params, frozen), batch, key, config.model.colorize)

    def finish(params: Params, frozen: Params, batch: Batch) -> tuple[Params, dict[str, Any]]:
        return learned.parts(params, frozen), {}

    return single_loss_stage(
        init=learned.init,
        loss=batch_loss,
        start=weights.start,
        frozen=learned.frozen,
        options=options,
        total_steps=total_steps,
        dtype=config.dtype,
        predict=predict,
        finish=finish,
    )
