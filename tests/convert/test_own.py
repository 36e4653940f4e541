"""Whole releases in diffusers' layout and back; `tests/parity` loads them with diffusers."""

import json
import shutil

import numpy as np
import pytest

from colorjax import release
from colorjax.convert import readers
from colorjax.errors import UserError
from colorjax.methods import lcad
from tests import small
from tests.convert.converted import back, run, same

BLOCKS = {"down_blocks.0.resnets.0.cec_conv1.weight", "down_blocks.1.resnets.0.cec_conv1.weight"}


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """A release of every part, whose UNet's down blocks are extended."""
    directory = small.write_cold_release(
        tmp_path_factory.mktemp("own") / "release",
        distilled={"guidance_scale": 1.2, "negative_prompt": "gray", "step": 0.1},
    )
    config = release.read_config(directory)
    plain = config | {"unet": config["unet"] | {"cec": "none"}}
    unet = small.random_params(lcad.build(plain))["unet"]
    release.write(directory, config, {"text_to_image_unet": unet})
    return directory


@pytest.fixture(scope="module")
def folder(ours):
    back(ours, ours.parent / "folder", "diffusers")
    return ours.parent / "folder"


@pytest.mark.proof
def test_a_whole_release_comes_back(ours, folder, tmp_path) -> None:
    run("diffusers", folder, tmp_path / "again")
    assert release.parts_in(tmp_path / "again") == release.parts_in(ours)
    for part in release.parts_in(ours):
        file = f"{part}.safetensors"
        same(readers.read(tmp_path / "again" / file), readers.read(ours / file))
    told, before = release.read_config(tmp_path / "again"), release.read_config(ours)
    assert {key: told[key] for key in before} == before
    assert (tmp_path / "again" / "tokenizer" / "vocab.json").is_file()


def test_the_unet_has_diffusers_keys_and_the_extensions_beside_them(ours, folder) -> None:
    name = "diffusion_pytorch_model.safetensors"
    unet = readers.read(folder / "unet" / name)
    plain = readers.read(folder / "text_to_image_unet" / name)
    more = set(unet) - set(plain)
    assert set(plain) < set(unet) and BLOCKS | {"cec_conv_in.weight"} == more
    kernel = release.read_part(ours, "unet")["cec_conv_in"]["kernel"]
    np.testing.assert_array_equal(unet["cec_conv_in.weight"], kernel.transpose(3, 2, 0, 1))
    described = json.loads((folder / "cold_unet" / "config.json").read_text())
    assert described["_class_name"] == "UNet2DConditionModel" and described["in_channels"] == 4
    with pytest.raises(UserError, match="only knows 'conv_in': use --to=diffusers"):
        back(ours, folder.parent / "lcad.ckpt")


@pytest.mark.parametrize(
    ("file", "key"),
    [
        ("unet/diffusion_pytorch_model", "down_blocks.1.resnets.0.cec_conv1.weight"),
        ("cold_unet/diffusion_pytorch_model", "conv_out.bias"),
        ("ranker/model", "head.fc1.weight"),
        ("luminance_encoder/diffusion_pytorch_model", "down_blocks.0.zero_convs.0.bias"),
    ],
)
def test_a_missing_tensor_is_told(folder, file: str, key: str, tmp_path) -> None:
    from safetensors.numpy import save_file

    shutil.copytree(folder, tmp_path / "in")
    path = tmp_path / "in" / f"{file}.safetensors"
    state = {name: np.array(tensor) for name, tensor in readers.read(path).items()}
    del state[key]
    save_file(state, path)
    with pytest.raises(UserError, match="1 leaves of the model stay empty"):
        run("diffusers", tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()
