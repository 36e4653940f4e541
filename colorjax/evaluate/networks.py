"""The networks that measures need, and which weights they have: none is there unless asked for."""

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int32

from colorjax import release
from colorjax.data import pipeline
from colorjax.data.tokenizer import FILES, Tokenizer
from colorjax.errors import UserError
from colorjax.maths import color
from colorjax.maths.types import Array, Image, Params
from colorjax.methods.distances import read_lpips
from colorjax.models.clip import CLIP, CLIPTextModel, CLIPVisionModel
from colorjax.models.inception import Inception
from colorjax.models.layers import apply
from colorjax.models.ranker import NORMALIZATIONS
from colorjax.release import shapes

INCEPTION = "inception"
FEATURES = 2048  # of Inception's


class Clip(NamedTuple):
    """Both towers of a release, and how its pictures are normalised."""

    model: CLIP
    normalization: str  # of `models.ranker.NORMALIZATIONS`

    def embed_image(self, params: Params, image: Image) -> Float[Array, "b p"]:
        """The projected embeddings of pictures of any size in [-1,1]."""
        side = self.model.vision.image_size
        if image.shape[1:3] != (side, side):
            image = jax.image.resize(image, (len(image), side, side, 3), "bicubic")
        mean, deviation = map(jnp.array, NORMALIZATIONS[self.normalization])
        normal = (color.to_unit(image) - mean) / deviation
        embedded: Array = apply(self.model, params, normal, method="encode_image")
        return embedded

    def embed_text(self, params: Params, input_ids: Int32[Array, "b n"]) -> Float[Array, "b p"]:
        """The projected embeddings of captions."""
        embedded: Array = apply(self.model, params, input_ids, method="encode_text")
        return embedded


class Networks(NamedTuple):
    """What is measured with, static; the weights are `params`, by the same names.

    Attributes:
        lpips: the backbones of LPIPS, of `models.perceptual`; VGG16 gives features as well.
        backends: what a result says of each.
    """

    lpips: tuple[str, ...]
    inception: bool
    clip: Clip | None
    params: Params
    tokenize: pipeline.Tokenize | None
    backends: dict[str, str]


def load(
    vgg16: str | None = None,
    alexnet: str | None = None,
    inception: str | None = None,
    clip: str | None = None,
) -> Networks:
    """Those that are asked for: None is not, "" is from where `convert` put it.

    Raises:
        UserError: weights are not there, or damaged.
    """
    params: Params = {}
    backends: dict[str, str] = {}
    backbones = []
    for backbone, where in (("vgg16", vgg16), ("alexnet", alexnet)):
        if where is not None:
            params[backbone] = read_lpips(backbone, where)
            part = f"lpips_{backbone}"
            backends[part] = release.digest(release.find_lpips(backbone, where), part)
            backbones.append(backbone)
    if inception is not None:
        params[INCEPTION], backends[INCEPTION] = _inception(inception)
    tower, tokenize = None, None
    if clip is not None:
        tower, params["clip"], tokenize = _clip(release.locate(clip or "bundled"))
        backends["clip"] = clip or "bundled"
    return Networks(tuple(backbones), inception is not None, tower, params, tokenize, backends)


def _inception(where: str) -> tuple[Params, str]:
    path = Path(where) if where else release.cached(INCEPTION)
    if INCEPTION not in release.parts_in(path):
        raise UserError(
            f"a FID needs the weights of pytorch-fid's Inception, which '{path}' has not: get them "
            "by python -m colorjax.fetch inception, and leave DIR out"
        )
    picture = jnp.zeros((1, 299, 299, 3))
    expected = shapes.kept(INCEPTION, {}, lambda key: Inception().init(key, picture)["params"])
    params = release.read_model(path, [INCEPTION], expected, f"part {INCEPTION!r} of '{path}'")
    return params, release.digest(path, INCEPTION)


def _clip(directory: Path) -> tuple[Clip, Params, Tokenizer]:
    config = release.read_config(directory)

    def assemble(text: Params, image: Params) -> Params:
        params = {"text_model": text, **image}
        if missing := {"text_projection", "visual_projection"} - params.keys():
            raise UserError(
                f"'{directory}' has no {', '.join(sorted(missing))}, which a CLIP score needs; "
                "give another model by --clip, such as 'bundled'"
            )
        return params

    model = CLIP(
        CLIPTextModel(**config["text_encoder"]),
        CLIPVisionModel(**config["image_encoder"]),
        config["projection_dim"],
    )
    length, size = config["text_encoder"]["max_position_embeddings"], model.vision.image_size
    inputs = jnp.zeros((1, size, size, 3)), jnp.zeros((1, length), jnp.int32)
    expected = shapes.kept("clip", config, lambda key: model.init(key, *inputs)["params"])
    params = release.read_model(
        directory,
        ("text_encoder", "image_encoder"),
        expected,
        f"CLIP of '{directory}'",
        assemble=assemble,
        may_lack="^logit_scale$",
    )
    params["logit_scale"] = np.zeros((), np.float32)  # scales all similarities alike
    tokenize = Tokenizer(
        release.tokenizer(directory, FILES), length, config["text_encoder"]["vocab_size"]
    )
    normalization = config.get("ranker", {}).get("normalization", "clip")
    return Clip(model, normalization), params, tokenize
