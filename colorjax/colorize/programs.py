"""The programs that a colorizer runs: pure functions of parameters and one batch of pictures."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from colorjax.maths import metrics
from colorjax.maths.color import luminance, luminance_from_lightness, to_unit
from colorjax.maths.types import Array, Image, Luminance, Params
from colorjax.methods import fading, stable_diffusion, vividness
from colorjax.methods.method import Method, Pictures, Walk
from colorjax.methods.stable_diffusion import StableDiffusion
from colorjax.models.ranker import Ranker


class Networks(NamedTuple):
    """What a program is made of, beside its parameters."""

    method: Method[Any, Any]
    model: Any
    options: Any
    decoder: str
    ranker: Ranker | None
    ranker_knows_gains: bool = False  # it was trained on faded photographs, too
    beliefs: vividness.Beliefs | None = None  # of its colourings, where they were measured


def _colorize(networks: Networks, params: Params, pictures: Pictures) -> Image:
    method, model, options = networks[:3]
    return method.colorize(model, params, pictures, options)


def _candidates(networks: Networks, params: Params, pictures: Pictures) -> tuple[Array, ...]:
    method, model, options = networks[:3]
    walked = method.walk(model, params, pictures._replace(vividness=None), options)
    return ranked(networks, params, walked, luminance_from_lightness(pictures.lightness))


def ranked(networks: Networks, params: Params, walked: Walk, light: Luminance) -> tuple[Array, ...]:
    """One run's pictures at all vividnesses, their scores, the chosen ones, and raw pictures."""
    method, model = networks[:2]
    scales = jnp.asarray(vividness.CANDIDATES)
    each = jnp.broadcast_to(scales, (len(walked.latents), len(scales)))
    decode = method.decoder(model, params, light, networks.decoder)
    raw = vividness.raw_versions(decode, *walked, light, each)
    images = vividness.keep_lightness(raw, light)
    assert networks.ranker is not None  # or its parameters could not have been loaded
    scores = vividness.rank(networks.ranker, params["ranker"], images)
    return images, scores, _chosen(networks, images, scores, scales), raw


def _chosen(networks: Networks, images: Array, scores: Array, scales: Array) -> Array:
    if networks.beliefs is None:
        return vividness.choose(scores, scales)
    colourful = jax.vmap(metrics.colourfulness)(to_unit(images))
    return vividness.likeliest(networks.beliefs(scores, colourful, scales), scales)


def _enhance(networks: Networks, params: Params, pictures: Pictures) -> Image:
    method, model, options = networks[:3]
    return method.colorize(model, params, pictures, options)


def _starting_times(networks: Networks, params: Params, pictures: Pictures) -> Array:
    gains = jnp.broadcast_to(
        jnp.asarray(fading.GAINS), (len(pictures.lightness), len(fading.GAINS))
    )
    versions = fading.scaled(pictures.faded, gains)
    colourful = jax.vmap(metrics.colourfulness)(to_unit(versions))
    scores = None
    if networks.ranker_knows_gains:
        assert networks.ranker is not None
        scores = vividness.rank(networks.ranker, params["ranker"], versions)
    assert networks.method.colourfulness is not None  # see `Colorizer.starting_times`
    usual = networks.method.colourfulness(networks.model)
    return 1.0 - 1.0 / fading.gain(scores, colourful, usual)


PROGRAMS = {
    "colorize": _colorize,
    "candidates": _candidates,
    "enhance": _enhance,
    "starting_times": _starting_times,
}


def reconstruct(base: StableDiffusion, params: Params, image: Image) -> tuple[Image, Image]:
    """Through the plain and through the guided decoder, which is the plain one where none is."""
    plain = stable_diffusion.reconstruct(base, params, image)
    if "luminance_encoder" not in params:
        return plain, plain
    features = stable_diffusion.encode_luminance(base, params, luminance(image))
    return plain, stable_diffusion.reconstruct(base, params, image, features)
