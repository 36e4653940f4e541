"""The conversion command: both ways bit for bit, and what does not fit leaves nothing behind."""

import json

import ml_dtypes
import numpy as np
import pytest

from colorjax import release
from colorjax.convert import __main__ as command
from colorjax.convert import readers, writers
from colorjax.errors import UserError
from colorjax.methods import lcad
from tests.golden import weights
from tests.small import DATA

CONFIG = f"--config={weights.HERE / 'tiny_config.json'}"
UNET, VAE, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer."


@pytest.fixture(scope="module")
def state() -> dict[str, np.ndarray]:
    """The tiny released checkpoint, with the vocabulary cut to 99 words."""
    made = weights.state_dict("state_dict_shapes_tiny.tsv")
    key = f"{TEXT}text_model.embeddings.token_embedding.weight"
    return made | {key: made[key][:99]}


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> str:
    told = json.loads((weights.HERE / "tiny_config.json").read_text())
    told["clip_text"]["vocab_size"] = 99
    path = tmp_path_factory.mktemp("config") / "config.json"
    path.write_text(json.dumps(told))
    return f"--config={path}"


@pytest.fixture(scope="module")
def folder(state, config, tmp_path_factory):
    """A Stable Diffusion 1 folder, by way of an original file."""
    root = tmp_path_factory.mktemp("sd")
    told = json.loads(open(config.removeprefix("--config=")).read())
    del told["unet"]["gray_channels"]
    (root / "config.json").write_text(json.dumps(told))
    writers.write_safetensors(root / "sd.safetensors", stable_diffusion(state))
    run("ldm", root / "sd.safetensors", root / "release", f"--config={root / 'config.json'}")
    back(root / "release", root / "folder", "diffusers")
    return root / "folder"


def stable_diffusion(state) -> dict[str, np.ndarray]:
    first = f"{UNET}input_blocks.0.0.weight"
    plain = {key: value for key, value in state.items() if ".g_encoder." not in key}
    return plain | {first: state[first][:, :4]}


def run(kind, path, output, *flags: str) -> None:
    assert command.main([f"--format={kind}", f"--input={path}", f"--output={output}", *flags]) == 0


def back(path, output, kind: str = "lcad") -> None:
    assert command.main([f"--to={kind}", f"--input={path}", f"--output={output}"]) == 0


def same(got, expected) -> None:
    assert set(got) == set(expected)
    for key, tensor in expected.items():
        assert got[key].dtype == tensor.dtype and got[key].shape == tensor.shape, key
        np.testing.assert_array_equal(got[key], tensor, err_msg=key)


def fails(tmp_path, state, match: str, *flags: str, kind: str = "lcad") -> str:
    """The message; neither an output nor a scratch folder is left."""
    (tmp_path / "in").mkdir(exist_ok=True)
    path = tmp_path / "in" / "file.safetensors"
    writers.write_safetensors(path, state)
    with pytest.raises(UserError, match=match) as caught:
        run(kind, path, tmp_path / "out", *flags)
    assert [entry.name for entry in tmp_path.iterdir()] == ["in"]
    return str(caught.value)


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
    with pytest.raises(UserError, match="use --to=lcad"):
        back(tmp_path / "release", tmp_path / "folder", "diffusers")


@pytest.mark.parametrize(
    "key",
    [
        f"{UNET}input_blocks.0.0.weight",
        f"{UNET}input_blocks.3.0.op.weight",
        f"{UNET}output_blocks.5.2.conv.bias",
        f"{UNET}out.2.bias",
        f"{VAE}decoder.up.3.block.2.conv1.weight",
        f"{VAE}encoder.down.1.block.0.nin_shortcut.weight",
        f"{VAE}g_encoder.zero_conv_mid2.weight",
        f"{VAE}post_quant_conv.bias",
        f"{TEXT}text_model.final_layer_norm.weight",
        f"{TEXT}text_model.embeddings.position_embedding.weight",
    ],
)
def test_one_renamed_key(state, config, tmp_path, key) -> None:
    other = {k.replace(key, f"{key}x"): v for k, v in state.items()}
    message = fails(tmp_path, other, "place|called", config)
    assert f"{key}x {state[key].shape}" in message or "no tensor is called" in message


def test_one_missing_key_is_named_by_its_leaf(state, config, tmp_path) -> None:
    rest = {k: v for k, v in state.items() if k != f"{UNET}middle_block.1.norm.bias"}
    message = fails(tmp_path, rest, "0 keys have no place and 1 leaves", config)
    assert "unet/mid_block/attentions_0/norm/bias (128,)" in message


def test_one_transposed_tensor_is_in_both_lists(state, config, tmp_path) -> None:
    key = f"{UNET}middle_block.1.transformer_blocks.0.ff.net.2.weight"
    message = fails(tmp_path, state | {key: state[key].T}, "1 keys .* 1 leaves", config)
    assert f"{key} (512, 128)" in message
    assert "unet/mid_block/attentions_0/transformer_blocks_0/ff/net_2/kernel (128, 512)" in message


def test_a_second_key_for_one_leaf(state, config, tmp_path) -> None:
    extra = f"{VAE}encoder.down.1.block.0.conv_shortcut.bias"  # diffusers' word
    message = fails(
        tmp_path, state | {extra: np.ones(64, np.float32)}, "1 keys .* 0 leaves", config
    )
    assert extra in message


def test_truncated_file(state, config, tmp_path) -> None:
    path = tmp_path / "file.ckpt"
    writers.write_checkpoint(path, state)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(UserError, match="damaged"):
        run("lcad", path, tmp_path / "out", config)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("section", "change", "match"),
    [
        ("unet", {"model_channels": 64}, "block_out_channels"),
        ("unet", {"gray_channels": 64}, "gray_channels"),
        ("unet", {"context_dim": 65}, "context_dim"),
        ("unet", {"num_heads": 5}, "heads"),
        ("unet", {"attention_resolutions": [1, 2]}, "attention_levels"),
        ("vae", {"ch": 64}, "block_out_channels"),
        ("vae", {"attn_resolutions": [16]}, "attn_resolutions"),
        ("clip_text", {"num_hidden_layers": 3}, "num_hidden_layers"),
        ("clip_text", {"hidden_act": "relu"}, "relu"),
        ("clip_text", {"layer_norm_eps": 1e-6}, "layer_norm_eps"),
        ("unet", {"surprise": 1}, "surprise"),
    ],
)
def test_a_configuration_that_contradicts_the_weights(
    state, config, tmp_path, section, change, match
) -> None:
    (tmp_path / "in").mkdir()
    told = json.loads(open(config.removeprefix("--config=")).read())
    told[section] |= change
    (tmp_path / "in" / "other.json").write_text(json.dumps(told))
    fails(tmp_path, state, match, f"--config={tmp_path / 'in' / 'other.json'}")


def test_another_schedule_is_an_error(state, config, tmp_path) -> None:
    shifted = state["alphas_cumprod"] ** 1.01
    fails(tmp_path, state | {"alphas_cumprod": shifted}, "noise schedule", config)


def test_parts_are_all_that_the_file_holds(state, config, tmp_path) -> None:
    some = {k: v for k, v in state.items() if k.startswith((UNET, VAE)) and "g_enc" not in k}
    message = fails(tmp_path, some, "luminance_encoder", config)
    assert "text_encoder/* (all of it)" in message
    fails(tmp_path, state, "keys have no place", config, "--parts=unet,vae")
    fails(tmp_path, some, "unknown", "--parts=unet,wae")
    path = tmp_path / "in" / "file.safetensors"
    run("lcad", path, tmp_path / "out", config, "--parts=unet,vae")
    assert release.parts_in(tmp_path / "out") == {"unet", "vae"}
    back(tmp_path / "out", tmp_path / "back.safetensors")
    same(readers.read(tmp_path / "back.safetensors"), some)


def test_an_output_that_exists_is_kept(tmp_path, state, config) -> None:
    (tmp_path / "out").mkdir()
    writers.write_safetensors(tmp_path / "in.safetensors", state)
    with pytest.raises(UserError, match="exists"):
        run("lcad", tmp_path / "in.safetensors", tmp_path / "out", config)
    with pytest.raises(UserError, match="does not exist"):
        run("lcad", tmp_path / "none.ckpt", tmp_path / "new")


def test_narrow_weights_come_back_narrow(folder, tmp_path) -> None:
    for dtype in (np.float16, ml_dtypes.bfloat16):
        root = tmp_path / np.dtype(dtype).name
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


def test_settings_of_diffusers_that_the_networks_do_not_have(folder, tmp_path) -> None:
    (tmp_path / "unet").mkdir()
    source = folder / "unet" / "diffusion_pytorch_model.safetensors"
    (tmp_path / "unet" / source.name).symlink_to(source)
    sizes = json.loads((folder / "unet" / "config.json").read_text())
    for change in (
        {"act_fn": "relu"},
        {"only_cross_attention": True},
        {"class_embed_type": "timestep"},
        {"flip_sin_to_cos": False},
        {"block_out_channels": [32, 64, 128, 256]},
        {"time_embedding_type": "fourier"},
    ):
        (tmp_path / "unet" / "config.json").write_text(json.dumps(sizes | change))
        with pytest.raises(UserError, match=next(iter(change))):
            run("diffusers", tmp_path, tmp_path / "out", "--parts=unet")
