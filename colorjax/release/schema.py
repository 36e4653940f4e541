"""What a release's `config.json` may say: kinds and ranges of its values, as a JSON Schema.

The ranges hold every published model of these kinds with room to spare. They are there so that no
file, whatever it says, asks for more memory or time than a model that exists.
"""

from collections.abc import Iterator, Mapping
from typing import Any

MOST_ATTENTION_BLOCKS = 200  # Stable Diffusion XL has 70


def _whole(least: int, most: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": least, "maximum": most}


def _number(least: float, most: float) -> dict[str, Any]:
    return {"type": "number", "minimum": least, "maximum": most}


def _list(of: Mapping[str, Any], most: int = 8) -> dict[str, Any]:
    # The number of items comes first: a million wrong ones are refused without a look at them.
    return {"type": "array", "minItems": 1, "maxItems": most, "items": of}


def _section(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "required": list(required),
    }


_WORD = {"type": "string", "maxLength": 100}
_SWITCH = {"type": "boolean"}
_WIDTH = _whole(1, 16384)
_TOWER = dict(
    hidden_size=_WIDTH,
    intermediate_size=_WIDTH,
    num_hidden_layers=_whole(1, 64),
    num_attention_heads=_whole(1, 256),
    hidden_act={"enum": ["quick_gelu", "gelu"]},
)
_TEXT = _TOWER | dict(vocab_size=_whole(3, 1_000_000), max_position_embeddings=_whole(3, 1024))
_VISION = _TOWER | dict(image_size=_whole(1, 2048), patch_size=_whole(1, 256))
_TRUNK = dict(
    block_out_channels=_list(_WIDTH),
    layers_per_block=_whole(1, 8),
    norm_num_groups=_whole(1, 1024),
)


def _settings(num_steps: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    # They are checked one by one by the method that has them; here only that they are sane.
    return {
        "type": "object",
        "required": list(more),
        "properties": {"batch_size": _whole(1, 4096), "num_steps": num_steps, **more},
        "additionalProperties": {
            "type": ["number", "string", "boolean"],
            "minimum": -1e6,
            "maximum": 1e6,
            "maxLength": 1000,
        },
    }


_STEPS = _whole(1, 10_000)
# Of a walk that was distilled it may be a word.
_STEPS_OR_WORD = _STEPS | {"type": ["integer", "string"], "maxLength": 100}
_CLIPSEG = _section(
    ("model", "picture"),
    model=_section(
        ("text_config", "vision_config", "extract_layers"),
        text_config=_section(tuple(_TEXT), **_TEXT),
        vision_config=_section(tuple(_VISION), **_VISION),
        projection_dim=_WIDTH,
        extract_layers=_list(_whole(0, 63), 64),
        reduce_dim=_WIDTH,
        decoder_num_attention_heads=_whole(1, 256),
        decoder_intermediate_size=_WIDTH,
        conditional_layer=_whole(0, 64),
        use_complex_transposed_convolution={"type": ["boolean", "integer"]},
    ),
    picture=_section(
        ("size", "image_mean", "image_std"),
        size=_whole(1, 2048),
        image_mean=_list(_number(0.0, 1.0)) | {"minItems": 3, "maxItems": 3},
        image_std=_list(_number(1e-3, 10.0)) | {"minItems": 3, "maxItems": 3},
    ),
)
_BELIEFS = ("usual", "colourfulness_spread", "scale", "scale_spread")
_OF_COLOURINGS = _section(
    ("ranker_weight", *_BELIEFS),
    ranker_weight=_number(0.0, 1e3),
    **dict.fromkeys(_BELIEFS, _number(1e-3, 1e3)),
)
CONFIG = {
    "type": "object",
    "properties": dict(
        method=_WORD,
        licence=_WORD,  # of the weights, as hubs call it
        origin=_list({"type": "string", "maxLength": 1000}),  # of what was converted
        image_size=_whole(8, 4096),
        scaling_factor=_number(1e-4, 1e4),
        prediction_type=_WORD,
        projection_dim=_WIDTH,
        schedule=_section(
            num_timesteps=_whole(1, 10_000),
            beta_start=_number(1e-9, 0.5),
            beta_end=_number(1e-9, 0.999),
        ),
        text_encoder=_section(tuple(_TEXT), **_TEXT),
        image_encoder=_section(tuple(_VISION), **_VISION),
        vae=_section(tuple(_TRUNK), **_TRUNK, latent_channels=_whole(1, 256)),
        unet=_section(
            (*_TRUNK, "attention_levels", "num_attention_heads"),
            **_TRUNK,
            attention_levels=_list(_SWITCH),
            num_attention_heads=_list(_whole(1, 256)),
            transformer_depth=_whole(1, 16),
            out_channels=_whole(1, 512),
            linear_projection=_SWITCH,
            cec=_WORD,
            cec_convolutions={"type": "array", "maxItems": 2, "items": _WORD},
            cec_feature=_whole(-100, 100),
        ),
        cold=_section(
            sigma=_number(0.0, 100.0),
            prediction=_WORD,
            gray_channels=_SWITCH,
            decoder=_WORD,
            colourfulness=_number(0.0, 1000.0),
        ),
        distilled=_section(
            ("guidance_scale",),
            guidance_scale=_number(0.0, 1000.0),
            negative_prompt={"type": "string", "maxLength": 1000},
            step=_number(1e-6, 1.0),
        ),
        ranker=_section(
            hidden_size=_WIDTH,
            dropout=_number(0.0, 0.999),
            normalization=_WORD,
        ),
        fading=_section(by_ranker=_SWITCH),
        colourings=_section(lcad=_OF_COLOURINGS, diffusing_colors=_OF_COLOURINGS),
        clipseg=_CLIPSEG,
        subjects=_list(_WORD, 10_000) | {"minItems": 2},
        colorize=_settings(_STEPS),
        cold_colorize=_settings(_STEPS_OR_WORD),
        without_prompt=_settings(_STEPS_OR_WORD, method=_WORD),
    ),
}


def contradictions(config: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong between values that are right each for itself, in half a sentence each."""
    for name in {"vae", "unet"} & config.keys():
        groups = config[name]["norm_num_groups"]
        for width in config[name]["block_out_channels"]:
            if width % groups:
                yield f"{name}.block_out_channels: {width} is no multiple of {groups} groups"
    yield from _of_unet(config.get("unet"))
    segmenter = config.get("clipseg", {}).get("model", {})
    if segmenter:
        yield from _of_segmenter(segmenter, config["clipseg"]["picture"]["size"])
    towers = {name: config.get(name) for name in ("text_encoder", "image_encoder")}
    for name, tower in (towers | {f"clipseg.{k}": v for k, v in segmenter.items()}).items():
        if isinstance(tower, dict) and tower["hidden_size"] % tower["num_attention_heads"]:
            heads = tower["num_attention_heads"]
            yield f"{name}: {heads} heads do not divide a hidden_size of {tower['hidden_size']}"
        if isinstance(tower, dict) and tower.get("image_size", 0) % tower.get("patch_size", 1):
            yield f"{name}: patches of {tower['patch_size']} do not fill {tower['image_size']}"
    betas = config.get("schedule", {})
    if betas.get("beta_start", 0.0) > betas.get("beta_end", 1.0):
        yield f"schedule: beta_start {betas['beta_start']} is above beta_end {betas['beta_end']}"


def _of_segmenter(segmenter: Mapping[str, Any], side: int) -> Iterator[str]:
    patch = segmenter["vision_config"]["patch_size"]
    if side % patch:
        yield f"clipseg: patches of {patch} do not fill a picture of {side}"
    width, heads = segmenter.get("reduce_dim", 64), segmenter.get("decoder_num_attention_heads", 4)
    if width % heads:
        yield f"clipseg: {heads} heads do not divide a reduce_dim of {width}"
    layers, taps = segmenter.get("conditional_layer", 0), segmenter.get("extract_layers", (3, 6, 9))
    if layers >= len(taps):
        yield f"clipseg.conditional_layer is {layers}, of {len(taps)} extract_layers"


def _of_unet(unet: Mapping[str, Any] | None) -> Iterator[str]:
    if unet is None:
        return
    widths, heads = unet["block_out_channels"], unet["num_attention_heads"]
    for key in ("attention_levels", "num_attention_heads"):
        if len(unet[key]) != len(widths):
            yield f"unet.{key} has {len(unet[key])} values for {len(widths)} levels"
    for width, number in zip(widths, heads, strict=False):
        if width % number:
            yield f"unet.num_attention_heads: {number} heads do not divide {width} channels"
    levels = sum(unet["attention_levels"])
    blocks = (1 + levels * (2 * unet["layers_per_block"] + 1)) * unet.get("transformer_depth", 1)
    if blocks > MOST_ATTENTION_BLOCKS:
        yield f"unet has {blocks} blocks of attention, more than {MOST_ATTENTION_BLOCKS}"
