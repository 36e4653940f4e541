"""Masks from words: where in a gray photograph the things are that phrases name, by CLIPSeg."""

import functools
from collections.abc import Sequence
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from PIL import Image

from colorjax import release
from colorjax.data import phrases as language
from colorjax.data.tokenizer import FILES, Tokenizer
from colorjax.errors import UserError
from colorjax.maths import color
from colorjax.maths.types import Array, Params, TokenIds
from colorjax.models import clipseg
from colorjax.models.layers import apply
from colorjax.release import shapes

PART = "clipseg"
# Below this share of a map's largest value nothing is a thing of its own.
_THING = 0.5


class Segmenter:
    """CLIPSeg, loaded once. Compiles once for each number of phrases.

    What it sees is gray, repeated to three channels, and it was trained on colour: so colours are
    taken out of the phrases, which would only mislead. Phrases that are the same then ("the blue
    cup", "the red cup") are about as many things of one kind; they get these from left to right.
    """

    def __init__(self, directory: Path | None = None) -> None:
        """Reads a directory that `convert --format=clipseg` wrote; by default the cache's.

        Raises:
            UserError: it is not there, or damaged.
        """
        directory = directory or release.cached(PART)
        if PART not in release.parts_in(directory):
            raise UserError(
                f"masks from words need CLIPSeg's weights, which '{directory}' has not: get them "
                f"by python -m colorjax.fetch {PART}, which puts them into '{release.cached(PART)}'"
            )
        config = release.read_config(directory).get(PART)
        if config is None:
            raise UserError(
                f"'{directory}' has no section {PART!r} in its config.json; get it again"
            )
        self._picture = config["picture"]
        text = config["model"]["text_config"]
        self._tokenize = Tokenizer(
            release.tokenizer(directory, FILES),
            text["max_position_embeddings"],
            text["vocab_size"],
        )
        model, side = clipseg.build(config["model"]), config["model"]["vision_config"]["image_size"]
        ids = jnp.zeros((1, self._tokenize.max_length), jnp.int32)
        inputs = jnp.zeros((1, side, side, 3)), ids
        expected = shapes.kept(PART, config, lambda key: model.init(key, *inputs)["params"])
        what = f"part {PART!r} of '{directory}'"
        self._params = release.read_model(directory, [PART], expected, what)
        self._run = jax.jit(functools.partial(_probabilities, model))

    def __call__(
        self,
        lightness: Float[np.ndarray, "H W"],
        phrases: Sequence[str],
        height: int,
        width: int,
    ) -> Float[np.ndarray, "k height width"]:
        """How likely each pixel belongs to what each phrase names, in [0,1].

        Args:
            lightness: of the photograph, L in 0..100, at any size: CLIPSeg sees it squeezed to
                a square (352 pixels in the released weights).
            phrases: one or more.

        Raises:
            UserError: there are fewer things of a kind than phrases that name it.
        """
        words = [_without_colours(phrase) for phrase in phrases]
        kinds = list(dict.fromkeys(words))
        image = preprocess(lightness, **self._picture)
        maps = np.asarray(self._run(self._params, image, self._tokenize(kinds)))
        masks = np.empty((len(phrases), *maps.shape[1:]), np.float32)
        for kind, probability in zip(kinds, maps, strict=True):
            same = [i for i, word in enumerate(words) if word == kind]
            if len(same) > 1:
                named = [phrases[i] for i in same]
                masks[same] = things_from_left_to_right(probability, named)
            else:
                masks[same[0]] = probability
        return np.stack(
            [cv2.resize(m, (width, height), interpolation=cv2.INTER_LINEAR) for m in masks]
        )


def preprocess(
    lightness: Float[np.ndarray, "H W"],
    size: int,
    image_mean: Sequence[float],
    image_std: Sequence[float],
) -> Float[np.ndarray, "1 size size 3"]:
    """As transformers' CLIPSegProcessor: bytes, a square, bilinear, and each channel normalized."""
    # A table, since a photograph may have 64 million pixels.
    levels = np.linspace(0.0, 100.0, 1025, dtype=np.float32)
    grays = color.lab_to_srgb(np.stack([levels, 0.0 * levels, 0.0 * levels], axis=-1))[..., 1]
    gray = np.clip(np.interp(lightness, levels, grays), 0.0, 1.0)
    picture = Image.fromarray(np.round(gray * 255.0).astype(np.uint8))
    resized = np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR))
    mean, deviation = np.asarray(image_mean), np.asarray(image_std)
    normalized: np.ndarray = (resized[None, :, :, None] / 255.0 - mean) / deviation
    return normalized.astype(np.float32)


def _probabilities(
    model: clipseg.CLIPSeg, params: Params, image: Array, ids: TokenIds
) -> Float[Array, "k h w"]:
    with jax.default_matmul_precision("highest"):
        logits: Array = apply(model, params, image, ids)
    return jax.nn.sigmoid(logits.astype(jnp.float32))


def _without_colours(phrase: str) -> str:
    return language.without_colours(phrase, language.colour_phrases(phrase)).strip().lower()


def things_from_left_to_right(
    probability: Float[np.ndarray, "h w"], phrases: Sequence[str]
) -> Float[np.ndarray, "k h w"]:
    """One connected part of a map for each phrase: the largest ones, in the order of their centres.

    A part is where the map has at least half of its largest value; around it the mask is 0.

    Raises:
        UserError: there are fewer parts than phrases.
    """
    count = len(phrases)
    parts = (probability >= _THING * probability.max()).astype(np.uint8)
    labels, numbered, statistics, centres = cv2.connectedComponentsWithStats(parts, connectivity=8)
    if labels - 1 < count:
        raise UserError(
            f"{' and '.join(map(repr, phrases))} are {count} things of one kind, but in gray only "
            f"{labels - 1} can be told apart; give their masks as files"
        )
    order = np.argsort(-statistics[1:, cv2.CC_STAT_AREA], kind="stable")[:count] + 1
    order = order[np.argsort(centres[order, 0], kind="stable")]
    return np.stack([np.where(numbered == label, probability, 0.0) for label in order])
