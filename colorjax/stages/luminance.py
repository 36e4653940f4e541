"""L-CAD's pixel space: the luminance encoder learns to guide the frozen decoder (section 3.1)."""

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from colorjax import diffusion, losses, release
from colorjax.methods import lcad
from colorjax.stages.stage import Stage, image_and_luminance, plain
from colorjax.types import Image, Latents, Luminance, Params

NEEDS: tuple[str, ...] = ("vae",)
STARTS_FROM: dict[str, tuple[str, ...]] = {"luminance_encoder": ("luminance_encoder",)}
MUST_START = False


def guided_sample(
    model: lcad.LCAD,
    params: Params,
    image: Image,
    luminance: Luminance,
    posterior_noise: Latents,
) -> Image:
    """The image through the encoder, a posterior sample and the guided decoder."""
    moments = lcad.encode_image(model, params, image)
    latents = diffusion.sample_posterior(moments, posterior_noise) * model.scaling_factor
    return lcad.decode(model, params, latents, lcad.encode_luminance(model, params, luminance))


def from_vae_encoder(vae: Params, fresh: Params) -> Params:
    """The VAE encoder's trunk with zero side convolutions: our reading of L-CAD's init file."""
    encoder = {k: v for k, v in vae["encoder"].items() if k not in ("conv_norm_out", "conv_out")}
    return release.fit(fresh, encoder, "the VAE's encoder", may_lack="zero_convs_")


def build(
    config: ConfigDict, options: ConfigDict, parts: Params, start: Params, total_steps: int
) -> Stage:
    model = lcad.build(config.model.to_dict(), jnp.dtype(config.dtype))
    size = config.model.image_size

    if "luminance_encoder" not in start:
        start = {"vae": parts["vae"]}

    def init(key, start):
        fresh = lcad.init(model, key)["luminance_encoder"]
        if "vae" in start:
            return from_vae_encoder(start["vae"], fresh)
        return release.fit(fresh, start["luminance_encoder"], "the encoder to continue from")

    def loss(params, frozen, batch, key):
        image, luminance = image_and_luminance(batch["image"])
        trees = frozen | {"luminance_encoder": params}
        side = size // model.vae.factor
        noise = jax.random.normal(key, (len(image), side, side, model.vae.latent_channels))
        decoded = guided_sample(model, trees, image, luminance, noise)
        value = losses.artifact_l1(image, decoded, options.artifact_weights)
        return value, {"l1": jnp.abs(decoded - image).mean()}

    def predict(params, frozen, batch, key):
        image, luminance = image_and_luminance(batch["image"])
        trees = frozen | {"luminance_encoder": params}
        features = lcad.encode_luminance(model, trees, luminance)
        return {
            "plain": lcad.reconstruct(model, trees, image),
            "guided": lcad.reconstruct(model, trees, image, features),
        }

    def finish(params, frozen, batch):
        return {"luminance_encoder": params}, {}

    frozen = {"vae": parts["vae"]}
    return plain(init, loss, start, frozen, options, total_steps, predict=predict, finish=finish)
