"""What configuration files say about a model, in this project's words.

A setting is about one section of a release's `config.json`, or (section "") about all of it. Some
only repeat what the shapes say; `architecture` compares them. Settings of which the networks here
know one value only must have that value.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from colorjax.convert.readers import read_json
from colorjax.errors import UserError, one_of

Settings = dict[str, dict[str, Any]]

PREDICTIONS = {"eps": "eps", "epsilon": "eps", "v": "v", "v_prediction": "v"}
UNET = {
    "in_channels": "in_channels",
    "out_channels": "out_channels",
    "block_out_channels": "block_out_channels",
    "layers_per_block": "layers_per_block",
    "cross_attention_dim": "context_dim",
    "transformer_layers_per_block": "transformer_depth",
    "norm_num_groups": "norm_num_groups",
    "use_linear_projection": "linear_projection",
}
UNET_FIXED = {
    "act_fn": "silu",
    "attention_type": "default",
    "conv_in_kernel": 3,
    "conv_out_kernel": 3,
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "mid_block_scale_factor": 1,
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "norm_eps": 1e-5,
    "resnet_out_scale_factor": 1,
    "resnet_time_scale_shift": "default",
    "time_embedding_type": "positional",
}
UNET_FREE = (
    "addition_embed_type_num_heads",
    "attention_head_dim",
    "down_block_types",
    "num_attention_heads",
    "sample_size",
    "up_block_types",
    "upcast_attention",
)
VAE = {
    "block_out_channels": "block_out_channels",
    "in_channels": "in_channels",
    "latent_channels": "latent_channels",
    "layers_per_block": "layers_per_block",
    "norm_num_groups": "norm_num_groups",
    "out_channels": "out_channels",
}
VAE_FIXED = {
    "act_fn": "silu",
    "mid_block_add_attention": True,
    "use_post_quant_conv": True,
    "use_quant_conv": True,
}
VAE_FREE = ("down_block_types", "force_upcast", "sample_size", "scaling_factor", "up_block_types")
TOWER = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "hidden_act",
)
TEXT = (*TOWER, "vocab_size", "max_position_embeddings")
VISION = (*TOWER, "image_size", "patch_size")
OFFICIAL_UNET = {
    "in_channels": "in_channels",
    "out_channels": "out_channels",
    "gray_channels": "gray_channels",
    "num_res_blocks": "layers_per_block",
    "transformer_depth": "transformer_depth",
    "context_dim": "context_dim",
    "num_heads": "num_attention_heads",
    "num_head_channels": "head_channels",
    "use_linear_in_transformer": "linear_projection",
    "norm_num_groups": "norm_num_groups",
}
OFFICIAL_VAE = {
    "num_res_blocks": "layers_per_block",
    "z_channels": "latent_channels",
    "embed_dim": "latent_channels",
    "in_channels": "in_channels",
    "out_ch": "out_channels",
    "norm_num_groups": "norm_num_groups",
}


def official(path: Path) -> Settings:
    """Reads `--config FILE`: the original configurations' words, as in L-CAD's YAML, in JSON.

    Sections `unet`, `vae`, `clip_text`, `clip_vision`, and `scale_factor`, `linear_start`,
    `linear_end`, `timesteps`, `parameterization` beside them.
    """
    config = read_json(path)
    sections = ("unet", "vae", "clip_text", "clip_vision", "discriminator")
    scalars = ("scale_factor", "linear_start", "linear_end", "timesteps", "parameterization")
    for name in config:
        if name not in sections + scalars or (name in sections) != isinstance(config[name], dict):
            raise UserError(f"'{path}' has {name!r}, which is unknown or not what it should be")
    unet, vae = dict(config.get("unet", {})), dict(config.get("vae", {}))
    settings: Settings = {}
    levels = unet.pop("channel_mult", None)
    width = unet.pop("model_channels", None)
    factors = unet.pop("attention_resolutions", None)
    settings["unet"] = _translate(unet, OFFICIAL_UNET, {}, (), path)
    if levels and width:
        settings["unet"]["block_out_channels"] = tuple(width * n for n in levels)
    if levels and factors is not None:
        settings["unet"]["attention_levels"] = tuple(2**i in factors for i in range(len(levels)))
    levels, width = vae.pop("ch_mult", None), vae.pop("ch", None)
    free = ("double_z", "resolution", "dropout")
    settings["vae"] = _translate(vae, OFFICIAL_VAE, {"attn_resolutions": []}, free, path)
    if levels and width:
        settings["vae"]["block_out_channels"] = tuple(width * n for n in levels)
    settings["text_encoder"] = tower(config.get("clip_text", {}), TEXT, path)
    settings["image_encoder"] = tower(config.get("clip_vision", {}), VISION, path)
    schedule = {
        "num_timesteps": "timesteps",
        "beta_start": "linear_start",
        "beta_end": "linear_end",
    }
    settings["schedule"] = {ours: config[name] for ours, name in schedule.items() if name in config}
    settings[""] = {}
    if "scale_factor" in config:
        settings[""]["scaling_factor"] = config["scale_factor"]
    if "parameterization" in config:
        settings[""]["prediction_type"] = prediction(config["parameterization"], path)
    return settings


def diffusers_unet(path: Path) -> Settings:
    """What diffusers' `unet/config.json` says; `UserError` for what the network here cannot do."""
    config = read_json(path)
    unet = _translate(config, UNET, UNET_FIXED, UNET_FREE, path)
    # Diffusers' name is wrong for Stable Diffusion: it is the number of heads.
    heads = config.get("num_attention_heads") or config.get("attention_head_dim", 8)
    unet["num_attention_heads"] = tuple(heads) if isinstance(heads, list) else heads
    kinds = config.get("down_block_types")
    if kinds is not None:
        allowed = {"CrossAttnDownBlock2D": True, "DownBlock2D": False}
        unet["attention_levels"] = tuple(_known(kind, allowed, path) for kind in kinds)
    return {"unet": unet}


def diffusers_vae(path: Path) -> Settings:
    """What diffusers' `vae/config.json` says; `UserError` for what the network here cannot do."""
    config = read_json(path)
    for kind in config.get("down_block_types", []):
        _known(kind, {"DownEncoderBlock2D": True}, path)
    settings: Settings = {"vae": _translate(config, VAE, VAE_FIXED, VAE_FREE, path)}
    settings[""] = {"scaling_factor": config.get("scaling_factor", 0.18215)}
    return settings


def diffusers_scheduler(path: Path) -> Settings:
    """The noise schedule and the kind of prediction from diffusers' `scheduler_config.json`."""
    config = read_json(path)
    if config.get("beta_schedule", "scaled_linear") != "scaled_linear":
        raise UserError(f"'{path}' has beta_schedule {config['beta_schedule']!r}: not supported")
    names = {
        "num_timesteps": "num_train_timesteps",
        "beta_start": "beta_start",
        "beta_end": "beta_end",
    }
    schedule = {ours: config[name] for ours, name in names.items() if name in config}
    kind = prediction(config.get("prediction_type", "epsilon"), path)
    return {"schedule": schedule, "": {"prediction_type": kind}}


def prediction(kind: Any, path: Path) -> str:
    """This project's word, "eps" or "v", for what the denoiser estimates."""
    return _known(kind, PREDICTIONS, path)


def tower(config: Mapping[str, Any], keys: tuple[str, ...], path: Path) -> dict[str, Any]:
    """The settings of a transformers CLIP tower that its network depends on.

    The others have no effect on what it computes.
    """
    if config.get("layer_norm_eps", 1e-5) != 1e-5:
        raise UserError(f"'{path}' has layer_norm_eps {config['layer_norm_eps']}; it must be 1e-5")
    return {key: config[key] for key in keys if config.get(key) is not None}


def _known(kind: Any, allowed: Mapping[str, Any], path: Path) -> Any:
    one_of(f"a setting of '{path}'", kind, allowed)
    return allowed[kind]


def _translate(
    config: Mapping[str, Any],
    names: Mapping[str, str],
    fixed: Mapping[str, Any],
    free: tuple[str, ...],
    path: Path,
) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for key, value in config.items():
        if key in names:
            if value is not None:
                _agree(settings, names[key], value, path)
        elif key in fixed:
            if value is not None and value != fixed[key]:
                raise UserError(f"'{path}' has {key} {value!r}; only {fixed[key]!r} is supported")
        elif key not in free and not key.startswith("_") and value:
            raise UserError(f"'{path}' has {key} {value!r}, which is not supported")
    return settings


def _agree(settings: dict[str, Any], key: str, value: Any, path: Path) -> None:
    value = tuple(value) if isinstance(value, list) else value
    if settings.setdefault(key, value) != value:
        raise UserError(f"'{path}' contradicts itself about {key}")
