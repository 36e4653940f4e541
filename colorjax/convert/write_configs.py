"""The configuration files that diffusers and transformers read, from a release's."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

from colorjax.convert import architecture
from colorjax.convert.readers import Tensors

Parts = Mapping[str, Tensors]
PREDICTIONS = {"eps": "epsilon", "v": "v_prediction"}


def _factor(config: Mapping[str, Any]) -> int:
    """Pixels of a picture to one of its latents, in height or width."""
    return 2 ** (len(config.get("vae", {}).get("block_out_channels", range(4))) - 1)


def _unet(config: Mapping[str, Any], parts: Parts, part: str = "unet") -> dict[str, Any]:
    sizes = config["unet"]
    attention = list(sizes["attention_levels"])
    shapes = architecture.READ["unet"](parts[part])
    heads = list(sizes["num_attention_heads"])
    return {
        "_class_name": "UNet2DConditionModel",
        "attention_head_dim": heads[0] if len(set(heads)) == 1 else heads,
        "block_out_channels": list(sizes["block_out_channels"]),
        "cross_attention_dim": shapes["context_dim"],
        "down_block_types": [
            "CrossAttnDownBlock2D" if level else "DownBlock2D" for level in attention
        ],
        "in_channels": shapes["in_channels"],
        "layers_per_block": sizes["layers_per_block"],
        "norm_num_groups": sizes["norm_num_groups"],
        "out_channels": sizes["out_channels"],
        "sample_size": config["image_size"] // _factor(config),
        "transformer_layers_per_block": sizes["transformer_depth"],
        "up_block_types": [
            "CrossAttnUpBlock2D" if level else "UpBlock2D" for level in reversed(attention)
        ],
        "use_linear_projection": sizes["linear_projection"],
    }


def _vae(config: Mapping[str, Any], parts: Parts) -> dict[str, Any]:
    sizes = config["vae"]
    levels = len(sizes["block_out_channels"])
    return {
        "_class_name": "AutoencoderKL",
        "act_fn": "silu",
        "block_out_channels": list(sizes["block_out_channels"]),
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "in_channels": 3,
        "latent_channels": sizes["latent_channels"],
        "layers_per_block": sizes["layers_per_block"],
        "norm_num_groups": sizes["norm_num_groups"],
        "out_channels": 3,
        "sample_size": config["image_size"],
        "scaling_factor": config["scaling_factor"],
        "up_block_types": ["UpDecoderBlock2D"] * levels,
    }


def _text(config: Mapping[str, Any], parts: Parts) -> dict[str, Any]:
    sizes = dict(config["text_encoder"])
    ids = {"bos_token_id": sizes["vocab_size"] - 2, "eos_token_id": sizes["vocab_size"] - 1}
    return {
        "architectures": ["CLIPTextModel"],
        "layer_norm_eps": 1e-5,
        "model_type": "clip_text_model",
        "projection_dim": sizes["hidden_size"],
        **ids,
        **sizes,
    }


def _image(config: Mapping[str, Any], parts: Parts) -> dict[str, Any]:
    return {
        "architectures": ["CLIPVisionModel"],
        "layer_norm_eps": 1e-5,
        "model_type": "clip_vision_model",
        "projection_dim": config.get("projection_dim", config["image_encoder"]["hidden_size"]),
        **config["image_encoder"],
    }


DESCRIBE: dict[str, Callable[[Mapping[str, Any], Parts], dict[str, Any]]] = {
    "unet": _unet,
    "vae": _vae,
    "text_encoder": _text,
    "text_to_image_unet": functools.partial(_unet, part="text_to_image_unet"),
    "cold_unet": functools.partial(_unet, part="cold_unet"),
    "distilled_unet": functools.partial(_unet, part="distilled_unet"),
    "image_encoder": _image,
}


def scheduler(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of DDIM over timesteps 1, 1 + c, ... that ends at alpha-bar[0], as released."""
    schedule = config["schedule"]
    return {
        "_class_name": "DDIMScheduler",
        "beta_end": schedule["beta_end"],
        "beta_schedule": "scaled_linear",
        "beta_start": schedule["beta_start"],
        "clip_sample": False,
        "num_train_timesteps": schedule["num_timesteps"],
        "prediction_type": PREDICTIONS[config.get("prediction_type", "eps")],
        "set_alpha_to_one": False,
        "steps_offset": 1,
    }


def index(parts: list[str], tokenizer: bool) -> dict[str, Any]:
    """The content of `model_index.json`, by which diffusers finds the class of each folder."""
    classes = {
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "scheduler": ["diffusers", "DDIMScheduler"],
    }
    components = {name: classes[name] for name in [*parts, "scheduler"]}
    if tokenizer:
        components["tokenizer"] = ["transformers", "CLIPTokenizer"]
    none = {name: [None, None] for name in ("safety_checker", "feature_extractor")}
    return {"_class_name": "StableDiffusionPipeline", **components, **none}
