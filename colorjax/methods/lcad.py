"""L-CAD (Chang et al., NeurIPS 2023): Stable Diffusion whose UNet and decoder see the luminance.

Everything is a pure function of a `model` (sizes, schedule) and `params` (a dict of parts).
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Key

from colorjax import release
from colorjax.errors import UserError, one_of
from colorjax.maths import cold_diffusion, guidance, integrators, samplers
from colorjax.maths.color import luminance_from_lightness
from colorjax.maths.integrators import Integrator
from colorjax.maths.types import (
    Array,
    Context,
    Features,
    Image,
    Latents,
    Luminance,
    Params,
    PRNGKey,
    Timesteps,
    TokenIds,
)
from colorjax.methods import conditioning, consistency, method, stable_diffusion, vividness
from colorjax.methods.method import Method, Pictures
from colorjax.methods.stable_diffusion import (
    PARTS,
    SIZES,
    Captured,
    StableDiffusion,
    capture,
    decode,
    encode_image,
    encode_luminance,
    encode_text,
    init,
    predict_and_capture,
    predict_eps,
    reconstruct,
)
from colorjax.models.unet import CEC_CHOICES
from colorjax.release import shapes

# The shared parts under L-CAD's name, too: whoever works with the method needs one module.
__all__ = [
    "CHOICES",
    "LCAD",
    "METHOD",
    "PARTS",
    "SIZES",
    "Course",
    "Inputs",
    "Options",
    "begin",
    "build",
    "capture",
    "check",
    "colorize",
    "decode",
    "encode_image",
    "encode_luminance",
    "encode_text",
    "finish",
    "init",
    "initial_noise",
    "integrator",
    "load",
    "predict_and_capture",
    "predict_eps",
    "reconstruct",
]

LCAD = StableDiffusion  # with a UNet that reads the luminance, unless `cec` is "none"


class Options(NamedTuple):
    """Static: a change compiles another program."""

    num_steps: int = 50
    spacing: samplers.Spacing = "released"
    sampler: str = "ddim"
    decoder: str = "guided"  # "plain" is without the luminance features
    # How phrases are tied to masks, where there are phrases: twice the conditional passes.
    refine_step_size: float | str = method.REFINE_STEP_SIZE.default  # or "released"
    refine_objective: str = "inside"
    replay: str = "cross"  # "all" replays self-attention's logits too, as the release
    mask_steps: int = 2  # where no masks are given, the first steps whose attention makes them


SPACING = method.Setting(
    "spacing", str, "which timesteps are visited", "released", choices=("released", "even")
)
SAMPLER = method.Setting(
    "sampler",
    str,
    f"how steps are taken; {consistency.SAMPLER}: few of them, by the distilled UNet",
    "ddim",
    choices=(*samplers.SAMPLERS, consistency.SAMPLER),
)
SETTINGS = (
    method.GUIDANCE_SCALE._replace(neutral=1.0),
    method.NUM_STEPS,
    SPACING,
    SAMPLER,
    method.TEMPERATURE,
    method.NEGATIVE_PROMPT,
    method.VIVIDNESS._replace(neutral=1.0),
    method.DECODER,
    *method.OF_MASKS,
    method.LORA,
    method.BATCH_SIZE,
)
CHOICES = {row.name: row.choices for row in SETTINGS if row.choices and row != SPACING}


class Inputs(NamedTuple):
    """Traced: a change costs nothing, but for what is None or not."""

    luminance: Luminance
    input_ids: TokenIds
    uncond_input_ids: TokenIds | None  # of the empty, or a negative, prompt; None: no guidance
    guidance_scale: Float[Array, ""] | float = 1.0
    keys: Key[Array, "b"] | None = None  # the noise of each picture
    initial_latents: Latents | None = None  # the noise itself, instead of keys
    temperature: Float[Array, ""] | float = 1.0  # the noise of `keys` is multiplied by it
    masks: guidance.Masks | None = None  # of each phrase, at the picture's or the latents' size
    spans: guidance.Spans | None = None  # the tokens of each phrase; None: no masks at all
    vividness: cold_diffusion.Strength | None = None  # None is 1, and nothing is computed for it


def build(config: Mapping[str, Any], dtype: Any = jnp.float32, remat: str = "none") -> LCAD:
    """The modules that a release's `config.json` or a training configuration's `model` describes.

    `remat` is what training saves memory by, see `models.unet`: it changes no number.

    Raises:
        UserError: a size is missing, or no network has it.
    """
    model = stable_diffusion.build(config, dtype, remat)
    sizes = stable_diffusion.sizes(config["unet"])
    cec = sizes.get("cec", CEC_CHOICES[-1])
    one_of("cec", cec, CEC_CHOICES)
    if not set(sizes.get("cec_convolutions", ())) <= {"conv1", "conv2"}:
        names = config["unet"]["cec_convolutions"]
        raise UserError(f"cec_convolutions are {names}; they can be 'conv1' and 'conv2'")
    taps = len(model.vae.block_out_channels) * model.vae.layers_per_block + 2
    if not -taps <= (feature := sizes.get("cec_feature", -1)) < taps:
        raise UserError(f"cec_feature is {feature}; the luminance encoder has {taps} features")
    extended = {name: sizes[name] for name in stable_diffusion.EXTENSIONS if name in sizes}
    model = model._replace(unet=model.unet.clone(**extended | {"cec": cec}))
    if consistency.SECTION not in config:
        return model
    return model._replace(consistency=consistency.of_config(config))


def load(directory: str | Path, dtype: Any = jnp.float32) -> tuple[LCAD, Params]:
    """A release directory's model and its parameters in the given floating point type.

    Raises:
        UserError: the release is missing, damaged or incomplete.
    """
    path = release.locate(directory)
    config = release.read_config(path)
    model = build(config, dtype)
    # Plain Stable Diffusion has no luminance encoder, and its UNet does not ask for one.
    plain = model.unet.cec == "none" and "luminance_encoder" not in release.parts_in(path)
    expected = shapes.kept("lcad", config, lambda key: _init(model, key))
    parts = [part for part in expected if part != "luminance_encoder" or not plain]
    return model, stable_diffusion.load_parts(path, parts, expected, dtype)


def _init(model: LCAD, key: PRNGKey) -> Params:
    """Random weights of every part that `load` reads."""
    params = init(model, key)
    if model.consistency is not None:
        params |= {consistency.PART: consistency.init(model, key)}
    return params


def check(model: LCAD, options: Options) -> None:
    """Raises `UserError` for options that do not exist or that the schedule cannot take."""
    samplers.time_grid(model.schedule, options.num_steps, options.spacing)
    for name, allowed in CHOICES.items():
        one_of(name, getattr(options, name), allowed)
    if options.sampler == consistency.SAMPLER:
        consistency.check(model)


def initial_noise(model: LCAD, inputs: Inputs) -> Latents:
    """Normal noise drawn by each picture's own key, whatever its place in the batch.

    A temperature below 1 shortens it: samples gather nearer to the mode, with less variety and
    fewer wild colours. 1 is what the model was trained for.
    """
    if inputs.initial_latents is not None:
        return inputs.initial_latents
    height, width = (size // model.vae.factor for size in inputs.luminance.shape[1:3])
    shape = (height, width, model.vae.latent_channels)
    noise = jax.vmap(lambda key: jax.random.normal(key, shape))(inputs.keys)
    return inputs.temperature * noise


class Course(NamedTuple):
    """What a sampling run has besides its latents, see `method.Course`."""

    start: Latents
    luminance: Luminance
    features: Features | None
    conditions: conditioning.Conditions
    vividness: cold_diffusion.Strength | None
    noises: Float[Array, "b n h w c"] | None = None  # of each step, where it takes some


def begin(model: LCAD, params: Params, inputs: Inputs, options: Options) -> Course:
    """What is computed before the first step: noise, luminance features, text and masks."""
    noise = initial_noise(model, inputs)
    features = _features(model, params, inputs.luminance)
    few = options.sampler == consistency.SAMPLER
    text = conditioning.Text(
        inputs.input_ids,
        None if few else inputs.uncond_input_ids,
        inputs.guidance_scale,
        inputs.masks,
        inputs.spans,
    )

    def masks_from(captured_by: conditioning.Capture) -> guidance.Masks:
        """By the conditional branch's first steps, without guidance."""
        grid = samplers.time_grid(model.schedule, options.num_steps, options.spacing)
        first = jax.tree.map(lambda column: jnp.asarray(column[: options.mask_steps]), grid)

        def step(z_t: Latents, at: samplers.Grid) -> tuple[Latents, Captured]:
            eps, captured = captured_by(z_t, jnp.full(len(z_t), at.timesteps, jnp.int32))
            return samplers.ddim_step(z_t, eps, at.alphas, at.alphas_prev), captured

        return conditioning.attention_masks(step, noise, first, inputs.spans)

    network = _sampled(model, params, features, inputs.guidance_scale, options)
    refinement = conditioning.Refinement.where(inputs.spans, options)
    conditions = conditioning.conditions(network, text, refinement, masks_from)
    noises = None
    if few:
        drawn = consistency.noises(noise, inputs.keys, options.num_steps, inputs.temperature)
        noises = jnp.moveaxis(drawn, 0, 1)
    return Course(noise, inputs.luminance, features, conditions, inputs.vividness, noises)


def integrator(model: LCAD, params: Params, course: Course, options: Options) -> Integrator:
    """The sampler, by classifier-free guidance; where there are spans, instance-aware.

    The luminance stays in the unconditional branch, as released.
    """
    conditions, grid = course.conditions, (model.schedule, options.num_steps, options.spacing)
    network = _sampled(model, params, course.features, conditions.guidance_scale, options)
    refinement = conditioning.Refinement.where(conditions.spans, options)
    denoise = conditioning.denoiser_of(network, conditions, refinement)
    if course.noises is not None:
        return samplers.consistency(denoise, *grid, course.noises)
    return samplers.SAMPLERS[options.sampler](denoise, *grid)


def _sampled(
    model: LCAD,
    params: Params,
    features: Features | None,
    guidance_scale: Float[Array, ""] | float,
    options: Options,
) -> conditioning.Network:
    """L-CAD's networks, or those of which the UNet was distilled with its guidance inside."""
    network = _network(model, params, features)
    if options.sampler != consistency.SAMPLER:
        return network
    return consistency.network(model, params, network, guidance_scale)


def _network(model: LCAD, params: Params, features: Features | None) -> conditioning.Network:
    def encode(input_ids: TokenIds) -> Context:
        return encode_text(model, params, input_ids)

    def predict(
        latents: Latents,
        timesteps: Timesteps,
        context: Context,
        beside: Features | None,
        *,
        replay: Captured | None = None,
        capture: tuple[str, ...] = (),
    ) -> tuple[Latents, Captured]:
        inputs = (latents, timesteps, context, beside)
        return predict_and_capture(model, params, *inputs, replay=replay, capture=capture)

    return conditioning.Network(encode, predict, features)


def colorize(model: LCAD, params: Params, inputs: Inputs, options: Options) -> Image:
    """The raw decoded image of one sampling run, by the luminance-guided decoder, unclamped.

    `colorjax.maths.color.with_lightness` puts the photograph's lightness back. Without a luminance
    encoder this is plain Stable Diffusion, which sees the text only.
    """
    course = begin(model, params, inputs, options)
    latents = integrators.run(integrator(model, params, course, options), course.start)
    return finish(model, params, course, latents, options)


def finish(
    model: LCAD, params: Params, course: Course, latents: Latents, options: Options
) -> Image:
    """The decoded image of latents.

    A vividness s takes the latents to z_gray + s (z_0 - z_gray) before they are decoded, as
    Diffusing Colors does (ours).
    """
    decoder_features = course.features if options.decoder == "guided" else None
    if course.vividness is None:
        return decode(model, params, latents, decoder_features)

    def by_features(latents: Latents) -> Image:
        return decode(model, params, latents, decoder_features)

    z_gray = _gray(model, params, course)
    scales = jnp.broadcast_to(jnp.asarray(course.vividness), (len(latents),))[:, None]
    return vividness.raw_versions(by_features, latents, z_gray, course.luminance, scales)[:, 0]


def _gray(model: LCAD, params: Params, course: Course) -> Latents:
    return stable_diffusion.encode_mean(model, params, vividness.gray_image(course.luminance))


def _features(model: LCAD, params: Params, luminance: Luminance) -> Features | None:
    if "luminance_encoder" not in params:
        return None
    return encode_luminance(model, params, luminance)


def _inputs(pictures: Pictures) -> Inputs:
    # Without a scale, as at exactly 1, there is no unconditional half: a program of its own, and
    # all other scales share one.
    guided = pictures.guidance_scale is not None
    return Inputs(
        luminance_from_lightness(pictures.lightness),
        pictures.input_ids,
        pictures.uncond_input_ids if guided else None,
        pictures.guidance_scale if guided else 1.0,
        method.noise_keys(pictures.seed),
        temperature=pictures.temperature,
        masks=pictures.masks,
        spans=pictures.spans,
        vividness=pictures.vividness,
    )


def _begin(model: LCAD, params: Params, pictures: Pictures, options: Options) -> Course:
    return begin(model, params, _inputs(pictures), options)


def _decoder(
    model: LCAD, params: Params, luminance: Luminance, decoder: str
) -> Callable[[Latents], Image]:
    features = _features(model, params, luminance) if decoder == "guided" else None
    return lambda latents: decode(model, params, latents, features)


def _release_settings(config: Mapping[str, Any], chosen: Mapping[str, object]) -> Mapping[str, Any]:
    return method.section(config, "colorize")


def _validate(model: LCAD, values: Mapping[str, method.Value]) -> None:
    check(model, METHOD.static(values))
    if values["sampler"] == consistency.SAMPLER:
        consistency.check_guidance(model, values)


METHOD = Method(
    name="lcad",
    title="L-CAD",
    settings=SETTINGS,
    release_settings=_release_settings,
    build=build,
    init=_init,
    load=load,
    options=Options,
    validate=_validate,
    base=lambda model: model,
    begin=_begin,
    integrator=integrator,
    finish=finish,
    gray=_gray,
    num_steps=lambda options: options.num_steps,
    decoder=_decoder,
)
