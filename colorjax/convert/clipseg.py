"""CLIPSeg of transformers: its folder to a release's part `clipseg` and what must be told of it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from colorjax.convert import read_configs, readers
from colorjax.convert.formats import Source
from colorjax.errors import UserError, first_line

# What transformers means by a configuration that leaves these out.
TEXT = dict(
    vocab_size=49408,
    hidden_size=512,
    intermediate_size=2048,
    num_hidden_layers=12,
    num_attention_heads=8,
    max_position_embeddings=77,
    hidden_act="quick_gelu",
)
VISION = dict(
    hidden_size=768,
    intermediate_size=3072,
    num_hidden_layers=12,
    num_attention_heads=12,
    image_size=224,
    patch_size=32,
    hidden_act="quick_gelu",
)
SIZES = dict(
    projection_dim=512,
    reduce_dim=64,
    decoder_num_attention_heads=4,
    decoder_intermediate_size=2048,
    conditional_layer=0,
    use_complex_transposed_convolution=False,
)
TAPS = (3, 6, 9)
# What pictures are for the released weights; a folder's own preprocessor_config.json goes first.
PICTURE = dict(size=352, image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225])
# A picture's own embedding, which pictures as prompts need; constants of older versions.
UNUSED = (
    r"clip\.visual_projection\.weight",
    r"clip\.vision_model\.post_layernorm\.(weight|bias)",
    r"clip\.(text|vision)_model\.embeddings\.position_ids",
)
_VISION_LAYER = re.compile(r"clip\.vision_model\.encoder\.layers\.(\d+)\..+")


def read(path: Path, parts: tuple[str, ...]) -> Source:
    """Reads a folder of CLIPSegForImageSegmentation, without the layers after the last tap.

    Raises:
        UserError: no such folder, or a configuration that cannot be.
    """
    if not path.is_dir() or not (path / "config.json").is_file():
        raise UserError(
            f"'{path}' is no folder with a config.json and weights, as transformers saves CLIPSeg"
        )
    try:
        model, picture = _sizes(path / "config.json"), _picture(path)
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"'{path}' has a configuration of the wrong kind ({first_line(error)})"
        ) from error
    source = Source(settings={"clipseg": {"model": model, "picture": picture}})
    last = max(model["extract_layers"])
    for key, tensor in readers.read(readers.weights_file(path)).items():
        layer = _VISION_LAYER.fullmatch(key)
        if any(re.fullmatch(pattern, key) for pattern in UNUSED) or (
            layer and last < int(layer[1]) < model["vision_config"]["num_hidden_layers"]
        ):
            continue
        source.place("clipseg", key, key, tensor)
    if (path / "vocab.json").is_file():
        source.tokenizer = path
    return source


def _sizes(path: Path) -> dict[str, Any]:
    """Sizes by transformers' names, as `models.clipseg.build` takes them."""
    config = readers.read_json(path)
    text, vision = config.get("text_config") or {}, config.get("vision_config") or {}
    towers = {
        "text_config": TEXT | read_configs.tower(text, read_configs.TEXT, path),
        "vision_config": VISION | read_configs.tower(vision, read_configs.VISION, path),
    }
    for name, tower in towers.items():
        activation = tower["hidden_act"]
        if activation not in ("quick_gelu", "gelu"):
            raise UserError(f"'{path}' has {name}.hidden_act {activation!r}: not supported")
        numbers = {key: _positive(value) for key, value in tower.items() if key != "hidden_act"}
        if numbers["hidden_size"] % numbers["num_attention_heads"]:
            raise ValueError(f"{name}: heads do not divide the hidden_size")
    taps = [_positive(layer, 0) for layer in config.get("extract_layers", TAPS)]
    sizes = {key: _positive(config.get(key, value), 0) for key, value in SIZES.items()}
    if not taps or max(taps) >= towers["vision_config"]["num_hidden_layers"]:
        raise ValueError(f"extract_layers {taps} are not layers of the vision tower")
    if sizes["reduce_dim"] % sizes["decoder_num_attention_heads"]:
        raise ValueError("decoder_num_attention_heads does not divide reduce_dim")
    return towers | sizes | {"extract_layers": taps}


def _positive(value: Any, least: int = 1) -> Any:
    if not isinstance(value, int) or value < least:
        raise ValueError(f"{value!r} instead of a number of at least {least}")
    return value


def _picture(folder: Path) -> dict[str, Any]:
    """The side of the picture in pixels, and mean and deviation of its channels in [0,1]."""
    preprocessing: Mapping[str, Any] = {}
    if (folder / "preprocessor_config.json").is_file():
        preprocessing = readers.read_json(folder / "preprocessor_config.json")
    elif (folder / "processor_config.json").is_file():
        preprocessing = readers.read_json(folder / "processor_config.json").get(
            "image_processor", {}
        )
    size = preprocessing.get("size", PICTURE["size"])
    if isinstance(size, dict):
        if set(size) != {"height", "width"} or size["height"] != size["width"]:
            raise UserError(f"'{folder}' resizes pictures to {size}: only squares are supported")
        size = size["height"]
    statistics = {
        key: [float(value) for value in preprocessing.get(key, PICTURE[key])]  # type: ignore[attr-defined]
        for key in ("image_mean", "image_std")
    }
    if any(len(values) != 3 for values in statistics.values()):
        raise ValueError("image_mean and image_std are not of three channels")
    return {"size": _positive(size)} | statistics
