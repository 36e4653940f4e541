"""Diffusing Colors' networks put together: the shared ones, the cold UNet and the ranker.

Everything is a pure function of a `model` (sizes, settings) and `params` (a dict of parts).
"""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Key

from colorjax import release
from colorjax.errors import UserError, one_of
from colorjax.maths import cold_diffusion
from colorjax.maths.types import (
    Array,
    Context,
    Image,
    Latents,
    Luminance,
    Params,
    PRNGKey,
    Timesteps,
)
from colorjax.methods import method, stable_diffusion, vividness
from colorjax.methods.stable_diffusion import Captured, StableDiffusion
from colorjax.models.ranker import Ranker
from colorjax.release import shapes

PARTS = ("text_encoder", "vae", "cold_unet")  # beside them luminance_encoder and ranker
DISTILLED_PART = "distilled_unet"  # and this one, of a model that has been distilled
PREDICTIONS = ("full", "remaining")
DECODERS = method.DECODER.choices
SIZES = ("cold", *vividness.SIZES)


class Cold(NamedTuple):
    """What a trained cold UNet needs to know; beside the paper's choice all are ours."""

    sigma: float = 0.0  # noise at the gray end, in units of the scaled latents; 0 is the paper
    prediction: str = "full"  # the whole residual, as the paper, or what remains of it, z_color-z_t
    gray_channels: bool = False  # z_gray beside z_t as input; the paper gives z_t only
    decoder: str = "plain"  # or "guided", by L-CAD's luminance encoder
    colourfulness: float = 0.0  # mean of the training pictures, 0 if not measured


class Distilled(NamedTuple):
    """How a UNet was distilled from the cold one: the guidance that is inside it."""

    guidance_scale: float
    negative_prompt: str | None = None  # None: it is not known any more
    step: float | None = None  # D of `maths.trajectory`, likewise


class DiffusingColors(NamedTuple):
    """The modules and constants of the method; the shared ones without L-CAD's extensions."""

    base: StableDiffusion
    cold: Cold
    ranker: Ranker
    distilled: Distilled | None = None  # of a UNet that walks in one evaluation, if there is one


def build(
    config: Mapping[str, Any], dtype: Any = jnp.float32, remat: str = "none"
) -> DiffusingColors:
    """The modules that a release's `config.json` or a training configuration's `model` describes.

    `remat` is what training saves memory by, see `models.unet`: it changes no number.

    Raises:
        UserError: a size is missing, or a choice does not exist.
    """
    missing = [key for key in SIZES if key not in config]
    if missing:
        raise UserError(
            f"the model's configuration lacks {', '.join(missing)}: it has no Diffusing Colors "
            "model; train one with --config=configs/diffusing_colors.py, or use --method=lcad"
        )
    settings = Cold(**config["cold"])
    one_of("cold.prediction", settings.prediction, PREDICTIONS)
    one_of("cold.decoder", settings.decoder, DECODERS)
    if not settings.sigma >= 0.0:
        raise UserError(f"cold.sigma is {settings.sigma}; it must be 0 or more")
    base = stable_diffusion.build(config, dtype, remat)
    distilled = Distilled(**config["distilled"]) if "distilled" in config else None
    return DiffusingColors(base, settings, vividness.build_ranker(config, dtype), distilled)


def init(model: DiffusingColors, key: PRNGKey) -> Params:
    """Random weights of what colouring without a ranker takes, the guided decoder's included."""
    fresh = stable_diffusion.init(model.base, key)
    unets = [part for part in _parts(model) if part not in fresh]
    fresh |= {part: init_unet(model, key) for part in unets}
    return {part: fresh[part] for part in (*_parts(model), "luminance_encoder")}


def _parts(model: DiffusingColors) -> tuple[str, ...]:
    return PARTS if model.distilled is None else (*PARTS, DISTILLED_PART)


def init_unet(model: DiffusingColors, key: PRNGKey) -> Params:
    """Random weights of the cold UNet, whose shape a distilled one has too."""
    side = 2 ** (len(model.base.unet.block_out_channels) - 1)
    channels = model.base.vae.latent_channels * (1 + model.cold.gray_channels)
    text = model.base.text_encoder
    context = jnp.zeros((1, text.max_position_embeddings, text.hidden_size))
    latents = jnp.zeros((1, side, side, channels))
    params: Params = model.base.unet.init(key, latents, jnp.zeros(1), context)["params"]
    return params


def init_ranker(model: DiffusingColors, key: PRNGKey) -> Params:
    """Random weights of the ranker, its tower among them."""
    return vividness.init_ranker(model.ranker, key)


def load(directory: str | Path, dtype: Any = jnp.float32) -> tuple[DiffusingColors, Params]:
    """A release directory's model and its parameters in the given floating point type.

    A ranker comes with it where the release has one.

    Raises:
        UserError: the release is missing, damaged or incomplete.
    """
    path = release.locate(directory)
    model, params = load_networks(path, dtype)
    if "ranker" in release.parts_in(path):
        params["ranker"] = vividness.load_ranker(path, dtype)[1]
    return model, params


def load_networks(path: Path, dtype: Any = jnp.float32) -> tuple[DiffusingColors, Params]:
    """A release directory's model, and the parameters that colouring without a ranker takes."""
    config = release.read_config(path)
    model = build(config, dtype)
    guided = model.cold.decoder == "guided" or "luminance_encoder" in release.parts_in(path)
    parts = list(_parts(model)) + ["luminance_encoder"] * guided
    base = functools.partial(stable_diffusion.init, model.base)
    expected = shapes.kept("diffusing_colors", config, base)
    unet = shapes.kept("cold_unet", config, functools.partial(init_unet, model))
    expected |= {"cold_unet": unet, DISTILLED_PART: unet}
    return model, stable_diffusion.load_parts(path, parts, expected, dtype)


def encode(model: DiffusingColors, params: Params, image: Image) -> Latents:
    """Scaled means of the VAE's posterior: no sampling noise in the residual (ours)."""
    return stable_diffusion.encode_mean(model.base, params, image)


def decode(
    model: DiffusingColors,
    params: Params,
    latents: Latents,
    luminance: Luminance,
    decoder: str | None = None,
) -> Image:
    """The unclamped image of latents, see `decoder_of`."""
    return decoder_of(model, params, luminance, decoder)(latents)


def decoder_of(
    model: DiffusingColors, params: Params, luminance: Luminance, decoder: str | None = None
) -> Callable[[Latents], Image]:
    """The decoder of pictures of a luminance: the plain one, or the one that it guides.

    `decoder` is as in `Options`.
    """
    features = None
    if (decoder or model.cold.decoder) == "guided":
        features = stable_diffusion.encode_luminance(model.base, params, luminance)
    return lambda latents: stable_diffusion.decode(model.base, params, latents, features)


def predict(
    model: DiffusingColors,
    params: Params,
    z_t: Latents,
    z_gray: Latents,
    timesteps: Timesteps,
    context: Context,
) -> Latents:
    """The UNet's own output: the full or the remaining residual, as it was trained."""
    return predict_and_capture(model, params, z_t, z_gray, timesteps, context)[0]


def predict_and_capture(
    model: DiffusingColors,
    params: Params,
    z_t: Latents,
    z_gray: Latents,
    timesteps: Timesteps,
    context: Context,
    *,
    replay: Captured | None = None,
    capture: tuple[str, ...] = (),
) -> tuple[Latents, Captured]:
    """As `predict`, with attention replayed or captured (`models.attention.Attention`)."""
    latents = jnp.concatenate([z_t, z_gray], axis=-1) if model.cold.gray_channels else z_t
    inputs = (latents, timesteps, context, None)
    return stable_diffusion.run_unet(
        model.base.unet, params["cold_unet"], inputs, replay=replay, capture=capture
    )


def full_residual(model: DiffusingColors, output: Latents, timesteps: Timesteps) -> Latents:
    """The whole residual by the UNet's output: of a remaining one, t d, it is the t-th part."""
    if model.cold.prediction == "full":
        return output
    return output / cold_diffusion.per_picture(cold_diffusion.to_times(timesteps))


def source_noise(model: DiffusingColors, keys: Key[Array, "b"] | None, like: Latents) -> Latents:
    """sigma eps, drawn by each picture's own key, whatever its place in the batch."""
    if not model.cold.sigma:
        return jnp.zeros_like(like)
    shape = like.shape[1:]
    return model.cold.sigma * jax.vmap(lambda key: jax.random.normal(key, shape))(keys)
