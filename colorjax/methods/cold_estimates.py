"""What Diffusing Colors' UNets say of a batch: the residual of a walk, or its mean in one go."""

import jax.numpy as jnp
from jaxtyping import Float

from colorjax.maths import cold_diffusion
from colorjax.maths.samplers import Denoise
from colorjax.maths.types import Array, Context, Latents, Params, Timesteps, TokenIds
from colorjax.methods import conditioning, stable_diffusion
from colorjax.methods.cold_networks import (
    DISTILLED_PART,
    DiffusingColors,
    full_residual,
    predict_and_capture,
)
from colorjax.methods.stable_diffusion import Captured


def walking(model: DiffusingColors, params: Params, z_gray: Latents) -> conditioning.Network:
    """The cold UNet: the full residual at a point of the walk."""

    def residual(
        latents: Latents,
        timesteps: Timesteps,
        context: Context,
        beside: Latents,
        *,
        replay: Captured | None = None,
        capture: tuple[str, ...] = (),
    ) -> tuple[Latents, Captured]:
        inputs = (latents, beside, timesteps, context)
        output, captured = predict_and_capture(
            model, params, *inputs, replay=replay, capture=capture
        )
        return full_residual(model, output, timesteps), captured

    return conditioning.Network(_encode(model, params), residual, z_gray)


def distilled(
    model: DiffusingColors,
    params: Params,
    z_gray: Latents,
    fidelity: Float[Array, ""] | Float[Array, "b"] | float | None = None,
) -> conditioning.Network:
    """The distilled UNet: R(s, t) of `maths.trajectory`, whose output needs no division.

    Args:
        fidelity: t, for sampling, whatever time the sampler says; None is the time that it says.
    """
    student = params | {"cold_unet": params[DISTILLED_PART]}

    def mean(
        latents: Latents,
        timesteps: Timesteps,
        context: Context,
        beside: Latents,
        *,
        replay: Captured | None = None,
        capture: tuple[str, ...] = (),
    ) -> tuple[Latents, Captured]:
        if fidelity is not None:
            t = jnp.broadcast_to(jnp.asarray(fidelity, jnp.float32), timesteps.shape)
            timesteps = cold_diffusion.to_timesteps(t)
        inputs = (latents, beside, timesteps, context)
        return predict_and_capture(model, student, *inputs, replay=replay, capture=capture)

    return conditioning.Network(_encode(model, params), mean, z_gray)


def guided(network: conditioning.Network, text: conditioning.Text) -> Denoise:
    """A network's estimate, guided as the text says, without masks."""

    def no_masks(capture: conditioning.Capture) -> Latents:
        raise AssertionError("only refinement makes masks")

    return conditioning.denoiser(network, text, None, no_masks)


def _encode(model: DiffusingColors, params: Params) -> conditioning.Encode:
    def encode(input_ids: TokenIds) -> Context:
        return stable_diffusion.encode_text(model.base, params, input_ids)

    return encode
