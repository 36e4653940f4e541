"""From the original Stable Diffusion / L-CAD key names to parts and paths of this project.

Only names and layouts, no numbers: a key is renamed by rules, a tensor is turned from PyTorch's
layout into Flax's.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np


class Target(NamedTuple):
    """Where a tensor goes: a part of the release and a path in its tree."""

    part: str
    path: str


LEVELS = 4
RESNETS_PER_LEVEL = 2

# The first matching prefix decides part and name table; the rest of the key is renamed.
_RESNET = [
    (r"in_layers\.0", "norm1"),
    (r"in_layers\.2", "conv1"),
    (r"emb_layers\.1", "time_emb_proj"),
    (r"out_layers\.0", "norm2"),
    (r"out_layers\.3", "conv2"),
    (r"skip_connection", "conv_shortcut"),
    (r"nin_shortcut", "conv_shortcut"),
]
_PIXEL_ATTENTION = {
    "norm": "group_norm",
    "q": "to_q",
    "k": "to_k",
    "v": "to_v",
    "proj_out": "to_out.0",
}
_UNET_ENDS = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}


def _resnet(name: str) -> str:
    for pattern, new in _RESNET:
        name = re.sub(rf"^{pattern}(?=\.)", new, name)
    return name


def _unet_name(key: str) -> str:
    """LDM's flat block numbers to levels: three input and three output blocks per level."""
    for old, new in _UNET_ENDS.items():
        if key.startswith(old + "."):
            return new + key[len(old) :]
    if match := re.fullmatch(r"middle_block\.([012])\.(.+)", key):
        index, rest = int(match[1]), match[2]
        if index == 1:
            return f"mid_block.attentions.0.{rest}"
        return f"mid_block.resnets.{index // 2}.{_resnet(rest)}"
    match = re.fullmatch(r"(input|output)_blocks\.(\d+)\.(\d)\.(.+)", key)
    if match is None:
        return key
    side, index, slot, rest = match[1], int(match[2]), int(match[3]), match[4]
    per_level = RESNETS_PER_LEVEL + 1
    level, i = divmod(index - 1 if side == "input" else index, per_level)
    block = f"{'down' if side == 'input' else 'up'}_blocks.{level}"
    if rest.startswith("op."):
        return f"{block}.downsamplers.0.conv.{rest[3:]}"
    if rest.startswith("conv."):
        return f"{block}.upsamplers.0.{rest}"
    return f"{block}.resnets.{i}.{_resnet(rest)}" if slot == 0 else f"{block}.attentions.{i}.{rest}"


def _vae_name(key: str) -> str:
    """The VAE's encoder, decoder and luminance encoder; `up` counts from the finest level."""
    key = re.sub(r"\bnorm_out\b", "conv_norm_out", key)
    key = re.sub(r"\bzero_conv_mid([12])\b", lambda m: f"mid_block.zero_convs.{int(m[1]) - 1}", key)
    key = re.sub(r"\bmid\.block_([12])\.", lambda m: f"mid_block.resnets.{int(m[1]) - 1}.", key)
    if match := re.fullmatch(r"(.*)\bmid\.attn_1\.(\w+)\.(weight|bias)", key):
        return f"{match[1]}mid_block.attentions.0.{_PIXEL_ATTENTION[match[2]]}.{match[3]}"
    key = re.sub(r"\bdown\.(\d)\.", r"down_blocks.\1.", key)
    key = re.sub(r"\bup\.(\d)\.", lambda m: f"up_blocks.{LEVELS - 1 - int(m[1])}.", key)
    key = re.sub(r"\.block\.(\d)\.", r".resnets.\1.", key)
    key = re.sub(r"\.zero_conv\.(\d)\.", r".zero_convs.\1.", key)
    key = re.sub(r"\.(down|up)sample\.conv\.", r".\1samplers.0.conv.", key)
    return key.replace("nin_shortcut", "conv_shortcut")


_PREFIXES = (
    ("model.diffusion_model.", "unet", _unet_name),
    ("first_stage_model.g_encoder.", "luminance_encoder", _vae_name),
    ("first_stage_model.", "vae", _vae_name),
    ("cond_stage_model.transformer.text_model.", "text_encoder", lambda key: key),
)
# What has no place in our trees; it travels along untouched.
EXTRAS = (
    r"[a-z0-9_]+",  # schedule buffers, and logvar: keys without a dot
    r"cond_stage_model\.transformer\.text_model\.embeddings\.position_ids",
    r"first_stage_model\.g_encoder\.(norm_out|conv_out)\..+",
)


def from_ldm(key: str) -> Target | None:
    """The place of an original key; None for one of `EXTRAS`.

    Raises:
        KeyError: a key that belongs nowhere.
    """
    if any(re.fullmatch(pattern, key) for pattern in EXTRAS):
        return None
    for prefix, part, rename in _PREFIXES:
        if key.startswith(prefix):
            return Target(part, _path(rename(key[len(prefix) :])))
    raise KeyError(key)


def _path(name: str) -> str:
    """Dots to slashes; a number joins the name before it: `resnets.1.norm1` to `resnets_1/norm1`."""
    return re.sub(r"\.(\d+)", r"_\1", name).replace(".", "/")


def to_flax(path: str, tensor: np.ndarray) -> tuple[str, np.ndarray]:
    """Path and tensor of a PyTorch `weight` or `bias` as Flax names and lays them out."""
    *parents, leaf = path.split("/")
    if leaf == "weight":
        if "embedding" in parents[-1] and tensor.ndim == 2 and parents[-1] != "patch_embedding":
            leaf = "embedding"
        elif tensor.ndim == 1:
            leaf = "scale"
        elif tensor.ndim == 2:
            leaf, tensor = "kernel", tensor.T
        elif re.fullmatch(r"to_(q|k|v|out_0)", parents[-1]):  # linear layers kept as 1x1 kernels
            leaf, tensor = "kernel", tensor[:, :, 0, 0].T
        else:
            leaf, tensor = "kernel", tensor.transpose(2, 3, 1, 0)
    return "/".join([*parents, leaf]), np.ascontiguousarray(tensor)


def split_fused(kernel: np.ndarray, latent_channels: int) -> tuple[np.ndarray, np.ndarray]:
    """L-CAD's fused first kernel [h, w, latents + luminance, out] as `conv_in` and extension."""
    return kernel[:, :, :latent_channels], kernel[:, :, latent_channels:]


def lcad_parts(
    state: Mapping[str, np.ndarray], latent_channels: int = 4
) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, np.ndarray]]:
    """Flat parts of a released L-CAD checkpoint, and the tensors that have no place in them.

    Raises:
        KeyError: a key that belongs nowhere.
    """
    parts: dict[str, dict[str, np.ndarray]] = {}
    extras: dict[str, np.ndarray] = {}
    for key, tensor in state.items():
        target = from_ldm(key)
        if target is None:
            extras[key] = tensor
            continue
        path, value = to_flax(target.path, tensor)
        flat = parts.setdefault(target.part, {})
        if (target.part, path) == ("unet", "conv_in/kernel"):
            flat[path], flat["cec_conv_in/kernel"] = split_fused(value, latent_channels)
        else:
            flat[path] = value
    return parts, extras
