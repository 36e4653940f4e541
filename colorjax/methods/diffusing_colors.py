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
from colorjax.maths import cold_diffusion, guidance, integrators
from colorjax.maths.color import luminance_from_lightness
from colorjax.maths.integrators import Integrator
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
from colorjax.methods.method import Method, Pictures
from colorjax.methods.stable_diffusion import Captured

# The networks under the method's name, too: whoever works with it needs one module.
__all__ = [
    "Cold",
    "Course",
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
    "begin",
    "build",
    "check",
    "colorize",
    "decode",
    "decoder_of",
    "encode",
    "finish",
    "full_residual",
    "init",
    "init_ranker",
    "init_unet",
    "integrator",
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


class Course(NamedTuple):
    """What a sampling run has besides its latents, see `method.Course`."""

    start: Latents
    z_gray: Latents
    noise: Latents  # what the source has beyond z_gray
    luminance: Luminance
    conditions: conditioning.Conditions
    vividness: Float[Array, "b"] | Float[Array, ""] | float
    t_start: Float[Array, "b"] | Float[Array, ""] | float | None  # None: from gray
    fidelity: Float[Array, ""] | float | None


def begin(model: DiffusingColors, params: Params, inputs: Inputs, options: Options) -> Course:
    """What is computed before the first step: gray latents, noise, text and masks.

    Where there are spans it is instance-aware: L-CAD's Algorithm 1 on this UNet's cross-attention,
    a combination that neither paper has.
    """
    check(model, options)
    z_gray = encode(model, params, vividness.gray_image(inputs.luminance))
    noise = source_noise(model, inputs.keys, z_gray)
    if inputs.temperature is not None:
        noise = inputs.temperature * noise
    start, t_start = z_gray + noise, None
    if inputs.faded is not None:
        t_start = inputs.t_start
        start = encode(model, params, inputs.faded) + cold_diffusion.per_picture(t_start) * noise
    network, num_steps = _network(model, params, z_gray, t_start, inputs.fidelity, options)

    def masks_from(capture: conditioning.Capture) -> guidance.Masks:
        return _attention_masks(capture, start, inputs, num_steps, options.mask_steps)

    text = conditioning.Text(
        inputs.input_ids,
        inputs.uncond_input_ids,
        inputs.guidance_scale,
        inputs.masks,
        inputs.spans,
    )
    refinement = conditioning.Refinement.where(inputs.spans, options)
    conditions = conditioning.conditions(network, text, refinement, masks_from)
    return Course(
        start,
        z_gray,
        noise,
        inputs.luminance,
        conditions,
        inputs.vividness,
        t_start,
        inputs.fidelity,
    )


def integrator(
    model: DiffusingColors, params: Params, course: Course, options: Options
) -> Integrator:
    """The walk from gray, or from faded colours, to colours."""
    network, num_steps = _network(
        model, params, course.z_gray, course.t_start, course.fidelity, options
    )
    refinement = conditioning.Refinement.where(course.conditions.spans, options)
    return cold_diffusion.integrator(
        conditioning.denoiser_of(network, course.conditions, refinement),
        course.z_gray,
        num_steps,
        noise=course.noise,
        t_start=1.0 if course.t_start is None else course.t_start,
        vividness=course.vividness,
        solver=options.solver,
    )


def walk(
    model: DiffusingColors, params: Params, inputs: Inputs, options: Options
) -> tuple[Latents, Latents]:
    """One sampling run: the coloured latents and the gray ones they came from."""
    course = begin(model, params, inputs, options)
    walked = integrators.run(integrator(model, params, course, options), course.start)
    return walked, course.z_gray


def _network(
    model: DiffusingColors,
    params: Params,
    z_gray: Latents,
    t_start: cold_diffusion.Strength | None,
    fidelity: Float[Array, ""] | float | None,
    options: Options,
) -> tuple[conditioning.Network, int]:
    """What is walked by, and in how many steps: in one, to which no time matters, or in many.

    Only ways from gray were distilled.
    """
    walking = cold_estimates.walking(model, params, z_gray)
    if options.num_steps != DISTILLED:
        return walking, int(options.num_steps)
    if t_start is not None:
        return walking, FADED_STEPS
    if fidelity is None:
        fidelity = float(FIDELITY.default)
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
    course = begin(model, params, inputs, options)
    latents = integrators.run(integrator(model, params, course, options), course.start)
    return finish(model, params, course, latents, options)


def finish(
    model: DiffusingColors, params: Params, course: Course, latents: Latents, options: Options
) -> Image:
    """The decoded image of latents that have their vividness."""
    decoded = decoder_of(model, params, course.luminance, options.decoder)
    if course.t_start is not None:
        return decoded(latents)
    scales = jnp.broadcast_to(jnp.asarray(course.vividness), (len(latents),))[:, None]
    vivid = (decoded, latents[None], course.z_gray, course.luminance, scales)
    return vividness.decode_vivid(*vivid)[:, 0]


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


def _begin(model: DiffusingColors, params: Params, pictures: Pictures, options: Options) -> Course:
    return begin(model, params, _inputs(pictures), options)


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
    begin=_begin,
    integrator=integrator,
    finish=finish,
    gray=lambda model, params, course: course.z_gray,
    num_steps=lambda options: 1 if options.num_steps == DISTILLED else int(options.num_steps),
    decoder=decoder_of,
    colourfulness=lambda model: model.cold.colourfulness,
)
