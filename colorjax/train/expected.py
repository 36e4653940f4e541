"""What parts of a release must be, by its own `config.json`: compared before they are read.

A training may start from anybody's release. Its parts are those that colouring with it would take,
and some that only training does.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from colorjax import release
from colorjax.errors import UserError
from colorjax.maths.types import Params
from colorjax.methods import consistency, diffusing_colors, lcad, stable_diffusion
from colorjax.models.clip import CLIP, CLIPTextModel, CLIPVisionModel
from colorjax.models.vae import AutoencoderKL, LuminanceEncoder
from colorjax.release import shapes

Config = Mapping[str, Any]
# What a file need not have: extensions that a conversion left out; those leaves of a tower that a
# ranker leaves as they are; projections, which only a tower has that shares a space with words.
MAY_LACK = {
    "unet": "cec_",
    "ranker": "^(?!head/)",
    "image_encoder": "^(?!vision_model/)",
}


def of_part(part: str, directory: Path) -> release.Model:
    """A part's shapes, worked out without reading a tensor.

    Raises:
        UserError: the release does not say of what sizes the part is.
    """
    config = release.read_config(directory)
    try:
        tree = shapes.kept(f"part {part}", config, lambda key: _INIT[part](config, key))
    except KeyError as error:
        raise UserError(
            f"'{directory}' has a part {part!r}, and its config.json no section {error}; get the "
            "release again"
        ) from error
    return release.Model(tree, f"part {part!r} of '{directory}'", may_lack=MAY_LACK.get(part, "^$"))


def _text_encoder(config: Config, key: Any) -> Any:
    module = CLIPTextModel(**stable_diffusion.sizes(config["text_encoder"]))
    return module.init(key, jnp.zeros((1, module.max_position_embeddings), jnp.int32))["params"]


def _image_encoder(config: Config, key: Any) -> Any:
    vision = CLIPVisionModel(**stable_diffusion.sizes(config["image_encoder"]))
    pixels = jnp.zeros((1, vision.image_size, vision.image_size, 3))
    if "projection_dim" not in config:
        return {"vision_model": vision.init(key, pixels)["params"]}
    text = CLIPTextModel(**stable_diffusion.sizes(config["text_encoder"]))
    tokens = jnp.zeros((1, text.max_position_embeddings), jnp.int32)
    both = CLIP(text, vision, config["projection_dim"]).init(key, pixels, tokens)["params"]
    return {name: tree for name, tree in both.items() if name != "text_model"}


def _vae(config: Config, key: Any) -> Any:
    vae = AutoencoderKL(**stable_diffusion.sizes(config["vae"]))
    return vae.init(key, jnp.zeros((1, vae.factor, vae.factor, 3)))["params"]


def _luminance_encoder(config: Config, key: Any) -> Any:
    vae = AutoencoderKL(**stable_diffusion.sizes(config["vae"]))
    encoder = LuminanceEncoder(vae.block_out_channels, vae.layers_per_block, vae.norm_num_groups)
    return encoder.init(key, jnp.zeros((1, vae.factor, vae.factor, 1)))["params"]


def _unet(config: Config, key: Any) -> Any:
    return _unet_of(lcad.build(config), key)


def _plain_unet(config: Config, key: Any) -> Any:
    return _unet_of(stable_diffusion.build(config), key)


def _unet_of(model: stable_diffusion.StableDiffusion, key: Any) -> Any:
    # Alone: to trace every other network too takes twice as long.
    return model.unet.init(key, *stable_diffusion.unet_inputs(model))["params"]


def _cold_unet(config: Config, key: Any) -> Any:
    return diffusing_colors.init_unet(diffusing_colors.build(config), key)


def _consistency_unet(config: Config, key: Any) -> Any:
    return consistency.init(lcad.build(config), key)


def _ranker(config: Config, key: Any) -> Any:
    return diffusing_colors.init_ranker(diffusing_colors.build(config), key)


_INIT: dict[str, Callable[[Config, Any], Params]] = {
    "text_encoder": _text_encoder,
    "image_encoder": _image_encoder,
    "vae": _vae,
    "luminance_encoder": _luminance_encoder,
    "unet": _unet,
    "text_to_image_unet": _plain_unet,
    "cold_unet": _cold_unet,
    "distilled_unet": _cold_unet,
    "consistency_unet": _consistency_unet,
    "ranker": _ranker,
}
