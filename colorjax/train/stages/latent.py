"""L-CAD's latent space: the UNet learns to denoise from text and luminance (section 3.2)."""

import jax
import jax.numpy as jnp
from jaxtyping import Float
from ml_collections import ConfigDict

from colorjax import release
from colorjax.maths.schedule import add_noise, sample_posterior, sample_timesteps
from colorjax.methods import lcad
from colorjax.train import optim
from colorjax.train.stages.stage import Stage, image_and_luminance, plain
from colorjax.types import (
    Array,
    Context,
    Features,
    ImageBytes,
    Latents,
    Params,
    Timesteps,
    TokenIds,
)

NEEDS: tuple[str, ...] = ("text_encoder", "vae", "luminance_encoder")
STARTS_FROM: dict[str, tuple[str, ...]] = {"unet": ("unet", "text_to_image_unet")}
MUST_START = True  # the paper's method extends a trained text-to-image UNet


def loss(
    model: lcad.LCAD,
    params: Params,
    pixels: ImageBytes,
    input_ids: TokenIds,
    timesteps: Timesteps,
    eps: Latents,
    posterior_noise: Latents,
) -> Float[Array, ""]:
    """The `denoising_loss` of pictures and captions, with all randomness given."""
    image, luminance = image_and_luminance(pixels)
    moments = lcad.encode_image(model, params, image)
    z_0 = sample_posterior(moments, posterior_noise) * model.scaling_factor
    features = None
    if model.unet.cec != "none":
        features = lcad.encode_luminance(model, params, luminance)
    context = lcad.encode_text(model, params, input_ids)
    return denoising_loss(model, params, z_0, timesteps, eps, context=context, features=features)


def denoising_loss(
    model: lcad.LCAD,
    params: Params,
    z_0: Latents,
    timesteps: Timesteps,
    eps: Latents,
    *,
    context: Context,
    features: Features | None,
) -> Float[Array, ""]:
    """Mean squared error of the noise estimate (L-CAD Eq. 5) for latents that are known.

    Where the UNet estimates v it is the error of v (Salimans and Ho 2022, Eq. 14).
    """
    z_t = add_noise(z_0, eps, timesteps, model.schedule)
    eps_pred = lcad.predict_eps(model, params, z_t, timesteps, context, features)
    error = (eps_pred - eps) ** 2
    if model.prediction_type == "v":
        # v_pred - v is (eps_pred - eps) / sqrt(alpha-bar), since both belong to one z_t.
        error /= jnp.asarray(model.schedule.alphas_cumprod)[timesteps][:, None, None, None]
    return error.mean()


def build(
    config: ConfigDict, options: ConfigDict, parts: Params, start: Params, total_steps: int
) -> Stage:
    model = lcad.build(config.model.to_dict(), jnp.dtype(config.dtype), config.remat)
    side = config.model.image_size // model.vae.factor
    latent = (side, side, model.vae.latent_channels)

    def whole(key, start):
        fresh = lcad.init(model, key)["unet"]
        if not start:
            return fresh
        return release.fit(fresh, start["unet"], "the UNet to start from", may_lack="cec_")

    # The frozen share of the UNet belongs to `frozen`: no gradient, no moments, no checkpoint.
    share = jax.jit(lambda key, start: optim.split(whole(key, start), options.trainable)[1])
    rest = share(jax.random.key(config.seed), start)
    frozen = {part: parts[part] for part in NEEDS} | {"unet": rest}

    def trees(params, frozen):
        return frozen | {"unet": optim.merge(params, frozen["unet"])}

    def batch_loss(params, frozen, batch, key):
        pixels = batch["image"]
        shape = (len(pixels), *latent)
        time_key, eps_key, posterior_key = jax.random.split(key, 3)
        value = loss(
            model,
            trees(params, frozen),
            pixels,
            batch["input_ids"],
            sample_timesteps(time_key, len(pixels), model.schedule),
            jax.random.normal(eps_key, shape),
            jax.random.normal(posterior_key, shape),
        )
        return value, {}

    def predict(params, frozen, batch, key):
        _, luminance = image_and_luminance(batch["image"])
        sampling, levels = config.model.colorize, ("complete", "partial", "scarce")
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
        sample_options = lcad.Options(
            sampling.num_steps, sampling.spacing, sampling.sampler, sampling.decoder
        )
        images = lcad.colorize(model, trees(params, frozen), inputs, sample_options)
        return dict(zip(levels, jnp.split(images, len(levels)), strict=True))

    def finish(params, frozen, batch):
        return {"unet": trees(params, frozen)["unet"]}, {}

    return plain(
        lambda key, start: optim.split(whole(key, start), options.trainable)[0],
        batch_loss,
        start,
        frozen,
        options,
        total_steps,
        dtype=config.dtype,
        predict=predict,
        finish=finish,
    )
