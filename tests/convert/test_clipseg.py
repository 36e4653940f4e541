"""A folder of CLIPSeg through the conversion command: strict, and what it says of mistakes."""

import json

import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from colorjax import release
from colorjax.convert import __main__ as command
from colorjax.convert import clipseg as convert
from colorjax.convert import rules, writers
from colorjax.errors import UserError
from tests import small
from tests.colorize.test_segmenter import CONFIG, directory  # noqa: F401

PICTURE = {"size": {"height": 48, "width": 48}, "image_mean": [0.5] * 3, "image_std": [0.25] * 3}


@pytest.fixture
def folder(directory, tmp_path):  # noqa: F811
    """As transformers saves it, with what a whole CLIP has and segmentation needs not."""
    tree = flatten_dict(release.read_part(directory, "clipseg"), sep="/")
    tensors = dict(rules.to_torch(path, leaf) for path, leaf in tree.items())
    stem = "clip.vision_model.encoder.layers"
    for key in list(tensors):
        if key.startswith(f"{stem}.1."):
            tensors[key.replace(f"{stem}.1.", f"{stem}.2.")] = tensors[key]
    tensors["clip.visual_projection.weight"] = np.zeros((8, 16), np.float32)
    tensors["clip.vision_model.post_layernorm.weight"] = np.zeros(16, np.float32)
    tensors["clip.text_model.embeddings.position_ids"] = np.arange(16)[None]
    write(tmp_path, tensors)
    (tmp_path / "in" / "preprocessor_config.json").write_text(json.dumps(PICTURE))
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / "in" / name).write_bytes((small.DATA / "tokenizer" / name).read_bytes())
    return tmp_path, tensors


def write(path, tensors, **changes) -> None:
    (path / "in").mkdir(exist_ok=True)
    writers.write_safetensors(path / "in" / "model.safetensors", tensors)
    config = CONFIG["model"] | {"model_type": "clipseg"} | changes
    (path / "in" / "config.json").write_text(json.dumps(config))


def run(path, *flags: str) -> int:
    return command.main(
        ["--format=clipseg", f"--input={path / 'in'}", f"--output={path / 'out'}", *flags]
    )


def test_every_leaf_comes_back(folder, directory):  # noqa: F811
    path, _ = folder
    assert run(path) == 0
    assert release.read_config(path / "out")["clipseg"] == CONFIG
    found = flatten_dict(release.read_part(path / "out", "clipseg"), sep="/")
    expected = flatten_dict(release.read_part(directory, "clipseg"), sep="/")
    assert found.keys() == expected.keys()
    for key, leaf in expected.items():
        np.testing.assert_array_equal(found[key], leaf)
    assert (path / "out" / "tokenizer" / "vocab.json").is_file()
    assert not (path / "out" / "extras.safetensors").exists()


def test_kernels_are_turned(folder):
    """Both kinds of convolution: PyTorch's [out,in,h,w] and, transposed, [in,out,h,w]."""
    path, tensors = folder
    run(path)
    decoder = release.read_part(path / "out", "clipseg")["decoder"]
    for layer, shape in ((0, (3, 3, 8, 8)), (2, (4, 4, 4, 8)), (4, (4, 4, 1, 4))):
        theirs = tensors[f"decoder.transposed_convolution.{layer}.weight"]
        kernel = decoder[f"transposed_convolution_{layer}"]["kernel"]
        assert kernel.shape == shape
        assert kernel[1, 2, 0, 3] == theirs[3, 0, 1, 2]


def test_missing_and_unknown_keys_are_listed(folder):
    path, tensors = folder
    gone = "decoder.film_mul.weight"
    extra = {"decoder.more.bias": np.zeros(3, np.float32)}
    write(path, {k: v for k, v in tensors.items() if k != gone} | extra)
    with pytest.raises(UserError) as caught:
        run(path)
    assert "decoder.more.bias (3,)" in str(caught.value)
    assert "clipseg/decoder/film_mul/kernel" in str(caught.value)
    # A layer beyond the tower that the configuration tells of is no unused one.
    write(path, tensors, vision_config=CONFIG["model"]["vision_config"] | {"num_hidden_layers": 2})
    with pytest.raises(UserError, match="keys without a place"):
        run(path)
    assert not (path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (dict(reduce_dim="8"), "'8' instead of a number"),
        (dict(extract_layers=[0, 3]), r"extract_layers \[0, 3\]"),
        (dict(decoder_num_attention_heads=3), "does not divide reduce_dim"),
        (dict(text_config={"hidden_act": "relu"}), "text_config.hidden_act 'relu'"),
        (dict(vision_config={"num_attention_heads": 5}), "vision_config: heads do not divide"),
        (dict(vision_config=[1]), "wrong kind"),
    ],
)
def test_configurations_that_cannot_be(folder, changes, match):
    path, tensors = folder
    write(path, tensors, **changes)
    with pytest.raises(UserError, match=match):
        run(path)


def test_other_mistakes(folder):
    path, _ = folder
    with pytest.raises(UserError, match="takes no --config"):
        run(path, f"--config={path / 'in' / 'config.json'}")
    square = PICTURE | {"size": {"shortest_edge": 48}}
    (path / "in" / "preprocessor_config.json").write_text(json.dumps(square))
    with pytest.raises(UserError, match="only squares"):
        run(path)
    (path / "in" / "config.json").unlink()
    with pytest.raises(UserError, match="no folder with a config.json"):
        run(path)


def test_what_is_told_of_pictures(folder):
    """The released folder's file, today's file of transformers, and none."""
    path, _ = folder
    assert convert.read(path / "in", ()).settings["clipseg"]["picture"] == CONFIG["picture"]
    (path / "in" / "preprocessor_config.json").rename(path / "in" / "old.json")
    assert convert.read(path / "in", ()).settings["clipseg"]["picture"]["size"] == 352
    nested = json.dumps({"image_processor": PICTURE | {"size": 64}})
    (path / "in" / "processor_config.json").write_text(nested)
    assert convert.read(path / "in", ()).settings["clipseg"]["picture"]["size"] == 64
