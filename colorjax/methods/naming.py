"""What a gray photograph shows, in words: CLIP's zero-shot classification (Radford et al. 2021).

The paper's section 3.1 compares a picture's embedding with those of "a photo of a dog" and its
like. Here the picture is gray, as the photographs to be coloured are, and no word says so: what is
found becomes a prompt, and a model told "a black and white photo" would leave it gray.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from colorjax import release
from colorjax.errors import UserError, one_of
from colorjax.maths import color
from colorjax.maths.types import Array, Params, TokenIds
from colorjax.methods.vividness import gray_image
from colorjax.models.clip import CLIP, CLIPTextModel, CLIPVisionModel
from colorjax.models.ranker import NORMALIZATIONS
from colorjax.release import shapes

PARTS = ("text_encoder", "image_encoder")
# A caption is taken if it is at least as probable as all others of the list together; otherwise
# nothing is said of the photograph, since a wrong name costs more than none.
LEAST = 0.5


class Namer(NamedTuple):
    """CLIP's two towers, and how its pictures are normalised (a name of `NORMALIZATIONS`)."""

    clip: CLIP
    normalization: str


def build(config: Mapping[str, Any], dtype: Any = jnp.float32) -> Namer:
    """The towers that a release's `config.json` describes.

    Raises:
        UserError: a size is missing, or the normalization does not exist.
    """
    missing = [key for key in (*PARTS, "projection_dim") if key not in config]
    if missing:
        raise UserError(f"the model's configuration lacks {', '.join(missing)}: it names nothing")
    normalization = config.get("ranker", {}).get("normalization", "clip")
    one_of("ranker.normalization", normalization, NORMALIZATIONS)
    text = CLIPTextModel(**config["text_encoder"], dtype=dtype)
    vision = CLIPVisionModel(**config["image_encoder"], dtype=dtype)
    return Namer(CLIP(text, vision, int(config["projection_dim"])), normalization)


def init(namer: Namer, key: Any) -> Params:
    """Random weights of both towers, as `load` returns them."""
    side = namer.clip.vision.image_size
    ids = jnp.zeros((1, namer.clip.text.max_position_embeddings), jnp.int32)
    params: Params = namer.clip.init(key, jnp.zeros((1, side, side, 3)), ids)["params"]
    return params


def load(path: Path, dtype: Any = jnp.float32) -> tuple[Namer, Params]:
    """The namer of a release directory, and its parameters.

    Raises:
        UserError: the release lacks an image tower that shares a space with its text encoder.
    """
    config = release.read_config(path)
    namer = build(config, dtype)
    expected = shapes.kept("namer", config, lambda key: init(namer, key))

    def assemble(text: Params, image: Params) -> Params:
        if "visual_projection" not in image:
            raise UserError(f"'{path}' has an image tower without a projection: it names nothing")
        return {"text_model": text, **image}

    what = f"CLIP of '{path}'"
    params = release.read_model(path, PARTS, expected, what, assemble=assemble, dtype=dtype)
    return namer, params


def embed(namer: Namer, params: Params, input_ids: TokenIds) -> Float[Array, "b p"]:
    """Captions as unit vectors in the space that both towers share."""
    return _unit(namer.clip.apply({"params": params}, input_ids, method=CLIP.encode_text))


def probabilities(
    namer: Namer,
    params: Params,
    lightness: Float[Array, "b side side"],
    captions: Float[Array, "n p"],
) -> Float[Array, "b n"]:
    """How probable each of n captions is of each photograph, of these n alone.

    Args:
        lightness: CIE L* in 0..100, at the tower's own size.
        captions: see `embed`.

    Returns:
        The softmax over the captions of the scaled cosine similarities.
    """
    image = gray_image(color.luminance_from_lightness(jnp.clip(lightness, 0.0, 100.0))[..., None])
    mean, deviation = (jnp.asarray(v) for v in NORMALIZATIONS[namer.normalization])
    normal = (color.to_unit(image) - mean) / deviation
    shown = _unit(namer.clip.apply({"params": params}, normal, method=CLIP.encode_image))
    return jax.nn.softmax(jnp.exp(params["logit_scale"]) * shown @ captions.T, axis=-1)


class Classifier:
    """Which caption of a list a gray photograph has most likely; none names a colour or an age.

    The list is the release's `subjects`, or else `colorjax/data/subjects.txt`.
    """

    def __init__(self, directory: Path, tokenize: Callable[[Sequence[str]], TokenIds]) -> None:
        """Loads the towers of a release.

        Raises:
            UserError: the release has no image tower that shares a space with its text encoder.
        """
        namer, params = load(directory)
        self.subjects = subjects(release.read_config(directory))
        self.side = namer.clip.vision.image_size
        self._captions = jax.jit(functools.partial(embed, namer))(params, tokenize(self.subjects))
        self._run = jax.jit(functools.partial(probabilities, namer))
        self._params = jax.tree.map(jnp.asarray, params)

    def __call__(self, lightness: Float[np.ndarray, "side side"]) -> str | None:
        """The caption of a photograph of CIE L* 0..100, `side` pixels wide; None if unlikely."""
        chances = np.asarray(self._run(self._params, lightness[None], self._captions))[0]
        best = int(chances.argmax())
        return self.subjects[best] if chances[best] >= LEAST else None


def subjects(config: Mapping[str, Any]) -> list[str]:
    """The captions that photographs are compared with, by a release's `config.json`."""
    own = config.get("subjects")
    if own is not None:
        return list(own)
    return resources.files("colorjax.data").joinpath("subjects.txt").read_text().splitlines()


def _unit(vectors: Array) -> Array:
    return vectors / jnp.linalg.norm(vectors, axis=-1, keepdims=True)
