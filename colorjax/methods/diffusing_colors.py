"""Diffusing Colors (Zabari et al., SIGGRAPH Asia 2023): latent cold diffusion and its ranker.

The paper's body could not be read. From its authors' page: z_t = (1-t) z_color + t z_gray, the
UNet predicts the full colour residual from z_t, t and text, the gray latent is added to it, every
step of sampling can be scaled for vividness, a CLIP-based ranker chooses the scale, the input's
intensity is put back. Guidance 1.6 and vividness 0.8 are an independent reader's word. Everything
else here is our choice and says so: `colorjax.maths.cold_diffusion` has the equations.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Float, Key

from colorjax.errors import UserError
from colorjax.maths import cold_diffusion, guidance
from colorjax.maths.color import luminance_from_lightness
from colorjax.maths.types import (
    Array,
    Image,
    Latents,
    Luminance,
    Params,
    TokenIds,
)
from colorjax.methods import cold_estimates, conditioning, method, vividness
from colorjax.methods.cold_networks import (
    DECODERS,
    DISTILLED_PART,
    PARTS,
    PREDICTIONS,
    SIZES,
    Cold,
    DiffusingColors,
    Distilled,
    build,
    decode,
    decoder_of,
    encode,
    full_residual,
    init,
    init_ranker,
    init_unet,
    load,
    load_networks,
    predict,
    predict_and_capture,
    source_noise,
)
from colorjax.methods.method import Method, Pictures, Walk
from colorjax.methods.stable_diffusion import Captured

# The networks under the method's name, too: whoever works with it needs one module.
__all__ = [
    "Cold",
    "DECODERS",
    "DISTILLED",
    "DISTILLED_PART",
    "DiffusingColors",
    "Distilled",
    "Inputs",
    "METHOD",
    "Options",
    "PARTS",
    "PREDICTIONS",
    "SIZES",
    "build",
    "check",
    "colorize",
    "decode",
    "decoder_of",
    "encode",
    "full_residual",
    "init",
    "init_ranker",
    "init_unet",
    "load",
    "load_networks",
    "predict",
    "predict_and_capture",
    "source_noise",
    "walk",
]


DISTILLED = "distilled"  # a number of steps: the walk in one evaluation of the distilled UNet
FADED_STEPS = 10  # of a walk from faded colours, where it does not begin with what was distilled


class Options(NamedTuple):
    """Static: a change compiles another program."""

    num_steps: int | str = 20  # or `DISTILLED`
    solver: cold_diffusion.Solver = "algorithm_2"
    decoder: str | None = None  # "plain" or "guided"; None is the one that was trained beside
    refine_step_size: float | str = method.REFINE_STEP_SIZE.default  # these four as L-CAD's
    refine_objective: str = "inside"
    replay: str = "cross"
    mask_steps: int = 2


SOLVER = method.Setting(
    "solver", str, "how it steps", "algorithm_2", choices=cold_diffusion.SOLVERS
)
FIDELITY = method.Setting(
    "fidelity",
    float,
    "distilled: 1 is nearest to the truth, 0 vivid",
    0.9,
    traced=True,
    least=0.0,
    most=1.0,
)
SETTINGS = (
    method.GUIDANCE_SCALE._replace(default=1.6, neutral=1.0),
    method.NUM_STEPS._replace(default=Options().num_steps, words=(DISTILLED,)),
    FIDELITY,
    SOLVER,
    method.TEMPERATURE._replace(neutral=1.0),
    method.NEGATIVE_PROMPT._replace(
        default="black and white, grayscale, monochrome, sepia, desaturated"
    ),
    method.VIVIDNESS._replace(default=0.8),
    method.DECODER._replace(default=Cold().decoder),
    *method.OF_MASKS,
    method.LORA,
    method.BATCH_SIZE,
)


class Inputs(NamedTuple):
    """Traced: a change costs nothing, but for what is None or not."""

    luminance: Luminance
    input_ids: TokenIds
    uncond_input_ids: TokenIds | None  # of the empty, or a negative, prompt; None: no guidance
    guidance_scale: Float[Array, ""] | float = 1.0
    vividness: Float[Array, "b"] | Float[Array, ""] | float = 1.0
    keys: Key[Array, "b"] | None = None  # of each picture's noise; needed where sigma is not 0
    faded: Image | None = None  # colours to begin with instead of gray
    t_start: Float[Array, "b"] | Float[Array, ""] | float = 1.0  # where `faded` stands
    masks: guidance.Masks | None = None  # of each phrase; None: by attention
    spans: guidance.Spans | None = None  # the tokens of each phrase; None: no masks at all
    temperature: Float[Array, ""] | float | None = None  # of the source's noise; None is 1
    fidelity: Float[Array, ""] | float | None = None  # of what was distilled; None is the table's


def check(model: DiffusingColors, options: Options) -> None:
    """Raises `UserError` for options that the sampler cannot take."""
    if options.num_steps != DISTILLED:
        cold_diffusion.check(int(options.num_steps), options.solver)
    elif model.distilled is None:
        raise UserError(
            f"num_steps is {DISTILLED!r}, but the model has no distilled UNet: give a number, or "
            "train one with --config=configs/diffusing_colors.py:stage=distill"
        )


def walk(
    model: DiffusingColors, params: Params, inputs: Inputs, options: Options
) -> tuple[Latents, Latents]:
    """One sampling run: the coloured latents and the gray ones they came from.

    Where there are spans it is instance-aware: L-CAD's Algorithm 1 on this UNet's cross-attention,
    a combination that neither paper has.
    """
    check(model, options)
    z_gray = encode(model, params, vividness.gray_image(inputs.luminance))
    noise = source_noise(model, inputs.keys, z_gray)
    if inputs.temperature is not None:
        noise = inputs.temperature * noise
    start = None
    if inputs.faded is not None:
        start = (
            encode(model, params, inputs.faded) + cold_diffusion.per_picture(inputs.t_start) * noise
        )

    def masks_from(capture: conditioning.Capture) -> guidance.Masks:
        begin = z_gray + noise if start is None else start
        return _attention_masks(capture, begin, inputs, num_steps, options.mask_steps)

    network, num_steps = _network(model, params, z_gray, inputs, options)
    refinement = None
    if inputs.spans is not None:
        refinement = conditioning.Refinement.of(
            options.refine_step_size, options.refine_objective, options.replay
        )
    text = conditioning.Text(
        inputs.input_ids,
        inputs.uncond_input_ids,
        inputs.guidance_scale,
        inputs.masks,
        inputs.spans,
    )
    z_0 = cold_diffusion.sample(
        conditioning.denoiser(network, text, refinement, masks_from),
        z_gray,
        num_steps,
        noise=noise,
        start=start,
        t_start=inputs.t_start,
        vividness=inputs.vividness,
        solver=options.solver,
    )
    return z_0, z_gray


def _network(
    model: DiffusingColors, params: Params, z_gray: Latents, inputs: Inputs, options: Options
) -> tuple[conditioning.Network, int]:
    """What is walked by, and in how many steps: in one, to which no time matters, or in many.

    Only ways from gray were distilled.
    """
    walking = cold_estimates.walking(model, params, z_gray)
    if options.num_steps != DISTILLED:
        return walking, int(options.num_steps)
    if inputs.faded is not None:
        return walking, FADED_STEPS
    fidelity = float(FIDELITY.default) if inputs.fidelity is None else inputs.fidelity
    return cold_estimates.distilled(model, params, z_gray, fidelity), 1


def _attention_masks(
    capture: conditioning.Capture,
    begin: Latents,
    inputs: Inputs,
    num_steps: int,
    mask_steps: int,
) -> guidance.Masks:
    """Masks by the conditional branch's first steps, without guidance and vividness."""
    t_start = jnp.broadcast_to(jnp.asarray(inputs.t_start, jnp.float32), (len(begin),))
    left = jnp.arange(num_steps, 0, -1, dtype=jnp.float32)[:mask_steps]

    def step(z_t: Latents, fraction: Array) -> tuple[Latents, Captured]:
        residual, captured = capture(z_t, cold_diffusion.to_timesteps(fraction * t_start))
        size = cold_diffusion.per_picture(t_start / num_steps)
        return z_t + size * residual, captured

    return conditioning.attention_masks(step, begin, left / num_steps, inputs.spans)


def colorize(model: DiffusingColors, params: Params, inputs: Inputs, options: Options) -> Image:
    """Cold diffusion with classifier-free guidance, and vividness in every step as the paper.

    Returns the raw decoded image, unclamped; `colorjax.maths.color.with_lightness` puts the
    photograph's lightness back.
    """
    latents, z_gray = walk(model, params, inputs, options)
    decoded = decoder_of(model, params, inputs.luminance, options.decoder)
    if inputs.faded is not None:
        return decoded(latents)
    scales = jnp.broadcast_to(jnp.asarray(inputs.vividness), (len(latents),))[:, None]
    return vividness.decode_vivid(decoded, latents[None], z_gray, inputs.luminance, scales)[:, 0]


def _inputs(pictures: Pictures) -> Inputs:
    guided = pictures.guidance_scale is not None
    return Inputs(
        luminance_from_lightness(pictures.lightness),
        pictures.input_ids,
        pictures.uncond_input_ids if guided else None,
        pictures.guidance_scale if guided else 1.0,
        1.0 if pictures.vividness is None else pictures.vividness,
        method.noise_keys(pictures.seed),
        pictures.faded,
        1.0 if pictures.t_start is None else pictures.t_start,
        pictures.masks,
        pictures.spans,
        pictures.temperature,
        pictures.fidelity,
    )


def _colorize(
    model: DiffusingColors, params: Params, pictures: Pictures, options: Options
) -> Image:
    return colorize(model, params, _inputs(pictures), options)


def _walk(model: DiffusingColors, params: Params, pictures: Pictures, options: Options) -> Walk:
    return Walk(*walk(model, params, _inputs(pictures), options))


def _release_settings(config: Mapping[str, Any], chosen: Mapping[str, object]) -> Mapping[str, Any]:
    trained_beside = config.get("cold", {}).get("decoder", Cold().decoder)
    values = {"decoder": trained_beside, **method.section(config, "cold_colorize")}
    if chosen.get("num_steps", values.get("num_steps")) == DISTILLED:
        values["guidance_scale"] = 1.0  # the release's is a walk's, and inside what was distilled
    return values


def _validate(model: DiffusingColors, values: Mapping[str, method.Value]) -> None:
    if values["temperature"] != 1.0 and not model.cold.sigma:
        raise UserError(
            f"temperature is {values['temperature']}; it scales the noise at the gray end, and "
            "this model was trained without any: leave it out"
        )
    check(model, METHOD.static(values))


METHOD = Method(
    name="diffusing_colors",
    title="Diffusing Colors",
    settings=SETTINGS,
    release_settings=_release_settings,
    build=build,
    init=init,
    load=load_networks,
    options=Options,
    validate=_validate,
    base=lambda model: model.base,
    colorize=_colorize,
    walk=_walk,
    decoder=decoder_of,
    colourfulness=lambda model: model.cold.colourfulness,
)
