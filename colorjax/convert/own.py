"""What a release has beside Stable Diffusion: how diffusers' layout holds it, there and back.

Beside the folders that diffusers and transformers read, `--to=diffusers` writes

| where | what |
|---|---|
| `unet/` | L-CAD's UNet: diffusers' keys, and the extensions as `cec_conv_in.weight`, `down_blocks.0.resnets.1.cec_conv1.weight` and so on: a second convolution without bias, whose output for the luminance feature is added to that of the one beside it |
| `luminance_encoder/` | named as the VAE's encoder, and its side convolutions `zero_convs` |
| `text_to_image_unet/`, `cold_unet/`, `distilled_unet/` | a whole `UNet2DConditionModel` each |
| `image_encoder/` | CLIP's image tower, as transformers has it |
| `ranker/` | `head.norm`, `head.fc1`, `head.fc2`, and leaves of the tower that were trained |
| `colorjax.json` | the release's `config.json` |

All are safetensors, and `torch.load` of none is needed. `--format=diffusers` reads them back.
"""  # noqa: E501

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from flax.traverse_util import flatten_dict

from colorjax import files
from colorjax.methods import diffusing_colors, lcad, stable_diffusion
from colorjax.release import schema

CONFIG = "colorjax.json"
UNETS = ("text_to_image_unet", "cold_unet", "distilled_unet")
TOWERS = ("image_encoder",)
FOLDERS = ("luminance_encoder", *UNETS, *TOWERS, "ranker")
# Of the parts whose leaves no table but the methods themselves know.
TRAINED = ("unet", *UNETS, "ranker")
ADVICE = "write the folder again by python -m colorjax.convert --to=diffusers"


def weights_name(part: str) -> str:
    """The file that diffusers or transformers would have a part's weights in."""
    stem = "model" if part in ("text_encoder", *TOWERS, "ranker") else "diffusion_pytorch_model"
    return f"{stem}.safetensors"


def read_config(folder: Path) -> dict[str, Any] | None:
    """The release's configuration that the folder was written with; None of another project's.

    Raises:
        UserError: it describes no model.
    """
    path = folder / CONFIG
    if not path.is_file():
        return None
    config: dict[str, Any] = files.read_json(path, advice=ADVICE)
    files.check_json(config, schema.CONFIG, path, ADVICE)
    # With tuples for lists, as modules take them.
    return {
        key: stable_diffusion.sizes(value) if isinstance(value, dict) else value
        for key, value in config.items()
    }


def leaves(
    config: Mapping[str, Any], part: str, flat: Mapping[str, Any]
) -> dict[str, tuple[int, ...]]:
    """Paths and shapes of one of `TRAINED`, by tracing its method's networks."""
    tree = jax.eval_shape(lambda key: _init(config, part, key), jax.random.key(0))
    shapes = {path: leaf.shape for path, leaf in flatten_dict(tree, sep="/").items()}
    if part == "ranker":  # only what was trained is kept of its tower
        return {p: s for p, s in shapes.items() if p.startswith("head/") or p in flat}
    return shapes


def _init(config: Mapping[str, Any], part: str, key: Any) -> Any:
    if part == "unet":
        return lcad.init(lcad.build(config), key)["unet"]
    if part == "text_to_image_unet":
        return stable_diffusion.init(stable_diffusion.build(config), key)["unet"]
    model = diffusing_colors.build(config)
    if part in ("cold_unet", "distilled_unet"):
        return diffusing_colors.init_unet(model, key)
    return diffusing_colors.init_ranker(model, key)


def is_own(config: Mapping[str, Any], part: str) -> bool:
    """Whether `leaves` knows the part's leaves, and the tables of published models do not."""
    return part in TRAINED[1:] or (part == "unet" and config["unet"].get("cec") == "down_blocks")
