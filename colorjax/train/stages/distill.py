"""Diffusing Colors in one evaluation: the cold UNet's walk is distilled into a UNet of its shape.

`colorjax.maths.trajectory` derives what is learned. The student starts from the teacher, which is
guided, with a negative prompt, while it teaches: guidance is inside the student and costs nothing
any more. With an `adversarial_weight` the stage finishes a student instead, see `adversarial`.
Everything here is ours.
"""

from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float
from ml_collections import ConfigDict

from colorjax import release
from colorjax.maths import cold_diffusion, trajectory
from colorjax.maths.types import Array, Image, Latents, Luminance, Params, PRNGKey, TokenIds
from colorjax.methods import cold_estimates, conditioning, diffusing_colors, vividness
from colorjax.train import optim
from colorjax.train.stages import adversarial
from colorjax.train.stages.cold_diffusion import by_level, check_decoder, inputs_of_levels
from colorjax.train.stages.stage import (
    Batch,
    Stage,
    Weights,
    image_and_luminance,
    single_loss_stage,
)

PART = diffusing_colors.DISTILLED_PART


def losses(
    model: diffusing_colors.DiffusingColors,
    params: Params,
    luminance: Luminance,
    text: conditioning.Text,
    t: cold_diffusion.Times,
    noise: Latents,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Mean absolute errors on the way and at its beginning; all randomness comes from outside.

    Args:
        params: with the student among them, and the teacher.
        text: the captions, and how the teacher is guided.
        t: in [D, 1], where the student is asked for its target.
        noise: sigma eps, of the source.

    Returns:
        |R(s, t') - target| and |R(s, 1) - r(s, 1)|.
    """
    assert model.distilled is not None and model.distilled.step is not None
    z_gray = diffusing_colors.encode(model, params, vividness.gray_image(luminance))
    source = z_gray + noise
    teacher = residual(cold_estimates.walking(model, params, z_gray), text)
    unguided = text._replace(uncond_input_ids=None)
    student = residual(cold_estimates.distilled(model, params, z_gray), unguided)
    wanted, later = trajectory.target(student, teacher, source, t, model.distilled.step)
    ones = jnp.ones_like(t)
    way = jnp.abs(student(source, later) - wanted).mean()
    first = jax.lax.stop_gradient(teacher(source, ones))
    return way, jnp.abs(student(source, ones) - first).mean()


def residual(network: conditioning.Network, text: conditioning.Text) -> trajectory.Residual:
    """A network's guided estimate as a function of latents and time in [0, 1]."""
    denoise = cold_estimates.guided(network, text)
    return lambda latents, t: denoise(latents, cold_diffusion.to_timesteps(t))


def check(config: ConfigDict, options: ConfigDict, parts: Collection[str]) -> None:
    """Raises `UserError` if there is nothing that guides a guided decoder, or nothing to finish."""
    check_decoder(config.model.cold.decoder, parts)
    adversarial.check(config, options, PART)


def build(config: ConfigDict, options: ConfigDict, weights: Weights, total_steps: int) -> Stage:
    """The distilled UNet; its teacher, VAE and text encoder stay as they are."""
    distilled = diffusing_colors.Distilled(
        options.guidance_scale, options.negative_prompt, options.step
    )
    sizes = config.model.to_dict() | {"distilled": distilled._asdict()}
    model = diffusing_colors.build(sizes, jnp.dtype(config.dtype), config.remat)
    assert weights.tokenize is not None  # whoever trains has captions
    negative = weights.tokenize([options.negative_prompt])
    guided = options.guidance_scale != 1.0

    def init(key: PRNGKey, start: Params) -> Params:
        fresh = diffusing_colors.init_unet(model, key)
        return release.conform(fresh, start[PART], "the UNet to start from")

    def batch_loss(
        params: Params, frozen: Params, batch: Batch, key: PRNGKey
    ) -> tuple[Array, optim.Metrics]:
        _, luminance = image_and_luminance(batch["image"])
        count = len(luminance)
        time_key, noise_key = jax.random.split(key)
        uncond: TokenIds = jnp.broadcast_to(negative, (count, negative.shape[1]))
        text = conditioning.Text(
            batch["input_ids"], uncond if guided else None, options.guidance_scale
        )
        t = jax.random.uniform(time_key, (count,), minval=options.step, maxval=1.0)
        side = luminance.shape[1] // model.base.vae.factor
        like = jnp.zeros((count, side, side, model.base.vae.latent_channels))
        keys = jax.random.split(noise_key, count)
        noise = diffusing_colors.source_noise(model, keys, like)
        way, begin = losses(model, frozen | {PART: params}, luminance, text, t, noise)
        return way + options.begin_weight * begin, {"way": way, "begin": begin}

    def predict(params: Params, frozen: Params, batch: Batch, key: PRNGKey) -> dict[str, Image]:
        columns: dict[str, Image] = {}
        for fidelity in (1.0, 0.0):
            inputs = inputs_of_levels(batch, key)._replace(fidelity=fidelity)
            one = diffusing_colors.Options(diffusing_colors.DISTILLED)
            images = diffusing_colors.colorize(model, frozen | {PART: params}, inputs, one)
            columns |= by_level(images, f", fidelity {fidelity:g}")
        return columns

    def finish(params: Params, frozen: Params, batch: Batch) -> tuple[Params, dict[str, Any]]:
        return {PART: params}, {"distilled": distilled._asdict()}

    def colour(parts: Params, batch: Batch, key: PRNGKey) -> Image:
        _, luminance = image_and_luminance(batch["image"])
        inputs = diffusing_colors.Inputs(
            luminance,
            batch["input_ids"],
            None,
            keys=jax.random.split(key, len(luminance)),
            fidelity=config.model.cold_colorize.fidelity,
        )
        one = diffusing_colors.Options(diffusing_colors.DISTILLED)
        return diffusing_colors.colorize(model, parts, inputs, one)

    if adversarial.is_wanted(options):
        student = adversarial.Student(PART, init, colour, predict, finish)
        return adversarial.build(config, options, weights, total_steps, student)
    return single_loss_stage(
        init=init,
        loss=batch_loss,
        start=weights.start,
        frozen=weights.parts,
        options=options,
        total_steps=total_steps,
        predict=predict,
        finish=finish,
    )
