"""LPIPS and the Inception network through the conversion command."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from colorjax import release
from colorjax.convert import __main__ as command
from colorjax.convert import writers
from colorjax.errors import UserError
from colorjax.models.inception import Inception
from colorjax.models.perceptual import BACKBONES
from tests.models.test_perceptual import PHOTO, lpips_shapes, random_flat, shapes


def convert(kind: str, output: Path, *paths: Path) -> None:
    inputs = [f"--input={path}" for path in paths]
    assert command.main([f"--format={kind}", *inputs, f"--output={output}"]) == 0


def converted(kind: str, part: str, *paths: Path) -> dict[str, np.ndarray]:
    output = paths[0].with_suffix(".out")
    convert(kind, output, *paths)
    return flatten_dict(release.read_part(output, part), sep="/")


def fails(kind: str, path: Path, match: str) -> str:
    """The message; no output is left."""
    before = set(path.parent.iterdir())
    with pytest.raises(UserError, match=match) as caught:
        convert(kind, path.parent / "out", path)
    assert set(path.parent.iterdir()) == before
    return str(caught.value)


def test_a_network_without_words_needs_no_tokenizer(tmp_path: Path, capsys) -> None:
    heads, backbone = lpips_state("alexnet")
    convert("lpips", tmp_path / "out", stored(tmp_path / "a.safetensors", heads | backbone))
    assert "tokenizer" not in capsys.readouterr().out


def stored(path: Path, state: dict[str, np.ndarray]) -> Path:
    writers.write_safetensors(path, state)
    return path


def lpips_state(backbone: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Random heads and backbone under PyTorch's names and layout, made apart from the converter."""
    heads, layers = {}, {"classifier.0.weight": np.zeros((2, 2), np.float32)}
    for path, value in random_flat(lpips_shapes(backbone)).items():
        layer, leaf = path.split("/")
        kind, number = layer.split("_")
        if kind == "lin":
            heads[f"lin{number}.model.1.weight"] = value.T[:, :, None, None]
        elif leaf == "kernel":
            layers[f"features.{number}.weight"] = np.moveaxis(value, (3, 2), (0, 1))
        else:
            layers[f"features.{number}.bias"] = value
    return heads, layers


def same(got: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert got.keys() == expected.keys()
    for path, value in expected.items():
        np.testing.assert_array_equal(got[path], value, err_msg=path)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_heads_and_backbone_in_two_files(backbone: str, tmp_path: Path) -> None:
    heads, layers = lpips_state(backbone)
    writers.write_checkpoint(tmp_path / "heads.pth", heads)
    path = stored(tmp_path / "backbone.safetensors", layers)
    found = converted("lpips", f"lpips_{backbone}", path, tmp_path / "heads.pth")
    same(found, random_flat(lpips_shapes(backbone)))
    with pytest.raises(UserError, match="'lin0.model.1.weight', which another --input has too"):
        convert("lpips", tmp_path / "twice", *[tmp_path / "heads.pth"] * 2)


@pytest.mark.parametrize("backbone, root", [("vgg16", "VGG16_0"), ("alexnet", "AlexNet_0")])
def test_flax_pickles(backbone: str, root: str, tmp_path: Path) -> None:
    expected = random_flat(lpips_shapes(backbone))
    order = {str(layer.number): i for i, layer in enumerate(BACKBONES[backbone])}
    tree = {}
    for path, leaf in expected.items():
        layer, kind = path.split("/")
        name, number = layer.split("_")
        if name == "lin":
            tree[f"NetLinLayer_{number}/Conv_0/kernel"] = leaf[None, None]
        else:
            tree[f"{root}/Conv_{order[number]}/{kind}"] = leaf
    (tmp_path / "a.ckpt").write_bytes(pickle.dumps(unflatten_dict(tree, sep="/")))
    same(converted("lpips", f"lpips_{backbone}", tmp_path / "a.ckpt"), expected)
    (tmp_path / "b.ckpt").write_bytes(pickle.dumps({root: {}}))
    fails("lpips", tmp_path / "b.ckpt", "all of it")
    (tmp_path / "c.ckpt").write_bytes(pickle.dumps([1]))
    fails("lpips", tmp_path / "c.ckpt", "holds a list")


def test_lpips_that_does_not_fit_is_told_with_both_lists(tmp_path: Path) -> None:
    heads, layers = lpips_state("alexnet")
    state, path = heads | layers, tmp_path / "a.safetensors"
    renamed = state | {"features.99.weight": state["features.6.weight"]}
    del renamed["features.6.weight"]
    message = fails("lpips", stored(path, renamed), "1 keys .* 1 leaves")
    assert "\n  features.99.weight (384, 192, 3, 3)" in message
    assert "\n  lpips_alexnet/features_6/kernel (384, 192, 3, 3)" in message
    turned = state | {"features.6.weight": state["features.6.weight"].transpose(1, 0, 2, 3)}
    message = fails("lpips", stored(path, turned), "1 keys .* 1 leaves")
    assert "\n  features.6.weight (192, 384, 3, 3)" in message
    fails("lpips", stored(path, state | {"head": np.zeros(1, np.float32)}), r"head \(1,\)")
    fails("lpips", stored(path, heads), "empty leaves")
    fails("lpips", stored(path, {}), "all of it")
    stored(path, state)
    path.write_bytes(path.read_bytes()[:-1])
    fails("lpips", path, "damaged")


def test_whether_settings_make_sense(tmp_path: Path) -> None:
    flags = ["--format=inception", f"--input={tmp_path}", f"--output={tmp_path / 'out'}"]
    with pytest.raises(UserError, match="takes only"):
        command.main([*flags, "--parts=unet"])


@pytest.fixture(scope="module")
def inception_state() -> dict[str, np.ndarray]:
    """Random weights under the names of pytorch-fid's file."""
    rng = np.random.default_rng(0)
    state = {"fc.weight": np.zeros((4, 2048), np.float32)}
    for path, shape in shapes(Inception(), PHOTO).items():
        layer, leaf = path.replace("/", ".").rsplit(".", 1)
        if leaf == "kernel":
            kernel = rng.normal(size=(*shape[:1:-1], *shape[:2]))
            state[f"{layer}.conv.weight"] = kernel.astype(np.float32)
            for name in ("weight", "bias", "running_mean", "running_var"):
                values = rng.uniform(0.5, 2, shape[-1]).astype(np.float32)
                state[f"{layer}.bn.{name}"] = values
            state[f"{layer}.bn.num_batches_tracked"] = np.array(3)
    return state


def test_batch_norms_are_folded(inception_state: dict[str, np.ndarray], tmp_path: Path) -> None:
    path = stored(tmp_path / "a.safetensors", inception_state)
    flat = converted("inception", "inception", path)
    assert {path: leaf.shape for path, leaf in flat.items()} == shapes(Inception(), PHOTO)
    layer = "Mixed_5b.branch5x5_2"
    state = {k.removeprefix(f"{layer}."): v for k, v in inception_state.items() if layer in k}
    kernel = state["conv.weight"].astype(np.float64)
    patch = np.random.default_rng(1).normal(size=kernel.shape[1:])  # channels, height, width
    scale = state["bn.weight"] / np.sqrt(state["bn.running_var"] + 1e-3)
    summed = np.einsum("oihw,ihw->o", kernel, patch)
    expected = scale * (summed - state["bn.running_mean"]) + state["bn.bias"]
    ours = {name: flat[f"{layer.replace('.', '/')}/{name}"] for name in ("kernel", "bias")}
    found = np.einsum("hwio,ihw->o", ours["kernel"].astype(np.float64), patch) + ours["bias"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_inception_that_does_not_fit_is_told_with_both_lists(
    inception_state: dict[str, np.ndarray], tmp_path: Path
) -> None:
    path, key = tmp_path / "a.safetensors", "Mixed_6e.branch_pool.bn.running_var"
    rest = {k: v for k, v in inception_state.items() if k != key}
    message = fails("inception", stored(path, rest), "4 keys .* 2 leaves")
    assert "\n  Mixed_6e.branch_pool.conv.weight (192, 768, 1, 1)" in message
    assert "\n  inception/Mixed_6e/branch_pool/bias (192,)" in message
    renamed = rest | {f"{key}x": inception_state[key]}
    assert f"\n  {key}x (192,)" in fails("inception", stored(path, renamed), "5 keys .* 2 leaves")
    turned = inception_state | {
        "Mixed_6e.branch_pool.conv.weight": np.zeros((768, 192, 1, 1), np.float32)
    }
    fails("inception", stored(path, turned), "5 keys .* 2 leaves")
    fails("inception", stored(path, {}), "all of it")
