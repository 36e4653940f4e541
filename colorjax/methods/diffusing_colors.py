"""Diffusing Colors (Zabari et al., SIGGRAPH Asia 2023): latent cold diffusion and its ranker.

The paper's body could not be read. From its authors' page: z_t = (1-t) z_color + t z_gray, the
UNet predicts the full colour residual from z_t, t and text, the gray latent is added to it, every
step of sampling can be scaled for vividness, a CLIP-based ranker chooses the scale, the input's
intensity is put back. Guidance 1.6 and vividness 0.8 are an independent reader's word. Everything
else here is our choice and says so: `colorjax.cold` has the equations.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int, Key

from colorjax import release
from colorjax.errors import UserError
from colorjax.maths import cold_diffusion, color, guidance
from colorjax.maths.schedule import split_moments
from colorjax.methods import lcad
from colorjax.models.clip import CLIPVisionModel
from colorjax.models.layers import apply
from colorjax.models.ranker import NORMALIZATIONS, Ranker
from colorjax.types import (
    Array,
    Context,
    Image,
    Latents,
    Luminance,
    Params,
    PRNGKey,
    Timesteps,
    TokenIds,
)

PARTS = ("text_encoder", "vae", "cold_unet")  # beside them luminance_encoder and ranker
PREDICTIONS = ("full", "remaining")
DECODERS = ("plain", "guided")
SIZES = ("cold", "ranker", "image_encoder")

# What `vividness="auto"` chooses from (0.6 to 1.4 is the range that the paper's page shows), and
# how it breaks ties: for scores this near the scale nearest to the second number wins (ours).
CANDIDATES = (0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4)
TIE, TIE_SCALE = 0.02, 0.9


class Cold(NamedTuple):
    """What a trained cold UNet needs to know; beside the paper's choice all are ours."""

    sigma: float = 0.0  # noise at the gray end, in units of the scaled latents; 0 is the paper
    prediction: str = "full"  # the whole residual, as the paper, or what remains of it, z_color-z_t
    gray_channels: bool = False  # z_gray beside z_t as input; the paper gives z_t only
    decoder: str = "plain"  # or "guided", by L-CAD's luminance encoder
    colourfulness: float = 0.0  # mean of the training pictures, 0 if not measured


class DiffusingColors(NamedTuple):
    base: lcad.LCAD  # text encoder, VAE and luminance encoder as L-CAD; its UNet without CEC
    cold: Cold
    ranker: Ranker


class Options(NamedTuple):
    """Static: a change compiles another program."""

    num_steps: int = 20
    solver: cold_diffusion.Solver = "algorithm_2"


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


def build(config: Mapping[str, Any], dtype: Any = jnp.float32) -> DiffusingColors:
    """The modules of a release's `config.json` or of a training configuration's `model`.

    Raises:
        UserError: a size that is missing, or a choice that does not exist.
    """
    missing = [key for key in SIZES if key not in config]
    if missing:
        raise UserError(
            f"the model's configuration lacks {', '.join(missing)}: it has no Diffusing Colors "
            "model; train one with --config=configs/diffusing_colors.py, or use --method=lcad"
        )
    settings = Cold(**config["cold"])
    allowed = {"prediction": PREDICTIONS, "decoder": DECODERS}
    for name, choices in allowed.items():
        if getattr(settings, name) not in choices:
            raise UserError(
                f"cold.{name} is {getattr(settings, name)!r}; it must be one of "
                f"{', '.join(choices)}"
            )
    if not settings.sigma >= 0.0:
        raise UserError(f"cold.sigma is {settings.sigma}; it must be 0 or more")
    if config["ranker"]["normalization"] not in NORMALIZATIONS:
        raise UserError(
            f"ranker.normalization is {config['ranker']['normalization']!r}; it must be one of "
            f"{', '.join(NORMALIZATIONS)}"
        )
    base = lcad.build({**config, "unet": {**config["unet"], "cec": "none"}}, dtype)
    tower = CLIPVisionModel(**config["image_encoder"], dtype=dtype)
    return DiffusingColors(base, settings, Ranker(tower, **config["ranker"], dtype=dtype))


def init_unet(model: DiffusingColors, key: PRNGKey) -> Params:
    """Random weights of the cold UNet."""
    side = 2 ** (len(model.base.unet.block_out_channels) - 1)
    channels = model.base.vae.latent_channels * (1 + model.cold.gray_channels)
    text = model.base.text_encoder
    context = jnp.zeros((1, text.max_position_embeddings, text.hidden_size))
    latents = jnp.zeros((1, side, side, channels))
    return model.base.unet.init(key, latents, jnp.zeros(1), context)["params"]


def init_ranker(model: DiffusingColors, key: PRNGKey) -> Params:
    """Random weights of the ranker, its tower among them."""
    side = model.ranker.vision.image_size
    return model.ranker.init(key, jnp.zeros((1, side, side, 3)))["params"]


def load(directory: str | Path, dtype: Any = jnp.float32) -> tuple[DiffusingColors, Params]:
    """A release directory's model and float parameters of the given type.

    A ranker comes with it where the release has one.

    Raises:
        UserError: a missing, damaged or incomplete release.
    """
    path = release.locate(str(directory))
    model = build(release.read_config(path), dtype)
    guided = model.cold.decoder == "guided" or "luminance_encoder" in release.parts_in(path)
    parts = list(PARTS) + ["luminance_encoder"] * guided
    params = {part: release.read_part(path, part, dtype) for part in parts}
    key = jax.random.key(0)
    expected = jax.eval_shape(lambda key: lcad.init(model.base, key), key)
    expected["cold_unet"] = jax.eval_shape(lambda key: init_unet(model, key), key)
    if "ranker" in release.parts_in(path):
        expected["ranker"] = jax.eval_shape(lambda key: init_ranker(model, key), key)
        params["ranker"] = complete_ranker(
            release.read_part(path, "ranker", dtype),
            release.read_part(path, "image_encoder", dtype),
        )
    for part, tree in params.items():
        release.fit(expected[part], tree, f"part {part!r} of '{path}'")
    return model, params


def with_decoder(model: DiffusingColors, params: Params, decoder: str) -> DiffusingColors:
    """The model with the plain or the guided decoder, whatever it was trained beside.

    Raises:
        UserError: an unknown decoder, or no luminance encoder to guide it.
    """
    if decoder not in DECODERS:
        raise UserError(f"decoder is {decoder!r}; it must be one of {', '.join(DECODERS)}")
    if decoder == "guided" and "luminance_encoder" not in params:
        raise UserError("decoder is 'guided', but the model has no luminance encoder; take 'plain'")
    return model._replace(cold=model.cold._replace(decoder=decoder))


def complete_ranker(ranker: Params, image_encoder: Params) -> Params:
    """The ranker's trained leaves, and CLIP's for the part of the tower that was frozen."""
    return _over({"vision_model": image_encoder["vision_model"]}, ranker)


def _over(below: Params, above: Params) -> Params:
    merged = dict(below)
    for name, leaf in above.items():
        inner = isinstance(leaf, dict) and name in below
        merged[name] = _over(below[name], leaf) if inner else leaf
    return merged


def check(model: DiffusingColors, options: Options) -> None:
    """Raises `UserError` for options that the sampler cannot take."""
    cold_diffusion.check(options.num_steps, options.solver)


def gray_image(luminance: Luminance) -> Image:
    """The picture without colour, of the lightness that is put back in the end: one gray for both.

    Which gray the paper takes is not known; CIE Lab's is ours.
    """
    return 2.0 * color.gray(127.5 * (luminance + 1.0)) - 1.0


def encode(model: DiffusingColors, params: Params, image: Image) -> Latents:
    """Scaled means of the VAE's posterior: no sampling noise in the residual (ours)."""
    mean, _ = split_moments(lcad.encode_image(model.base, params, image))
    return mean * model.base.scaling_factor


def decode(model: DiffusingColors, params: Params, latents: Latents, luminance: Luminance) -> Image:
    """The unclamped image, by the plain decoder or by the one that the luminance guides."""
    features = None
    if model.cold.decoder == "guided":
        features = lcad.encode_luminance(model.base, params, luminance)
    return lcad.decode(model.base, params, latents, features)


def predict(
    model: DiffusingColors,
    params: Params,
    z_t: Latents,
    z_gray: Latents,
    timesteps: Timesteps,
    context: Context,
) -> Latents:
    """The UNet's own output: the full or the remaining residual, as it was trained."""
    inputs = jnp.concatenate([z_t, z_gray], axis=-1) if model.cold.gray_channels else z_t
    return apply(model.base.unet, params["cold_unet"], inputs, timesteps, context)


def predict_residual(
    model: DiffusingColors,
    params: Params,
    z_t: Latents,
    z_gray: Latents,
    timesteps: Timesteps,
    context: Context,
) -> Latents:
    """The full residual: of the remaining one, t d, the t-th part is what is missing."""
    output = predict(model, params, z_t, z_gray, timesteps, context)
    if model.cold.prediction == "full":
        return output
    return output / cold_diffusion.wide(cold_diffusion.to_times(timesteps))


def source_noise(model: DiffusingColors, keys: Key[Array, "b"] | None, like: Latents) -> Latents:
    """sigma eps of each picture's own key, whatever its place in the batch."""
    if not model.cold.sigma:
        return jnp.zeros_like(like)
    draw = jax.vmap(lambda key: jax.random.normal(key, like.shape[1:]))
    return model.cold.sigma * draw(keys)


def walk(
    model: DiffusingColors, params: Params, inputs: Inputs, options: Options
) -> tuple[Latents, Latents]:
    """One sampling run: the coloured latents and the gray ones they came from."""
    z_gray = encode(model, params, gray_image(inputs.luminance))
    guided = inputs.uncond_input_ids is not None
    tokens = [inputs.uncond_input_ids, inputs.input_ids] if guided else [inputs.input_ids]
    context = lcad.encode_text(model.base, params, jnp.concatenate(tokens))
    beside = jnp.concatenate([z_gray] * len(tokens))

    def unguided(z_t: Latents, timesteps: Timesteps) -> Latents:
        return predict_residual(model, params, z_t, beside, timesteps, context)

    denoise = guidance.classifier_free(unguided, inputs.guidance_scale) if guided else unguided
    noise = source_noise(model, inputs.keys, z_gray)
    start = None
    if inputs.faded is not None:
        start = encode(model, params, inputs.faded) + cold_diffusion.wide(inputs.t_start) * noise
    z_0 = cold_diffusion.sample(
        denoise,
        z_gray,
        options.num_steps,
        noise=noise,
        start=start,
        t_start=inputs.t_start,
        vividness=inputs.vividness,
        solver=options.solver,
    )
    return z_0, z_gray


def colorize(model: DiffusingColors, params: Params, inputs: Inputs, options: Options) -> Image:
    """Cold diffusion with classifier-free guidance, vividness in every step as the paper.

    Returns the raw decoded image, unclamped; `colorjax.color.with_lightness` puts the photograph's
    lightness back.
    """
    latents, z_gray = walk(model, params, inputs, options)
    if inputs.faded is not None:
        return decode(model, params, latents, inputs.luminance)
    own_tint = tint(model, params, z_gray, inputs.luminance)
    return decode_vivid(model, params, latents, inputs.luminance, inputs.vividness, own_tint)


def tint(model: DiffusingColors, params: Params, z_gray: Latents, luminance: Luminance) -> Image:
    """The colour that the decoder itself puts on gray."""
    return decode(model, params, z_gray, luminance) - gray_image(luminance)


def decode_vivid(
    model: DiffusingColors,
    params: Params,
    latents: Latents,
    luminance: Luminance,
    vividness: cold_diffusion.Strength,
    own_tint: Image,
) -> Image:
    """The decoded image, without the colour that the decoder itself puts on gray (ours).

    The `tint` is taken off in the share that is missing to vividness 1, so that 0 is gray and 1
    and more is what the decoder says.
    """
    missing = jnp.maximum(1.0 - cold_diffusion.wide(vividness), 0.0)
    return decode(model, params, latents, luminance) - missing * own_tint


def versions(
    model: DiffusingColors,
    params: Params,
    latents: Latents,
    z_gray: Latents,
    luminance: Luminance,
    scales: Float[Array, "b k"],
) -> Float[Array, "b k H W 3"]:
    """One colouring at several vividnesses, with the lightness kept, in [-1, 1].

    They differ in chroma only, so that nothing else tells a ranker which is which.
    """
    count, kinds = scales.shape

    def repeat(array: Array) -> Array:
        return jnp.repeat(array, kinds, axis=0)

    flat, light = scales.reshape(-1), repeat(luminance)
    z = cold_diffusion.rescale(repeat(latents), repeat(z_gray), flat)
    own_tint = repeat(tint(model, params, z_gray, luminance))
    raw = decode_vivid(model, params, z, light, flat, own_tint)
    image = color.with_lightness(jnp.clip((raw + 1.0) / 2.0, 0.0, 1.0), 127.5 * (light + 1.0))
    return (2.0 * image - 1.0).reshape(count, kinds, *image.shape[1:])


def rank(
    model: DiffusingColors, params: Params, images: Float[Array, "b k H W 3"]
) -> Float[Array, "b k"]:
    """The ranker's scores of the versions of each picture."""
    flat = images.reshape(-1, *images.shape[2:])
    return apply(model.ranker, params["ranker"], flat).reshape(images.shape[:2])


def choose(scores: Float[Array, "b k"], scales: Float[Array, " k"]) -> Int[Array, " b"]:
    """Which version scores highest; among nearly equal ones that whose scale is nearest to 0.9."""
    near = scores >= scores.max(axis=1, keepdims=True) - TIE
    distance = jnp.where(near, jnp.abs(scales - TIE_SCALE), jnp.inf)
    return distance.argmin(axis=1)
