"""L-CAD in few steps: a UNet that consistency distillation made of L-CAD's, as `maths.consistency`.

It reads the guidance scale as an input, so a step is one evaluation and not two; a step ends the
trajectory, and goes back to a noise level only where more steps follow. Everything here is ours.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float, Key

from colorjax.errors import UserError
from colorjax.maths.schedule import eps_from_v
from colorjax.maths.types import (
    Array,
    Context,
    Features,
    Latents,
    Params,
    PRNGKey,
    Timesteps,
)
from colorjax.methods import conditioning, stable_diffusion
from colorjax.methods.stable_diffusion import Captured, Consistency, StableDiffusion
from colorjax.models.unet import UNet

SAMPLER = SECTION = "consistency"  # by this name it is sampled, and described in a `config.json`
PART = "consistency_unet"
Scale = Float[Array, ""] | Float[Array, "b"] | Float[Array, "b 1 1 1"] | float


def of_config(config: Mapping[str, Any]) -> Consistency:
    """The settings in a release's `config.json`.

    Raises:
        UserError: they are none.
    """
    try:
        return Consistency(**config[SECTION])
    except TypeError as error:
        raise UserError(f"the model's section {SECTION!r} cannot be used: {error}") from None


def unet(model: StableDiffusion) -> UNet:
    """The teacher's network with an input more."""
    assert model.consistency is not None
    return model.unet.clone(guidance_channels=model.consistency.channels)


def init(model: StableDiffusion, key: PRNGKey) -> Params:
    """Random weights, of which those that read the guidance scale are zero."""
    inputs = stable_diffusion.unet_inputs(model)
    params: Params = unet(model).init(key, *inputs, jnp.ones(1))["params"]
    return params


def check(model: StableDiffusion) -> None:
    """Raises `UserError` if the model has no distilled UNet."""
    if model.consistency is None:
        raise UserError(
            f"sampler is {SAMPLER!r}, but the model has no UNet that was distilled for it: take "
            "another, or train one with --config=configs/lcad.py:stage=consistency"
        )


def check_guidance(model: StableDiffusion, values: Mapping[str, object]) -> None:
    """Checks what guidance a distilled UNet is asked for.

    Raises:
        UserError: a scale that it has not learned, or another negative prompt.
    """
    about = model.consistency
    assert about is not None
    scale, prompt = values["guidance_scale"], values["negative_prompt"]
    assert isinstance(scale, int | float)
    if not about.least_guidance <= scale <= about.most_guidance:
        raise UserError(
            f"guidance_scale is {scale}, and with sampler {SAMPLER!r} it must be from "
            f"{about.least_guidance:g} to {about.most_guidance:g}, which was learned"
        )
    if prompt not in ("", about.negative_prompt):
        raise UserError(
            f"negative_prompt is {prompt!r}, but with sampler {SAMPLER!r} it is the one that was "
            f"learned, {about.negative_prompt!r}: leave it out, or take another sampler"
        )


def predict_eps(
    model: StableDiffusion,
    params: Params,
    inputs: tuple[Latents, Timesteps, Context, Features | None, Scale],
    *,
    replay: Captured | None = None,
    capture: tuple[str, ...] = (),
) -> tuple[Latents, Captured]:
    """The distilled UNet's noise estimate, and what it captured of attention.

    Args:
        params: of the distilled UNet alone.
        inputs: latents, timesteps, text states, luminance features and the guidance scale.
    """
    latents, timesteps, context, features, scale = inputs
    feature = features[model.unet.cec_feature] if features else None
    scales = jnp.broadcast_to(jnp.asarray(scale, jnp.float32).reshape(-1), (len(latents),))
    beside = (latents, timesteps, context, feature, scales)
    output, captured = stable_diffusion.run_unet(
        unet(model), params, beside, replay=replay, capture=capture
    )
    if model.prediction_type == "v":
        output = eps_from_v(latents, output, timesteps, model.schedule)
    return output, captured


def network(
    model: StableDiffusion, params: Params, walking: conditioning.Network, scale: Scale
) -> conditioning.Network:
    """The network of a batch: the walking one's, with the distilled UNet in its place."""

    def predict(
        latents: Latents,
        timesteps: Timesteps,
        context: Context,
        beside: Features | None,
        *,
        replay: Captured | None = None,
        capture: tuple[str, ...] = (),
    ) -> tuple[Latents, Captured]:
        inputs = (latents, timesteps, context, beside, scale)
        return predict_eps(model, params[PART], inputs, replay=replay, capture=capture)

    return walking._replace(predict=predict)


def noises(
    first: Latents, keys: Key[Array, "b"] | None, count: int, temperature: Scale
) -> Float[Array, "n b h w c"]:
    """Noise for each step, drawn by each picture's own key; without keys the first one again."""
    if keys is None:
        return jnp.broadcast_to(first, (count, *first.shape))

    def of_step(step: Array) -> Latents:
        own = jax.vmap(lambda key: jax.random.fold_in(key, step))(keys)
        return jax.vmap(lambda key: jax.random.normal(key, first.shape[1:]))(own)

    return temperature * jax.vmap(of_step)(jnp.arange(count))
