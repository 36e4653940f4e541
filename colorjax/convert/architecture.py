"""A model's sizes from the shapes of its tensors, compared with what configuration files say."""

import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from colorjax.convert.read_configs import Settings
from colorjax.errors import UserError

Flat = Mapping[str, np.ndarray]

# What shapes say as well but no module takes as an argument: it is compared only.
COMPARED = ("in_channels", "context_dim", "gray_channels")
DEFAULTS: dict[str, Any] = {
    "schedule": dict(num_timesteps=1000, beta_start=0.00085, beta_end=0.012),
    "scaling_factor": 0.18215,
    "prediction_type": "eps",
}


class Unreadable(UserError):
    """A size that no tensor tells; `pattern` is what such a tensor would be called."""

    def __init__(self, pattern: str) -> None:
        super().__init__(f"the model's sizes cannot be read: no tensor is called '{pattern}'")
        self.pattern = pattern


def _size(flat: Flat, pattern: str, axis: int = -1) -> int:
    """What most tensors of these names agree on, so that one wrong tensor is not believed."""
    sizes = Counter(
        tensor.shape[axis]
        for path, tensor in flat.items()
        if re.fullmatch(pattern, path) and -tensor.ndim <= axis < tensor.ndim
    )
    if not sizes:
        raise Unreadable(pattern)
    return sizes.most_common(1)[0][0]


def _count(flat: Flat, pattern: str) -> int:
    """How many different numbers the pattern's group has."""
    return len({match[1] for path in flat if (match := re.match(pattern, path))})


def _trunk(flat: Flat, side: str) -> dict[str, Any]:
    levels = _count(flat, rf"{side}down_blocks_(\d+)/")
    norm = r"resnets_\d+/(norm2/scale|conv1/bias|conv2/bias)"
    return dict(
        block_out_channels=tuple(
            _size(flat, f"{side}down_blocks_{i}/{norm}") for i in range(levels)
        ),
        layers_per_block=_count(flat, rf"{side}down_blocks_0/resnets_(\d+)/"),
    )


def _unet(flat: Flat) -> dict[str, Any]:
    sizes = _trunk(flat, "")
    levels = range(len(sizes["block_out_channels"]))
    attention = tuple(bool(_count(flat, rf"down_blocks_({i})/attentions_")) for i in levels)
    some = r"(down|up|mid)_block\w*/attentions_\d+"
    sizes |= dict(
        attention_levels=attention,
        transformer_depth=_count(flat, r"mid_block/attentions_0/transformer_blocks_(\d+)/"),
        out_channels=_size(flat, "conv_out/(bias|kernel)"),
        linear_projection=any(
            tensor.ndim == 2
            for path, tensor in flat.items()
            if re.fullmatch(f"{some}/proj_(in|out)/kernel", path)
        ),
        cec="conv_in" if "cec_conv_in/kernel" in flat else "none",  # as published
        in_channels=_size(flat, "conv_in/kernel", -2),
        context_dim=_size(flat, rf"{some}/transformer_blocks_\d+/attn2/to_[kv]/kernel", 0),
    )
    extended = sizes["cec"] != "none"
    return sizes | dict(gray_channels=_size(flat, "cec_conv_in/kernel", -2) if extended else 0)


def _vae(flat: Flat) -> dict[str, Any]:
    return _trunk(flat, "encoder/") | dict(
        latent_channels=_size(flat, "post_quant_conv/(bias|kernel)"),
        in_channels=_size(flat, "encoder/conv_in/kernel", -2),
        out_channels=_size(flat, "decoder/conv_out/(bias|kernel)"),
    )


def _tower(flat: Flat, root: str = "") -> dict[str, Any]:
    return dict(
        hidden_size=_size(flat, rf"{root}encoder/layers_\d+/layer_norm[12]/(scale|bias)"),
        intermediate_size=_size(flat, rf"{root}encoder/layers_\d+/mlp/fc1/bias"),
        num_hidden_layers=_count(flat, rf"{root}encoder/layers_(\d+)/"),
    )


def _text(flat: Flat) -> dict[str, Any]:
    return _tower(flat) | dict(
        vocab_size=_size(flat, "embeddings/token_embedding/embedding", 0),
        max_position_embeddings=_size(flat, "embeddings/position_embedding/embedding", 0),
    )


def _image(flat: Flat) -> dict[str, Any]:
    root = "vision_model/"
    patch = _size(flat, f"{root}embeddings/patch_embedding/kernel", 0)
    patches = _size(flat, f"{root}embeddings/position_embedding/embedding", 0) - 1
    return _tower(flat, root) | dict(patch_size=patch, image_size=patch * math.isqrt(patches))


READ = {"unet": _unet, "vae": _vae, "text_encoder": _text, "image_encoder": _image}


def configure(parts: Mapping[str, Flat], settings: Settings) -> tuple[dict[str, Any], list[str]]:
    """Puts a release's configuration together from shapes and settings.

    Returns:
        The configuration, and a sentence for each value that had to be assumed, because neither
        the tensors nor the settings say it.

    Raises:
        UserError: sizes that cannot be read, or settings that contradict the shapes.
    """
    if "clipseg" in parts:
        return {"clipseg": settings["clipseg"]}, []
    config: dict[str, Any] = {"method": "lcad"} if READ.keys() & parts.keys() else {}
    assumed: list[str] = []
    for part in parts:
        if part in READ:
            sizes = READ[part](parts[part])
            known = settings.get(part, {})
            for key in sizes.keys() & known.keys():
                if known[key] != sizes[key]:
                    raise UserError(
                        f"the configuration says {part}.{key} is {known[key]}, but the weights "
                        f"say {sizes[key]}"
                    )
            sizes |= known
            finish = _finish_tower if part.endswith("_encoder") else _finish_network
            finish(part, sizes, assumed)
            config[part] = {k: v for k, v in sizes.items() if k not in COMPARED}
            if part == "vae":
                config[part].pop("out_channels", None)
    if "image_encoder" in parts and "visual_projection/kernel" in parts["image_encoder"]:
        config["projection_dim"] = _size(parts["image_encoder"], "visual_projection/kernel")
    if "unet" in parts or "vae" in parts:
        config |= DEFAULTS | settings.get("", {})
        # Linear projections are a mark of Stable Diffusion 2, of which only some estimate v; no
        # tensor tells which.
        is_unclear = "prediction_type" not in settings.get("", {})
        if config.get("unet", {}).get("linear_projection") and is_unclear:
            assumed.append("the UNet estimates eps; some of Stable Diffusion 2 estimate v")
        config["schedule"] = DEFAULTS["schedule"] | settings.get("schedule", {})
        config.setdefault("image_size", 768 if config["prediction_type"] == "v" else 512)
        if "luminance_encoder" in parts:
            config["image_size"] = 256
    return config, assumed


def check_schedule(extras: Flat, config: Mapping[str, Any]) -> None:
    """An original file carries its schedule; the configuration must say the same.

    Raises:
        UserError: it does not.
    """
    if "alphas_cumprod" not in extras or "schedule" not in config:
        return
    stored = np.asarray(extras["alphas_cumprod"], np.float64)
    betas = np.linspace(
        config["schedule"]["beta_start"] ** 0.5,
        config["schedule"]["beta_end"] ** 0.5,
        config["schedule"]["num_timesteps"],
    )
    expected = np.cumprod(1.0 - betas**2)
    if stored.shape != expected.shape or np.abs(stored / expected - 1.0).max() > 1e-3:
        raise UserError(
            f"the file's noise schedule is not the configured {config['schedule']}: give "
            "linear_start, linear_end and timesteps by --config"
        )


def _finish_network(part: str, sizes: dict[str, Any], assumed: list[str]) -> None:
    """Adds group count and heads, which no shape shows.

    Stable Diffusion 1 has eight heads at every level, Stable Diffusion 2 heads of 64 channels.
    """
    if "norm_num_groups" not in sizes:
        sizes["norm_num_groups"] = 32
    for width in sizes["block_out_channels"]:
        if width % sizes["norm_num_groups"]:
            raise UserError(
                f"{part}: {width} channels do not make {sizes['norm_num_groups']} groups"
            )
    if part != "unet":
        return
    widths, per_head = sizes["block_out_channels"], sizes.pop("head_channels", None)
    heads = sizes.get("num_attention_heads")
    if heads in (None, -1):
        if per_head in (None, -1):
            per_head = 64 if sizes["linear_projection"] else None
            assumed.append(f"attention heads of {per_head} channels" if per_head else "8 heads")
        heads = tuple(width // per_head for width in widths) if per_head else 8
    heads = (heads,) * len(widths) if isinstance(heads, int) else tuple(heads)
    if len(heads) != len(widths) or any(
        n < 1 or width % n for n, width in zip(heads, widths, strict=False)
    ):
        raise UserError(f"{part}: {heads} heads do not divide {widths} channels; see --config")
    sizes["num_attention_heads"] = heads


def _finish_tower(part: str, sizes: dict[str, Any], assumed: list[str]) -> None:
    """Adds head count and activation of a CLIP tower, which no shape shows."""
    if "num_attention_heads" not in sizes:
        sizes["num_attention_heads"] = max(1, sizes["hidden_size"] // 64)
        assumed.append(f"{part}: {sizes['num_attention_heads']} heads of 64 channels")
    if "hidden_act" not in sizes:
        sizes["hidden_act"] = "quick_gelu"
        assumed.append(f"{part}: activation quick_gelu")
    if sizes["hidden_act"] not in ("quick_gelu", "gelu"):
        raise UserError(f"{part}: activation {sizes['hidden_act']!r} is not supported")
    if sizes["hidden_size"] % sizes["num_attention_heads"]:
        raise UserError(
            f"{part}: {sizes['num_attention_heads']} heads do not divide "
            f"{sizes['hidden_size']} channels; see --config"
        )
