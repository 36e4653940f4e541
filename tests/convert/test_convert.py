"""The conversion command: both ways bit for bit."""

import ml_dtypes
import numpy as np
import pytest

from colorjax.convert import readers, writers
from colorjax.methods import lcad
from tests.convert import converted
from tests.convert.converted import UNET, VAE, back, run, same
from tests.golden import weights
from tests.small import DATA


@pytest.fixture(scope="module")
def state() -> dict[str, np.ndarray]:
    return converted.state()


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> str:
    return converted.config_flag(tmp_path_factory.mktemp("config"), converted.told())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return converted.folder(tmp_path_factory.mktemp("sd"))


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_a_released_checkpoint_there_and_back(state, config, tmp_path, suffix) -> None:
    source = tmp_path / f"in{suffix}"
    write = writers.write_checkpoint if suffix == ".ckpt" else writers.write_safetensors
    write(source, state)
    run("lcad", source, tmp_path / "release", config, f"--tokenizer={DATA / 'tokenizer'}")
    assert (tmp_path / "release" / "tokenizer" / "vocab.json").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {source.name, "release"}
    back(tmp_path / "release", tmp_path / f"out{suffix}")
    same(readers.read(tmp_path / f"out{suffix}"), state)


@pytest.mark.proof
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_narrow_weights_come_back_narrow(dtype, folder, tmp_path) -> None:
    root = tmp_path
    parts = {}
    for path in sorted(folder.glob("*/*.safetensors")):
        part = path.parent.name
        (root / "in" / part).mkdir(parents=True)
        parts[part] = {
            key: value if value.dtype == np.int64 else value.astype(dtype)
            for key, value in readers.read(path).items()
        }
        writers.write_safetensors(root / "in" / part / path.name, parts[part])
        text = (folder / part / "config.json").read_text()
        (root / "in" / part / "config.json").write_text(text)
    run("diffusers", root / "in", root / "release")
    model, params = lcad.load(root / "release")
    assert params["unet"]["conv_in"]["kernel"].dtype == np.float32
    back(root / "release", root / "out", "diffusers")
    for path in (root / "out").glob("*/*.safetensors"):
        same(readers.read(path), parts[path.parent.name])


def test_a_folder_of_diffusers_holds_the_same_weights(folder, state, tmp_path) -> None:
    """By their place in diffusers' own naming, for one tensor of every kind."""
    unet = readers.read(folder / "unet" / "diffusion_pytorch_model.safetensors")
    vae = readers.read(folder / "vae" / "diffusion_pytorch_model.safetensors")
    pairs = {
        "down_blocks.1.downsamplers.0.conv.weight": "input_blocks.6.0.op.weight",
        "up_blocks.2.upsamplers.0.conv.bias": "output_blocks.8.2.conv.bias",
        "up_blocks.0.upsamplers.0.conv.bias": "output_blocks.2.1.conv.bias",
        "mid_block.resnets.1.time_emb_proj.weight": "middle_block.2.emb_layers.1.weight",
        "up_blocks.3.attentions.2.proj_in.weight": "output_blocks.11.1.proj_in.weight",
        "time_embedding.linear_2.weight": "time_embed.2.weight",
    }
    for ours, theirs in pairs.items():
        np.testing.assert_array_equal(unet[ours], state[UNET + theirs])
    key = "decoder.mid_block.attentions.0.to_out.0.weight"
    expected = state[f"{VAE}decoder.mid.attn_1.proj_out.weight"][:, :, 0, 0]
    np.testing.assert_array_equal(vae[key], expected)
    key = "decoder.up_blocks.0.resnets.2.conv1.weight"
    np.testing.assert_array_equal(vae[key], state[f"{VAE}decoder.up.3.block.2.conv1.weight"])


def test_old_names_of_the_vaes_attention_come_back(folder, tmp_path) -> None:
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    (tmp_path / "in" / "vae").mkdir(parents=True)
    text = (folder / "vae" / "config.json").read_text()
    (tmp_path / "in" / "vae" / "config.json").write_text(text)
    state = {}
    for key, value in readers.read(folder / "vae/diffusion_pytorch_model.safetensors").items():
        for new, name in old.items():
            key = key.replace(f"attentions.0.{new}.", f"attentions.0.{name}.")
        state[key] = value
    assert any(".proj_attn." in key for key in state)
    writers.write_checkpoint(tmp_path / "in" / "vae" / "diffusion_pytorch_model.bin", state)
    run("diffusers", tmp_path / "in", tmp_path / "release", "--parts=vae")
    back(tmp_path / "release", tmp_path / "out", "diffusers")
    same(readers.read(tmp_path / "out" / "vae" / "diffusion_pytorch_model.safetensors"), state)


@pytest.mark.proof
def test_the_start_of_a_training(folder, state, tmp_path) -> None:
    """Stable Diffusion's function, ready to learn, and all keys that the official code wants."""
    run("init-lcad", folder, tmp_path / "release")
    model, params = lcad.load(tmp_path / "release")
    assert model.unet.cec == "conv_in"
    assert not params["unet"]["cec_conv_in"]["kernel"].any()
    taps = params["luminance_encoder"]["down_blocks_3"]["zero_convs_1"]
    assert taps["kernel"].shape == (1, 1, 128, 128) and not taps["kernel"].any()
    ours = params["luminance_encoder"]["mid_block"]["attentions_0"]["to_q"]["kernel"]
    np.testing.assert_array_equal(
        ours, params["vae"]["encoder"]["mid_block"]["attentions_0"]["to_q"]["kernel"]
    )
    back(tmp_path / "release", tmp_path / "init.ckpt")
    written = readers.read(tmp_path / "init.ckpt")
    assert {k: v.shape for k, v in written.items()} == {k: v.shape for k, v in state.items()}
    first = f"{UNET}input_blocks.0.0.weight"
    np.testing.assert_array_equal(written[first][:, :4], state[first][:, :4])
    assert not written[first][:, 4:].any()
    for key, values in np.load(weights.HERE / "schedule.npz").items():
        if key in written:
            np.testing.assert_allclose(written[key], values, rtol=3e-7, err_msg=key)
