"""L-CAD's pixel space: the luminance encoder learns to guide the frozen decoder (section 3.2)."""

from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int
from ml_collections import ConfigDict

from colorjax import release
from colorjax.maths import losses
from colorjax.maths.schedule import sample_posterior
from colorjax.maths.types import Array, Image, ImageBytes, Latents, Params, PRNGKey
from colorjax.methods import lcad
from colorjax.methods.distances import read_lpips
from colorjax.models.discriminator import PatchDiscriminator
from colorjax.models.layers import apply
from colorjax.models.perceptual import Lpips, enlarged
from colorjax.train import optim
from colorjax.train.stages.stage import (
    Batch,
    Stage,
    Weights,
    image_and_luminance,
    single_loss_stage,
)

LPIPS = Lpips("vgg16")
LPIPS_PART = "lpips_vgg16"


def guided_sample(
    model: lcad.LCAD, params: Params, pixels: ImageBytes, posterior_noise: Latents
) -> tuple[Image, Float[Array, "b H W _"]]:
    """Pictures through the encoder, a posterior sample and the guided decoder.

    Returns:
        The decoded pictures, and the maps that the decoder's last convolution reads.
    """
    image, luminance = image_and_luminance(pixels)
    moments = lcad.encode_image(model, params, image)
    latents = sample_posterior(moments, posterior_noise)
    features = lcad.encode_luminance(model, params, luminance)
    decoded, seen = model.vae.apply(
        {"params": params["vae"]},
        latents,
        features,
        method="decode",
        capture_intermediates=lambda module, _: module.name == "conv_norm_out",
        mutable=["intermediates"],
    )
    return decoded, jax.nn.silu(seen["intermediates"]["decoder"]["conv_norm_out"]["__call__"][0])


def _last_convolution(maps: Array, kernel: Array, bias: Array) -> Image:
    axes = ("NHWC", "HWIO", "NHWC")
    maps = maps.astype(kernel.dtype)
    return jax.lax.conv_general_dilated(maps, kernel, (1, 1), "SAME", dimension_numbers=axes) + bias


def loss(
    model: lcad.LCAD,
    params: Params,
    pixels: ImageBytes,
    posterior_noise: Latents,
    options: Any,
    step: Int[Array, ""] | int = 0,
) -> tuple[Float[Array, ""], optim.Metrics]:
    """Generator's plus critic's loss (L-CAD Eq. 3 and 4); all randomness comes from outside.

    Each of the two sees the other as constant, so one gradient of the sum is both gradients.

    Args:
        params: `vae`, `luminance_encoder`, and `discriminator` and `lpips_vgg16` where their
            weights are not zero.
        options: a mapping with `artifact_weights`, "paper" or "released"; `adversarial_weight`
            (the paper's alpha, 1), times the adaptive weight of VQGAN as released;
            `perceptual_weight` (beta, 0.5; 0 as released); `perceptual_size`, the side to which
            pictures are enlarged for LPIPS, 0 for as they are; `shown_weight`, of the squared error
            that is left when the picture's lightness has been put back (ours, 0 as the paper);
            `discriminator`, its sizes;
            `discriminator_start`, the step the adversary joins at.
        step: how many steps were made, for `discriminator_start`.
    """
    image, _ = image_and_luminance(pixels)
    decoded, maps = guided_sample(model, params, pixels, posterior_noise)

    def reconstruction(of: Image) -> Float[Array, ""]:
        value = losses.artifact_l1(image, of, options["artifact_weights"])
        if options["perceptual_weight"]:
            distance = lpips(params[LPIPS_PART], image, of, options["perceptual_size"])
            value += options["perceptual_weight"] * distance
        if options["shown_weight"]:
            value += options["shown_weight"] * losses.shown_mse(image, of)
        return value

    generator = reconstruction(decoded)
    metrics = {"reconstruction": generator, "l1": jnp.abs(decoded - image).mean()}
    if not options["adversarial_weight"]:
        return generator, metrics
    discriminator = PatchDiscriminator(**options["discriminator"])
    critic = params["discriminator"]

    def adversarial(of: Image) -> Float[Array, ""]:
        return -apply(discriminator, jax.lax.stop_gradient(critic), of).mean()

    last = params["vae"]["decoder"]["conv_out"]
    maps, joins = jax.lax.stop_gradient(maps), step >= options["discriminator_start"]

    def at_last_kernel(of_image: Any) -> Array:
        decode = lambda kernel: of_image(_last_convolution(maps, kernel, last["bias"]))
        return jax.grad(decode)(last["kernel"])

    weight = losses.adaptive_weight(at_last_kernel(reconstruction), at_last_kernel(adversarial))
    weight *= options["adversarial_weight"] * joins
    fake = jax.lax.stop_gradient(decoded)
    real_logits, fake_logits = (apply(discriminator, critic, of) for of in (image, fake))
    hinge = losses.hinge(real_logits, fake_logits) * joins
    metrics |= {"critic": hinge, "adversarial_weight": weight}
    return generator + weight * adversarial(decoded) + hinge, metrics


def lpips(params: Params, image: Image, other: Image, size: int) -> Float[Array, ""]:
    """Mean LPIPS on VGG16 between pictures enlarged until their shorter side is `size`."""
    return apply(LPIPS, params, enlarged(image, size), enlarged(other, size)).mean()


def from_vae_encoder(vae: Params, fresh: Params) -> Params:
    """The VAE encoder's trunk with zero side convolutions: our reading of L-CAD's init file."""
    encoder = {k: v for k, v in vae["encoder"].items() if k not in ("conv_norm_out", "conv_out")}
    return release.conform(fresh, encoder, "the VAE's encoder", may_lack="zero_convs_")


def initial_encoder(model: lcad.LCAD, key: PRNGKey, start: Params) -> Params:
    """The encoder of `start`, or one made from the VAE that is there in its place."""
    fresh = lcad.init(model, key)["luminance_encoder"]
    if "vae" in start:
        return from_vae_encoder(start["vae"], fresh)
    return release.conform(fresh, start["luminance_encoder"], "the encoder to continue from")


def samples(model: lcad.LCAD, params: Params, batch: Batch) -> dict[str, Image]:
    """The pictures through the VAE, without the encoder's guidance and with it."""
    image, luminance = image_and_luminance(batch["image"])
    features = lcad.encode_luminance(model, params, luminance)
    return {
        "plain": lcad.reconstruct(model, params, image),
        "guided": lcad.reconstruct(model, params, image, features),
    }


def check(config: ConfigDict, options: ConfigDict, parts: Collection[str]) -> None:
    """Raises `UserError` if LPIPS's weights are needed and not there."""
    if options.perceptual_weight:
        release.find_lpips("vgg16", config.lpips)


def build(config: ConfigDict, options: ConfigDict, weights: Weights, total_steps: int) -> Stage:
    """The luminance encoder, with the critic where it has an adversary; the VAE stays as it is."""
    model = lcad.build(config.model.to_dict(), jnp.dtype(config.dtype))
    size = config.model.image_size
    side = size // model.vae.factor
    frozen = {"vae": weights.parts["vae"]}
    if options.perceptual_weight:
        given = weights.parts.get(LPIPS_PART)  # of a plan, which needs shapes only
        frozen[LPIPS_PART] = given or read_lpips("vgg16", config.lpips)
    start = weights.start
    if "luminance_encoder" not in start:
        start = {"vae": weights.parts["vae"]}

    def init(key: PRNGKey, start: Params) -> Params:
        generator_key, critic_key = jax.random.split(key)
        params = {"luminance_encoder": initial_encoder(model, generator_key, start)}
        if options.adversarial_weight:
            discriminator = PatchDiscriminator(**options.discriminator)
            image = jnp.zeros((1, size, size, 3))
            params["discriminator"] = discriminator.init(critic_key, image)["params"]
        return params

    def batch_loss(
        params: Params, frozen: Params, batch: Batch, key: PRNGKey
    ) -> tuple[Array, optim.Metrics]:
        shape = (len(batch["image"]), side, side, model.vae.latent_channels)
        noise = jax.random.normal(key, shape)
        trees = frozen | params
        return loss(model, trees, batch["image"], noise, options, frozen["step"])

    def predict(params: Params, frozen: Params, batch: Batch, key: PRNGKey) -> dict[str, Image]:
        return samples(model, frozen | params, batch)

    def finish(params: Params, frozen: Params, batch: Batch) -> tuple[Params, dict[str, Any]]:
        return {"luminance_encoder": params["luminance_encoder"]}, {}

    trained = ["luminance_encoder"] + ["discriminator"] * bool(options.adversarial_weight)
    tx = optim.separately({name: optim.optimizer(options, total_steps) for name in trained})
    stage = single_loss_stage(
        init=init,
        loss=batch_loss,
        start=start,
        frozen=frozen,
        options=options,
        total_steps=total_steps,
        tx=tx,
        dtype=config.dtype,
        predict=predict,
        finish=finish,
    )

    def step(
        state: optim.TrainState, frozen: Params, batch: Batch, key: PRNGKey
    ) -> tuple[optim.TrainState, optim.Metrics]:
        # A loss sees no state, but the adversary joins at a step.
        return stage.step(state, frozen | {"step": state.step}, batch, key)

    return stage._replace(step=step)
