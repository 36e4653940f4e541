"""A release in diffusers' folders: what diffusers has of it computes what ours does."""

import functools

import jax
import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file
from transformers import CLIPVisionModel

from colorjax import release
from colorjax.convert import __main__ as command
from colorjax.methods import diffusing_colors, lcad
from colorjax.models.layers import apply
from tests import small
from tests.parity.compare import BOUND, close, nchw, normal

BATCH = 2


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    return small.write_cold_release(tmp_path_factory.mktemp("own") / "release")


@pytest.fixture(scope="module")
def folder(ours):
    path = ours.parent / "folder"
    assert command.main(["--to=diffusers", f"--input={ours}", f"--output={path}"]) == 0
    return path


def latents_and_text(model) -> tuple:
    text = model.text_encoder
    context = normal(1, BATCH, text.max_position_embeddings, text.hidden_size)
    return normal(0, BATCH, 8, 8, 4), np.array([1, 500], np.int32), context


def theirs(path, latents, timesteps, context) -> torch.Tensor:
    module = UNet2DConditionModel.from_pretrained(path).eval()
    with torch.no_grad():
        return module(nchw(latents), torch.from_numpy(timesteps), torch.from_numpy(context)).sample


def test_diffusers_loads_the_cold_unet(ours, folder) -> None:
    model, params = diffusing_colors.load(ours)
    inputs = latents_and_text(model.base)
    with jax.default_matmul_precision("highest"):
        got = apply(model.base.unet, params["cold_unet"], *inputs)
    close(got, theirs(folder / "cold_unet", *inputs), BOUND["float32"])


def test_diffusers_loads_what_it_has_of_l_cads_unet(ours, folder) -> None:
    model, params = lcad.load(ours)
    plain = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf * ("cec_" not in jax.tree_util.keystr(path)), params["unet"]
    )
    features = [normal(2, BATCH, 8, 8, 16)]
    inputs = latents_and_text(model)
    with jax.default_matmul_precision("highest"):
        got = apply(model.unet, plain, *inputs, features[0])
    close(got, theirs(folder / "unet", *inputs), BOUND["float32"])


def test_an_extension_is_a_convolution_of_torch(ours, folder) -> None:
    """Added to the first convolution's output, as `own` says."""
    model, params = lcad.load(ours)
    feature = normal(3, BATCH, 8, 8, 16)
    capture = functools.partial(lcad.capture, model, params, *latents_and_text(model))
    with jax.default_matmul_precision("highest"):
        without, with_feature = (
            capture((array,), paths=["conv_in"])["conv_in"] for array in (0 * feature, feature)
        )
    state = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    expected = torch.nn.functional.conv2d(nchw(feature), state["cec_conv_in.weight"], padding=1)
    close(with_feature - without, expected, BOUND["float32"])


def test_transformers_loads_the_image_tower(ours, folder) -> None:
    config = release.read_config(ours)
    image = normal(4, BATCH, config["image_encoder"]["image_size"], 32, 3)
    module = CLIPVisionModel.from_pretrained(folder / "image_encoder").eval()
    with torch.no_grad():
        pooled = module(nchw(image)).pooler_output
    model, params = diffusing_colors.load(ours)
    with jax.default_matmul_precision("highest"):
        got = apply(model.ranker.vision, params["ranker"]["vision_model"], image)[1]
    close(got, pooled, BOUND["float32"])
