"""Diffusing Colors' latent cold diffusion: the UNet learns the colour residual of a gray latent.

From the authors' figure: text and t condition the UNet, VAE and text encoder are frozen, the
degraded latent is a random convex combination. The norm (mean squared error), the share of draws
at t = 1 and everything that `methods.diffusing_colors.Cold` offers are ours.
"""

from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float
from ml_collections import ConfigDict

from colorjax import release
from colorjax.errors import UserError
from colorjax.maths import cold_diffusion, metrics
from colorjax.maths.types import Array, Image, ImageBytes, Latents, Params, PRNGKey, TokenIds
from colorjax.methods import diffusing_colors, stable_diffusion, vividness
from colorjax.train import optim
from colorjax.train.stages.learned import of_unet
from colorjax.train.stages.stage import (
    Batch,
    Stage,
    Weights,
    image_and_luminance,
    single_loss_stage,
)

LEVELS = ("complete", "partial", "scarce")  # of captions, in a grid of samples


def loss(
    model: diffusing_colors.DiffusingColors,
    params: Params,
    pixels: ImageBytes,
    input_ids: TokenIds,
    t: cold_diffusion.Times,
    eps: Latents,
) -> Float[Array, ""]:
    """Mean squared error of the residual in scaled latents; all randomness comes from outside.

    The target is the full residual to the source, z_color - z_gray - sigma eps, or t times it.
    """
    image, luminance = image_and_luminance(pixels)
    z_color = diffusing_colors.encode(model, params, image)
    z_gray = diffusing_colors.encode(model, params, vividness.gray_image(luminance))
    source = z_gray + model.cold.sigma * eps
    z_t = cold_diffusion.degrade(z_color, source, t)
    target = z_color - (source if model.cold.prediction == "full" else z_t)
    context = stable_diffusion.encode_text(model.base, params, input_ids)
    timesteps = cold_diffusion.to_timesteps(t)
    output = diffusing_colors.predict(model, params, z_t, z_gray, timesteps, context)
    return ((output - target) ** 2).mean()


def widen(unet: Params, channels: int) -> Params:
    """A UNet for more input channels, on which it does not depend at first.

    Its first kernel is padded with zeros: whoever starts from a trained UNet keeps what it knows.
    """
    kernel = unet["conv_in"]["kernel"]
    more = channels - kernel.shape[2]
    wider = jnp.pad(kernel, ((0, 0), (0, 0), (0, max(more, 0)), (0, 0)))
    return unet | {"conv_in": unet["conv_in"] | {"kernel": wider}}


def inputs_of_levels(batch: Batch, key: PRNGKey) -> diffusing_colors.Inputs:
    """The pictures once with their captions of each of `LEVELS`, with the same noise.

    All in one batch: one sampler to compile, one to run.
    """
    _, luminance = image_and_luminance(batch["image"])
    keys = jax.random.split(key, len(luminance))
    return diffusing_colors.Inputs(
        jnp.concatenate([luminance] * len(LEVELS)),
        jnp.concatenate([batch[level] for level in LEVELS]),
        None,
        keys=jnp.concatenate([keys] * len(LEVELS)),
    )


def by_level(images: Array, suffix: str = "") -> dict[str, Array]:
    """What was made of `inputs_of_levels`, as columns of a grid of samples."""
    columns = jnp.split(images, len(LEVELS))
    return {level + suffix: column for level, column in zip(LEVELS, columns, strict=True)}


def samples(
    model: diffusing_colors.DiffusingColors,
    params: Params,
    batch: Batch,
    key: PRNGKey,
    sampling: ConfigDict,
) -> dict[str, Image]:
    """The pictures coloured by their captions of every level."""
    inputs = inputs_of_levels(batch, key)._replace(
        uncond_input_ids=jnp.concatenate([batch["none"]] * len(LEVELS)),
        guidance_scale=sampling.guidance_scale,
        vividness=sampling.vividness,
    )
    options = diffusing_colors.Options(sampling.num_steps, sampling.solver)
    return by_level(diffusing_colors.colorize(model, params, inputs, options))


def check(config: ConfigDict, options: ConfigDict, parts: Collection[str]) -> None:
    """Raises `UserError` if there is no UNet to start from, or no encoder for a guided decoder."""
    settings = config.model.cold
    if "start" not in parts and not settings.gray_channels:
        raise UserError(
            "stage 'cold' without gray_channels starts from a trained UNet: give a release by "
            "--config.init_from=DIR, or set --config.model.cold.gray_channels=True"
        )
    check_decoder(settings.decoder, parts)


def check_decoder(decoder: str, parts: Collection[str]) -> None:
    """Raises `UserError` if the decoder is to be guided and there is nothing that guides it."""
    if decoder == "guided" and "luminance_encoder" not in parts:
        raise UserError(
            "cold.decoder is 'guided', which needs the part 'luminance_encoder': give a release "
            "that has it by --config.init_from=DIR, or set --config.model.cold.decoder=plain"
        )


def build(config: ConfigDict, options: ConfigDict, weights: Weights, total_steps: int) -> Stage:
    """The cold UNet; VAE and text encoder stay as they are."""
    model = diffusing_colors.build(config.model.to_dict(), jnp.dtype(config.dtype), config.remat)
    settings = model.cold
    side = config.model.image_size // model.base.vae.factor
    channels = model.base.vae.latent_channels

    def unet(key: PRNGKey, start: Params) -> Params:
        fresh = diffusing_colors.init_unet(model, key)
        if not start:
            return fresh
        wider = widen(start["cold_unet"], fresh["conv_in"]["kernel"].shape[2])
        return release.conform(fresh, wider, "the UNet to start from")

    learned = of_unet("cold_unet", unet, options, weights, config.seed)

    def batch_loss(
        params: Params, frozen: Params, batch: Batch, key: PRNGKey
    ) -> tuple[Array, optim.Metrics]:
        count = len(batch["image"])
        time_key, eps_key = jax.random.split(key)
        value = loss(
            model,
            learned.whole(params, frozen),
            batch["image"],
            batch["input_ids"],
            cold_diffusion.draw_times(time_key, count, options.gray_start_share),
            jax.random.normal(eps_key, (count, side, side, channels)),
        )
        return value, {}

    def predict(params: Params, frozen: Params, batch: Batch, key: PRNGKey) -> dict[str, Image]:
        whole = learned.whole(params, frozen)
        return samples(model, whole, batch, key, config.model.cold_colorize)

    def finish(params: Params, frozen: Params, batch: Batch) -> tuple[Params, dict[str, Any]]:
        image = batch["image"].astype(jnp.float32) / 255.0
        mean = float(metrics.colourfulness(image).mean())
        return learned.parts(params, frozen), {
            "cold": settings._replace(colourfulness=mean)._asdict()
        }

    return single_loss_stage(
        init=learned.init,
        loss=batch_loss,
        start=weights.start,
        frozen=learned.frozen,
        options=options,
        total_steps=total_steps,
        predict=predict,
        finish=finish,
    )
