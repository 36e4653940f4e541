"""LPIPS and the Inception network through the conversion command."""

import pickle

import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from colorjax import release
from colorjax.convert import __main__ as command
from colorjax.convert import perceptual, writers
from colorjax.errors import UserError
from tests.test_perceptual import lpips_shapes


def run(path, output, *more: str) -> None:
    assert command.main(["--format=lpips", f"--input={path}", f"--output={output}", *more]) == 0


def tensors() -> dict[str, np.ndarray]:
    """AlexNet's part of LPIPS, our paths and layout."""
    rng = np.random.default_rng(0)
    shapes = lpips_shapes("alexnet")
    return {k: rng.normal(size=shape).astype(np.float32) for k, shape in shapes.items()}


def test_heads_and_backbone_in_two_files(tmp_path) -> None:
    backbone, heads = {}, {}
    for path, leaf in tensors().items():
        layer, kind = path.split("/")
        name, number = layer.split("_")
        if name == "lin":
            heads[f"lin{number}.model.1.weight"] = leaf.T[:, :, None, None]
        else:
            kernel = leaf if kind == "bias" else leaf.transpose(3, 2, 0, 1)
            backbone[f"features.{number}.{'bias' if kind == 'bias' else 'weight'}"] = kernel
    writers.write_safetensors(tmp_path / "backbone.safetensors", backbone)
    writers.write_checkpoint(tmp_path / "heads.pth", heads)
    run(tmp_path / "backbone.safetensors", tmp_path / "out", f"--input={tmp_path / 'heads.pth'}")
    tree = release.read_part(tmp_path / "out", "lpips_alexnet")
    for path, leaf in flatten_dict(tree, sep="/").items():
        np.testing.assert_array_equal(leaf, tensors()[path])
    with pytest.raises(UserError, match="missing"):
        run(tmp_path / "heads.pth", tmp_path / "half")
    assert not (tmp_path / "half").exists()


def test_flax_pickles(tmp_path) -> None:
    order = {n: i for i, n in enumerate(perceptual.CONVOLUTIONS["alexnet"])}
    tree = {}
    for path, leaf in tensors().items():
        layer, kind = path.split("/")
        name, number = layer.split("_")
        if name == "lin":
            tree[f"NetLinLayer_{number}/Conv_0/kernel"] = leaf[None, None]
        else:
            tree[f"AlexNet_0/Conv_{order[int(number)]}/{kind}"] = leaf
    (tmp_path / "a.ckpt").write_bytes(pickle.dumps(unflatten_dict(tree, sep="/")))
    run(tmp_path / "a.ckpt", tmp_path / "out")
    read = flatten_dict(release.read_part(tmp_path / "out", "lpips_alexnet"), sep="/")
    for path, leaf in tensors().items():
        np.testing.assert_array_equal(read[path], leaf)


def test_a_wrong_shape_is_told(tmp_path) -> None:
    made = {f"features.{n}.weight": np.ones((3, 3, 3, 3), np.float32) for n in (0, 3, 6, 8, 10)}
    made |= {f"features.{n}.bias": np.ones(3, np.float32) for n in (0, 3, 6, 8, 10)}
    made |= {f"lin{i}.model.1.weight": np.ones((1, 3, 1, 1), np.float32) for i in range(5)}
    writers.write_safetensors(tmp_path / "a.safetensors", made)
    with pytest.raises(UserError, match="of another shape"):
        run(tmp_path / "a.safetensors", tmp_path / "out")
    assert not (tmp_path / "out").exists()
