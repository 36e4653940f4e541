"""L-CAD's latent space: the UNet learns to denoise from text and luminance (section 3.2)."""

import jax
import jax.numpy as jnp
from jaxtyping import Float
from ml_collections import ConfigDict

from colorjax import diffusion, optim
from colorjax.methods import lcad
from colorjax.stages.stage import Stage, image_and_luminance, plain, start_from
from colorjax.types import Array, ImageBytes, Latents, Params, Timesteps, TokenIds

NEEDS: tuple[str, ...] = ("text_encoder", "vae", "luminance_encoder")
STARTS_FROM: dict[str, tuple[str, ...]] = {"unet": ("unet", "base_unet")}


def loss(
    model: lcad.LCAD,
    params: Params,
    pixels: ImageBytes,
    input_ids: TokenIds,
    timesteps: Timesteps,
    eps: Latents,
    posterior_noise: Latents,
) -> Float[Array, ""]:
    """Mean squared error of the noise estimate (L-CAD Eq. 5), with all randomness given."""
    image, luminance = image_and_luminance(pixels)
    moments = lcad.encode_image(model, params, image)
    z_0 = diffusion.sample_posterior(moments, posterior_noise) * model.scaling_factor
    z_t = diffusion.add_noise(z_0, eps, timesteps, model.schedule)
    features = None
    if model.unet.cec != "none":
        features = lcad.encode_luminance(model, params, luminance)
    context = lcad.encode_text(model, params, input_ids)
    eps_pred = lcad.predict_eps(model, params, z_t, timesteps, context, features)
    return ((eps_pred - eps) ** 2).mean()


def build(
    config: ConfigDict, options: ConfigDict, parts: Params, start: Params, total_steps: int
) -> Stage:
    model = lcad.build(config.model.to_dict(), jnp.dtype(config.dtype))
    side = config.model.image_size // model.vae.factor
    latent = (side, side, model.vae.latent_channels)
    length, width = (
        config.model.text_encoder.max_position_embeddings,
        config.model.text_encoder.hidden_size,
    )

    def whole(key):
        feature = jnp.zeros((1, side, side, model.vae.block_out_channels[-1]))
        example = (jnp.zeros((1, *latent)), jnp.zeros((1,), jnp.int32))
        context = jnp.zeros((1, length, width))
        fresh = model.unet.init(key, *example, context, feature)["params"]
        return start_from(fresh, start["unet"]) if "unet" in start else fresh

    # The frozen share of the UNet belongs to `frozen`: no gradient, no moments, no checkpoint.
    rest = optim.split(jax.jit(whole)(jax.random.key(config.seed)), options.trainable)[1]
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
            diffusion.sample_timesteps(time_key, len(pixels), model.schedule),
            jax.random.normal(eps_key, shape),
            jax.random.normal(posterior_key, shape),
        )
        return value, {}

    def predict(params, frozen, batch, key):
        _, luminance = image_and_luminance(batch["image"])
        sampling = config.model.colorize
        sample_options = lcad.Options(sampling.num_steps, sampling.spacing)

        def sample(level):
            inputs = lcad.Inputs(
                luminance,
                batch[level],
                batch["none"],
                sampling.guidance_scale,
                keys=jax.random.split(key, len(luminance)),
            )
            return lcad.colorize(model, trees(params, frozen), inputs, sample_options)

        return {level: sample(level) for level in ("complete", "partial", "scarce")}

    def finish(params, frozen, batch):
        return {"unet": trees(params, frozen)["unet"]}, {}

    return plain(
        lambda key: optim.split(whole(key), options.trainable)[0],
        batch_loss,
        frozen,
        options,
        total_steps,
        predict=predict,
        finish=finish,
    )
