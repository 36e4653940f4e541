"""Vividness after sampling: from gray latents to a colouring and beyond, and the ranker's choice.

A method gives its latents, the gray ones they came from and how it decodes. The candidates, the
tie rule and what is done about the decoder's own tint are ours; the scale and the CLIP-based
ranker that chooses it are Diffusing Colors' (Zabari et al. 2023).
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from colorjax import release
from colorjax.errors import UserError, one_of
from colorjax.inputs import CANDIDATES as CANDIDATES
from colorjax.maths import cold_diffusion, color
from colorjax.maths.types import Array, Image, Latents, Luminance, Params, PRNGKey
from colorjax.models.clip import CLIPVisionModel
from colorjax.models.layers import apply
from colorjax.models.ranker import NORMALIZATIONS, Ranker
from colorjax.release import shapes

# Scores this near to the best one count as equal, and then the scale nearest to the second number
# is taken; of two equally near ones the lower, because too much colour is what people notice.
TIE, TIE_SCALE = 0.02, 0.9
REACH = 0.15  # scales no further apart are as good as one another
PARTS = ("ranker", "image_encoder")
SIZES = ("ranker", "image_encoder")

BELIEFS = "colourings"  # of a release: `Beliefs` by method


class Beliefs(NamedTuple):
    """What is believed of a release's colourings before its ranker looks at one (ours).

    A ranker tells whether a photograph's chroma was scaled. How much a colouring lacks it has no
    means to see, for the truth is not in the picture; that is known of all colourings together.

    Attributes:
        ranker_weight: of the ranker's scores beside the rest.
        usual: the colourfulness that photographs have.
        colourfulness_spread: of its logarithm, around `usual`'s.
        scale: the vividness that colourings need.
        scale_spread: of its logarithm.
    """

    ranker_weight: float
    usual: float
    colourfulness_spread: float
    scale: float
    scale_spread: float

    def __call__(
        self,
        scores: Float[Array, "b k"],
        colourfulness: Float[Array, "b k"],
        scales: Float[Array, " k"],
    ) -> Float[Array, "b k"]:
        """The logarithm of each version's probability to be right, up to a constant.

        The ranker's scores by their weight, and two normal distributions of logarithms.
        """
        away = jnp.log(jnp.maximum(colourfulness, 1e-3) / self.usual) / self.colourfulness_spread
        place = jnp.log(jnp.maximum(scales, 1e-3) / self.scale) / self.scale_spread
        return self.ranker_weight * scores - 0.5 * (jnp.square(away) + jnp.square(place))


Decode = Callable[[Latents], Image]  # of pictures whose luminance it knows


def gray_image(luminance: Luminance) -> Image:
    """The picture without colour, of the lightness that is put back in the end: one gray for both.

    Which gray the paper takes is not known; CIE Lab's is ours.
    """
    return color.from_unit(color.gray(127.5 * (luminance + 1.0)))


def decode_vivid(
    decode: Decode,
    latents: Float[Array, "k b h w c"],
    z_gray: Latents,
    luminance: Luminance,
    scales: Float[Array, "b k"],
) -> Float[Array, "b k H W 3"]:
    """The decoded images of latents that each have a vividness already, unclamped.

    Without the colour that the decoder itself puts on gray (ours): of that tint the share is taken
    off that is missing to vividness 1, so that 0 is gray and 1 and more is what the decoder says.

    Args:
        latents: k of each picture.
        scales: the vividness that each has.
    """
    # One after the other, the gray ones first: one program of a decoder, and the memory of one.
    decoded = jax.lax.map(decode, jnp.concatenate([z_gray[None], latents]))
    tint = decoded[0] - gray_image(luminance)
    missing = jnp.maximum(1.0 - scales.T, 0.0)[..., None, None, None]
    return jnp.moveaxis(decoded[1:] - missing * tint, 0, 1)


def raw_versions(
    decode: Decode,
    latents: Latents,
    z_gray: Latents,
    luminance: Luminance,
    scales: Float[Array, "b k"],
) -> Float[Array, "b k H W 3"]:
    """One colouring at several vividnesses, as the decoder leaves it."""
    scaled = [cold_diffusion.rescale(latents, z_gray, one) for one in scales.T]
    return decode_vivid(decode, jnp.stack(scaled), z_gray, luminance, scales)


def keep_lightness(
    images: Float[Array, "b k H W 3"], luminance: Luminance
) -> Float[Array, "b k H W 3"]:
    """Versions of pictures with the pictures' own lightness, in [-1, 1].

    They differ in chroma only, so that nothing else tells a ranker which is which.
    """
    light = jnp.broadcast_to(127.5 * (luminance + 1.0)[:, None], (*images.shape[:-1], 1))
    shown = jnp.clip(color.to_unit(images), 0.0, 1.0)
    kept: Array = color.from_unit(color.with_lightness(shown, light))
    return kept


def versions(
    decode: Decode,
    latents: Latents,
    z_gray: Latents,
    luminance: Luminance,
    scales: Float[Array, "b k"],
) -> Float[Array, "b k H W 3"]:
    """One colouring at several vividnesses, with the lightness kept, in [-1, 1]."""
    raw = raw_versions(decode, latents, z_gray, luminance, scales)
    return keep_lightness(raw, luminance)


def build_ranker(config: Mapping[str, Any], dtype: Any = jnp.float32) -> Ranker:
    """The ranker that a release's `config.json` describes.

    Raises:
        UserError: a size is missing, or its normalization does not exist.
    """
    missing = [key for key in SIZES if key not in config]
    if missing:
        raise UserError(f"the model's configuration lacks {', '.join(missing)}: it has no ranker")
    normalization = config["ranker"].get("normalization", Ranker.normalization)
    one_of("ranker.normalization", normalization, NORMALIZATIONS)
    tower = CLIPVisionModel(**config["image_encoder"], dtype=dtype)
    return Ranker(tower, **config["ranker"], dtype=dtype)


def init_ranker(ranker: Ranker, key: PRNGKey) -> Params:
    """Random weights of the ranker, its tower among them."""
    side = ranker.vision.image_size
    params: Params = ranker.init(key, jnp.zeros((1, side, side, 3)))["params"]
    return params


def load_ranker(path: Path, dtype: Any = jnp.float32) -> tuple[Ranker, Params]:
    """The ranker of a release directory, and its parameters with CLIP's tower among them.

    Raises:
        UserError: the release has none, or a damaged one.
    """
    if "ranker" not in release.parts_in(path):
        raise UserError(f"'{path}' has no ranker to choose a vividness; give a number")
    config = release.read_config(path)
    ranker = build_ranker(config, dtype)
    expected = shapes.kept("ranker", config, lambda key: init_ranker(ranker, key))
    what, assemble = f"part 'ranker' of '{path}'", complete_ranker
    params = release.read_model(path, PARTS, expected, what, assemble=assemble, dtype=dtype)
    return ranker, params


def complete_ranker(ranker: Params, image_encoder: Params) -> Params:
    """The ranker's trained leaves, and CLIP's for the part of the tower that was frozen."""
    return _overlaid({"vision_model": image_encoder.get("vision_model", {})}, ranker)


def _overlaid(below: Params, above: Params) -> Params:
    merged = dict(below)
    for name, leaf in above.items():
        inner = isinstance(leaf, dict) and isinstance(below.get(name), dict)
        merged[name] = _overlaid(below[name], leaf) if inner else leaf
    return merged


def rank(ranker: Ranker, params: Params, images: Float[Array, "b k H W 3"]) -> Float[Array, "b k"]:
    """The ranker's scores of the versions of each picture."""
    flat = images.reshape(-1, *images.shape[2:])
    scores: Array = apply(ranker, params, flat)
    return scores.reshape(images.shape[:2])


def choose(scores: Float[Array, "b k"], scales: Float[Array, " k"]) -> Int[Array, " b"]:
    """The place of the version to take: the highest score, with ties broken towards 0.9.

    Versions whose score is within `TIE` of the best count as equally good, and of these the one
    whose scale is nearest to `TIE_SCALE` is taken, of two equally near ones the lower scale.
    """
    near = scores >= scores.max(axis=1, keepdims=True) - TIE
    # In float32 0.8 and 1.0 are not equally far from 0.9; rounded to 1e-4 they are.
    distance = jnp.round(jnp.abs(scales - TIE_SCALE), 4)
    nearest = jnp.where(near, distance, jnp.inf).min(axis=1, keepdims=True)
    tied = near & (distance == nearest)
    return jnp.where(tied, scales, jnp.inf).argmin(axis=1)


def likeliest(evidence: Float[Array, "b k"], scales: Float[Array, " k"]) -> Int[Array, " b"]:
    """The place of the version that is most likely right within `REACH`, of several the lowest."""
    near = jnp.abs(scales[:, None] - scales) <= REACH + 1e-3  # scales are multiples of 0.1
    probability = jax.nn.softmax(evidence, axis=1) @ near.astype(evidence.dtype)
    best = probability >= probability.max(axis=1, keepdims=True) - 1e-6
    return jnp.where(best, scales, jnp.inf).argmin(axis=1)
