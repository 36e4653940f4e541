"""The leaves that the networks of a configuration have, and whether a file has all of them."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from colorjax.convert import own, rules
from colorjax.convert.formats import Source
from colorjax.errors import UserError
from colorjax.models import clipseg
from colorjax.models.clip import CLIPTextModel, CLIPVisionModel
from colorjax.models.inception import SIDE, Inception
from colorjax.models.perceptual import Lpips
from colorjax.models.unet import UNet
from colorjax.models.vae import AutoencoderKL, LuminanceEncoder

Shapes = dict[str, tuple[int, ...]]
LEAVES = ("kernel", "bias", "scale", "embedding", "class_embedding", "logit_scale")


def leaves(config: Mapping[str, Any], part: str, parts: Mapping[str, Any]) -> Shapes:
    """Paths and shapes of a part, by tracing its network; nothing is computed."""
    if own.is_own(config, part):
        return own.leaves(config, part, parts[part])
    if part == "text_encoder":
        return _init(CLIPTextModel(**config[part]), _like(1, 1, dtype=jnp.int32))
    if part == "image_encoder":
        return _image_encoder(config, parts[part])
    if part == "unet":
        return _unet(config, parts)
    if part == "clipseg":
        network = clipseg.build(config[part]["model"])
        side = network.vision.image_size
        return _init(network, _like(1, side, side, 3), _like(1, 1, dtype=jnp.int32))
    if part == "inception":
        return _init(Inception(), _like(1, SIDE, SIDE, 3))
    if part.startswith("lpips_"):
        return _init(Lpips(part.removeprefix("lpips_")), *[_like(1, 64, 64, 3)] * 2)
    vae = AutoencoderKL(**config.get("vae", {}))
    side = vae.factor
    if part == "vae":
        return _init(vae, _like(1, side, side, 3))
    encoder = LuminanceEncoder(vae.block_out_channels, vae.layers_per_block, vae.norm_num_groups)
    return _init(encoder, _like(1, side, side, 1))


@functools.lru_cache(maxsize=16)
def _init(module: Any, *inputs: jax.ShapeDtypeStruct | None) -> Shapes:
    tree = jax.eval_shape(module.init, jax.random.key(0), *inputs)["params"]
    return {path: leaf.shape for path, leaf in flatten_dict(tree, sep="/").items()}


def _like(*shape: int, dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


def _unet(config: Mapping[str, Any], parts: Mapping[str, Any]) -> Shapes:
    unet = UNet(**config["unet"])
    side = 2 ** (len(unet.block_out_channels) - 1)
    feature = None
    if unet.cec != "none":
        kernel = parts["unet"]["cec_conv_in/kernel"]
        sizes = config.get("vae", {}).get("block_out_channels", (kernel.shape[-2],))
        feature = _like(1, side, side, sizes[-1])
    inner = [leaf for path, leaf in parts["unet"].items() if path.endswith("attn2/to_k/kernel")]
    width = config.get("text_encoder", {}).get("hidden_size", inner[0].shape[0] if inner else 1)
    latents = _like(1, side, side, unet.out_channels)
    return _init(unet, latents, _like(1, dtype=jnp.int32), _like(1, 1, width), feature)


def _image_encoder(config: Mapping[str, Any], flat: Mapping[str, Any]) -> Shapes:
    """The tower, and those of projections and scale that files of its kind have."""
    tower = CLIPVisionModel(**config["image_encoder"])
    side = tower.image_size
    shapes = {
        f"vision_model/{path}": shape
        for path, shape in _init(tower, _like(1, side, side, 3)).items()
    }
    if "visual_projection/kernel" in flat:
        shapes["visual_projection/kernel"] = (tower.hidden_size, config["projection_dim"])
    whole = "text_encoder" in config and "unet" not in config  # CLIP with both its towers
    if whole or "logit_scale" in flat:
        text = config["text_encoder"]["hidden_size"]
        dimension = config.get("projection_dim", text)
        shapes["visual_projection/kernel"] = (tower.hidden_size, dimension)
        shapes["text_projection/kernel"] = (text, dimension)
        shapes["logit_scale"] = ()
    return shapes


def check(source: Source, config: Mapping[str, Any], wanted: tuple[str, ...]) -> None:
    """Makes sure that every key has its place and every leaf its tensor, of the right shape.

    Raises:
        UserError: it is not so; the message has both lists.
    """
    keys = [f"{key} {tensor.shape}" for key, tensor in source.unknown.items()]
    empty: list[str] = []
    for part in sorted({*wanted, *source.parts}):
        present = source.parts.get(part, {})
        shapes = leaves(config, part, source.parts) if part in wanted and present else {}
        if part in wanted and not present:
            empty.append(f"{part}/* (all of it)")
        for path, leaf in present.items():
            if shapes.get(path) != leaf.shape:
                keys.append(f"{source.keys[part, path]} {_stored(path, leaf.shape)}")
        for path, shape in shapes.items():
            if path not in present or present[path].shape != shape:
                empty.append(f"{part}/{path} {_stored(path, shape)}")
    if keys or empty:
        raise misfit(keys, empty)


def unreadable(source: Source, pattern: str) -> UserError:
    """The error of a file that does not even show the sizes of its model; see `misfit`."""
    keys = [f"{key} {tensor.shape}" for key, tensor in source.unknown.items()]
    for (part, path), key in source.keys.items():
        if path.split("/")[-1] not in LEAVES:
            keys.append(f"{key} {source.parts[part][path].shape}")
    return misfit(keys, [f"{pattern} (which tells the model's size)"])


def misfit(keys: list[str], empty: list[str]) -> UserError:
    """The error that lists the keys without a place and the leaves without a tensor."""
    return UserError(
        f"the weights do not fit: {len(keys)} keys have no place and {len(empty)} leaves of the "
        "model stay empty (both with shapes as PyTorch has them)"
        f"\nkeys without a place:{_listed(keys)}\nempty leaves:{_listed(empty)}"
    )


def _stored(path: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    return rules.to_torch(path, np.broadcast_to(np.float32(0), shape))[1].shape


def _listed(lines: list[str]) -> str:
    return "".join(f"\n  {line}" for line in lines) or " none"
