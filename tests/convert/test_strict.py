"""What does not fit is an error that names it, and leaves no output behind."""

import json
import shutil

import numpy as np
import pytest

from colorjax import release
from colorjax.convert import readers, writers
from colorjax.errors import UserError
from tests.convert import converted
from tests.convert.converted import TEXT, UNET, VAE, back, run, same


@pytest.fixture(scope="module")
def state() -> dict[str, np.ndarray]:
    return converted.state()


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> str:
    return converted.config_flag(tmp_path_factory.mktemp("config"), converted.told())


def fails(tmp_path, state, match: str, *flags: str, kind: str = "lcad") -> str:
    """The message; neither an output nor a scratch folder is left."""
    (tmp_path / "in").mkdir(exist_ok=True)
    path = tmp_path / "in" / "file.safetensors"
    writers.write_safetensors(path, state)
    with pytest.raises(UserError, match=match) as caught:
        run(kind, path, tmp_path / "out", *flags)
    assert [entry.name for entry in tmp_path.iterdir()] == ["in"]
    return str(caught.value)


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
        f"{VAE}g_encoder.conv_out.bias",
        "betas",
        f"{VAE}post_quant_conv.bias",
        f"{TEXT}text_model.final_layer_norm.weight",
        f"{TEXT}text_model.embeddings.position_embedding.weight",
    ],
)
def test_one_renamed_key(state, config, tmp_path, key) -> None:
    other = {k.replace(key, f"{key}x"): v for k, v in state.items()}
    message = fails(tmp_path, other, "1 keys have no place and [01] leaves", config)
    assert f"{key}x (" in message.split("empty leaves")[0]


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


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return converted.folder(tmp_path_factory.mktemp("sd"))


FF = "transformer_blocks.0.ff.net.2.weight"  # not square, so that turning it shows


@pytest.mark.parametrize(
    ("kind", "file", "key"),
    [
        ("diffusers", "unet/diffusion_pytorch_model", f"mid_block.attentions.0.{FF}"),
        ("diffusers", "vae/diffusion_pytorch_model", "decoder.up_blocks.2.resnets.0.conv1.weight"),
        ("diffusers", "text_encoder/model", "text_model.encoder.layers.1.mlp.fc1.weight"),
        ("clip", "text_encoder/model", "text_model.encoder.layers.1.mlp.fc1.weight"),
        ("ldm", "sd", f"{UNET}middle_block.1.{FF}"),
        ("init-lcad", "sd", f"{UNET}middle_block.1.{FF}"),
    ],
)
def test_every_format_is_strict(kind, file, key, folder, tmp_path) -> None:
    """One key renamed, one tensor turned, one file cut: told by name, and nothing is left."""
    shutil.copytree(folder, tmp_path / "in")
    sizes = converted.told() if file == "sd" else {}
    if kind == "ldm":
        del sizes["unet"]["gray_channels"]
    told = converted.config_flag(tmp_path / "in", sizes)
    writers.write_safetensors(tmp_path / "in" / "sd.safetensors", converted.stable_diffusion())
    path = tmp_path / "in" / f"{file}.safetensors"
    source = {"diffusers": tmp_path / "in", "clip": path.parent}.get(kind, path)
    good = readers.read(path)

    def told_of(tensors, match: str) -> str:
        writers.write_safetensors(tmp_path / "new", tensors)
        (tmp_path / "new").replace(path)
        return refused(match)

    def refused(match: str) -> str:
        with pytest.raises(UserError, match=match) as caught:
            run(kind, source, tmp_path / "out", told)
        assert [entry.name for entry in tmp_path.iterdir()] == ["in"]
        return str(caught.value)

    renamed = {k.replace(key, f"{key}x"): v for k, v in good.items()}
    assert f"{key}x (" in told_of(renamed, "1 keys .* 1 leaves").split("empty leaves")[0]
    turned = good | {key: good[key].swapaxes(0, 1)}
    assert f"{key} (" in told_of(turned, "1 keys .* 1 leaves").split("empty leaves")[0]
    path.write_bytes(path.read_bytes()[:-10])
    refused("damaged")


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
        ("unet", {"channel_mult": 4}, "wrong kind"),
        ("unet", {"num_heads": "8"}, "heads"),
        ("unet", {"norm_num_groups": 0}, "cannot be used"),
    ],
)
def test_a_configuration_that_contradicts_the_weights(
    state, tmp_path, section, change, match
) -> None:
    (tmp_path / "in").mkdir()
    told = converted.told()
    told[section] |= change
    fails(tmp_path, state, match, converted.config_flag(tmp_path / "in", told))


def test_another_schedule_is_an_error(state, config, tmp_path) -> None:
    shifted = state["alphas_cumprod"] ** 1.01
    fails(tmp_path, state | {"alphas_cumprod": shifted}, "noise schedule", config)


def test_parts_are_all_that_the_file_holds(state, config, tmp_path) -> None:
    some = {k: v for k, v in state.items() if k.startswith((UNET, VAE)) and "g_enc" not in k}
    message = fails(tmp_path, some, "luminance_encoder", config)
    assert "text_encoder/* (all of it)" in message
    fails(tmp_path, state, "keys have no place", config, "--parts=unet,vae")
    fails(tmp_path, some, "--parts is 'wae'", "--parts=unet,wae")
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
