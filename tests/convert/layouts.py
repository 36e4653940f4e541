"""Small random models in the layouts that people bring, without what colorjax would add to them."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from colorjax import release
from colorjax.configs import lcad as lcad_config
from colorjax.convert import readers, rules, writers
from colorjax.methods import lcad
from colorjax.models.clip import CLIP, CLIPTextModel, CLIPVisionModel
from tests import small
from tests.convert import converted
from tests.convert.converted import UNET, VAE, back

DATA = small.DATA
TOKENIZER = DATA / "tokenizer"


def sizes() -> dict:
    """As narrow as 32 groups allow, with heads of 64 channels in CLIP: nothing has to be told."""
    model = lcad_config.get_config("tiny,cec=conv_in").model
    one = dict(hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=1)
    model.text_encoder.update(one)
    model.image_encoder.update(one | dict(patch_size=8))
    model.projection_dim = 64
    model.vae.update(block_out_channels=(32, 32, 32, 32), norm_num_groups=32)
    model.unet.update(block_out_channels=(32, 64), num_attention_heads=(8, 8), norm_num_groups=32)
    model.scaling_factor = 0.18215
    found = model.to_dict()
    del found["colorize"], found["cold_colorize"]
    return found


def lcad_checkpoint(root: Path) -> Path:
    """As `coco_weight.ckpt`."""
    params = small.random_params(lcad.build(sizes()))
    release.write(root / "own", sizes() | {"method": "lcad"}, params, TOKENIZER)
    back(root / "own", root / "lcad.ckpt")
    return root / "lcad.ckpt"


def stable_diffusion_file(root: Path) -> Path:
    """As `v1-5-pruned.safetensors`."""
    state = readers.read(lcad_checkpoint(root))
    plain = {key: tensor for key, tensor in state.items() if not key.startswith(f"{VAE}g_encoder")}
    first = f"{UNET}input_blocks.0.0.weight"
    writers.write_safetensors(root / "sd.safetensors", plain | {first: plain[first][:, :4]})
    return root / "sd.safetensors"


def stable_diffusion_folder(root: Path) -> Path:
    """As diffusers has `stable-diffusion-v1-5`, for pictures of 64 pixels."""
    flag = f"--tokenizer={TOKENIZER}"
    converted.run("ldm", stable_diffusion_file(root), root / "plain", flag)
    config = release.read_config(root / "plain") | {"image_size": 64}
    release.write(root / "plain", config, {})
    back(root / "plain", root / "stable-diffusion", "diffusers")
    return root / "stable-diffusion"


def clip_file(root: Path) -> Path:
    """As the weights of `clip-vit-large-patch14`: both towers and their projections."""
    model = sizes()
    clip = CLIP(
        CLIPTextModel(**model["text_encoder"]), CLIPVisionModel(**model["image_encoder"]), 64
    )
    side, length = model["image_encoder"]["image_size"], 24
    image, ids = jnp.zeros((1, side, side, 3)), jnp.zeros((1, length), jnp.int32)
    tree = small.drawn(lambda key: clip.init(key, image, ids)["params"])
    named = flatten_dict(tree, sep="/").items()
    state = dict(rules.to_torch(path, np.asarray(leaf)) for path, leaf in named)
    writers.write_safetensors(root / "clip.safetensors", state)
    return root / "clip.safetensors"
