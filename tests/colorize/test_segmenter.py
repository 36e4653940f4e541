"""Masks from words, with a small random CLIPSeg."""

import copy
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from colorjax import release
from colorjax.colorize.words.segmenter import Segmenter, preprocess, things_from_left_to_right
from colorjax.data.tokenizer import Tokenizer
from colorjax.errors import UserError
from colorjax.models import clipseg
from tests import small

TOWER = dict(hidden_size=16, intermediate_size=32, num_attention_heads=2, hidden_act="quick_gelu")
CONFIG = dict(
    model=dict(
        text_config=TOWER | dict(vocab_size=1024, num_hidden_layers=1, max_position_embeddings=16),
        vision_config=TOWER | dict(num_hidden_layers=3, image_size=32, patch_size=16),
        projection_dim=8,
        extract_layers=[0, 1],
        reduce_dim=8,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=16,
        conditional_layer=0,
        use_complex_transposed_convolution=True,
    ),
    picture=dict(size=48, image_mean=[0.5, 0.5, 0.5], image_std=[0.25, 0.25, 0.25]),
)
TOKENIZER = small.DATA / "tokenizer"


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("clipseg")
    network = clipseg.build(CONFIG["model"])
    image, ids = jnp.zeros((1, 32, 32, 3)), jnp.zeros((1, 16), int)
    shapes = jax.eval_shape(network.init, jax.random.key(0), image, ids)["params"]
    rng = np.random.default_rng(0)
    params = {
        name: name.endswith("scale") + 0.3 * rng.normal(size=leaf.shape)
        for name, leaf in flatten_dict(shapes, sep="/").items()
    }
    tree = {"clipseg": unflatten_dict(params, sep="/")}
    release.write(path, {"clipseg": CONFIG}, tree, TOKENIZER)
    return path


@pytest.fixture(scope="module")
def segmenter(directory):
    return Segmenter(directory)


def photograph(height: int = 60, width: int = 90) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return (50.0 + 40.0 * np.sin(rows / 9.0) * np.cos(columns / 13.0)).astype(np.float32)


def test_masks_are_the_networks_probabilities(segmenter, directory):
    """At the network's own size nothing is resized, and each phrase has its map."""
    phrases = ["the cup", "a dog on grass", "sky"]
    masks = segmenter(photograph(), phrases, 48, 48)
    assert masks.shape == (3, 48, 48) and masks.dtype == np.float32
    image = preprocess(photograph(), **CONFIG["picture"])
    ids = Tokenizer(TOKENIZER, 16)(phrases)
    params = release.read_part(directory, "clipseg")
    network = jax.jit(clipseg.build(CONFIG["model"]).apply)
    logits = network({"params": params}, np.repeat(image, 3, axis=0), ids)
    np.testing.assert_allclose(masks, 1 / (1 + np.exp(-logits)), atol=1e-5)
    assert np.abs(masks[0] - masks[1]).max() > 0.01


def test_masks_have_the_asked_size(segmenter):
    masks = segmenter(photograph(), ["the cup"], 24, 96)
    assert masks.shape == (1, 24, 96) and masks.min() >= 0 and masks.max() <= 1
    whole = segmenter(photograph(), ["the cup"], 48, 48)
    np.testing.assert_allclose(masks.mean(), whole.mean(), atol=0.02)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("picture.size", 50, "patches of 16 do not fill a picture of 50"),
        ("model.reduce_dim", 9, "2 heads do not divide a reduce_dim of 9"),
        ("model.conditional_layer", 2, "conditional_layer is 2, of 2 extract_layers"),
        ("model.reduce_dim", 16, "part 'clipseg' of .* is of another model"),
        (None, None, "has no section 'clipseg'"),
    ],
)
def test_a_configuration_of_another_network_is_told(directory, tmp_path, place, value, message):
    config = {"clipseg": copy.deepcopy(CONFIG)} if place else {}
    if place:
        section, key = place.split(".")
        config["clipseg"][section][key] = value
    shutil.copytree(directory, tmp_path / "release")
    release.write(tmp_path / "release", config, {})
    with pytest.raises(UserError, match=message):
        Segmenter(tmp_path / "release")


def test_colours_are_taken_out_of_the_phrases(segmenter):
    plain, red, predicate = (
        segmenter(photograph(), [phrase], 48, 48)
        for phrase in ("the cup", "The red cup", "the cup is light blue")
    )
    np.testing.assert_array_equal(plain, red)
    np.testing.assert_array_equal(plain, predicate)


def test_a_gray_is_a_gray_in_three_channels():
    """L = 53.585 is the sRGB byte 128 (IEC 61966-2-1), whatever the picture's size."""
    for shape in ((10, 30), (48, 48), (400, 100)):
        image = preprocess(np.full(shape, 53.585), **CONFIG["picture"])
        assert image.shape == (1, 48, 48, 3)
        np.testing.assert_allclose(image, (128 / 255 - 0.5) / 0.25, atol=1e-6)
    ends = preprocess(np.array([[0.0] * 9 + [100.0] * 9] * 8), **CONFIG["picture"])
    assert ends.min() == -2 and ends.max() == 2


def test_things_of_one_kind_go_from_left_to_right():
    """Three disks of different size and certainty, and a speck."""
    rows, columns = np.mgrid[:40, :100]
    probability = np.full((40, 100), 0.05)
    for row, column, radius, value in ((20, 70, 6, 0.9), (10, 20, 9, 0.6), (30, 45, 8, 0.8)):
        probability[(rows - row) ** 2 + (columns - column) ** 2 < radius**2] = value
    probability[0, 99] = 0.9
    phrases = ["the blue cup", "the red cup", "the yellow cup"]
    masks = things_from_left_to_right(probability, phrases)
    assert [mask.max() for mask in masks] == [0.6, 0.8, 0.9]
    centres = [(mask * columns).sum() / mask.sum() for mask in masks]
    assert centres == pytest.approx([20, 45, 70])
    assert ((masks > 0).sum(0) <= 1).all()
    largest = things_from_left_to_right(probability, phrases[:2])
    assert [mask.max() for mask in largest] == [0.6, 0.8]
    with pytest.raises(
        UserError, match="'a' and 'b' and 'c' and 'd' and 'e' are 5 things .* 4 can"
    ):
        things_from_left_to_right(probability, list("abcde"))


def test_phrases_of_one_kind_are_told_apart_or_refused(segmenter, monkeypatch):
    maps = np.full((2, 48, 48), 0.1, np.float32)
    maps[0, 10:20, 30:40], maps[0, 10:30, 5:20] = 0.8, 0.9
    maps[1, :, 24:] = 0.7
    monkeypatch.setattr(segmenter, "_run", lambda params, image, ids: maps)
    masks = segmenter(photograph(), ["the red cup", "a tree", "the blue cup"], 48, 48)
    assert masks[0, 15, 10] == np.float32(0.9) and masks[0, 15, 35] == 0
    assert masks[2, 15, 35] == np.float32(0.8) and masks[2, 15, 10] == 0
    np.testing.assert_array_equal(masks[1], maps[1])
    with pytest.raises(UserError, match="only 2 can be told apart"):
        segmenter(photograph(), ["the red cup", "the cup", "the blue cup"], 48, 48)


def test_missing_weights_are_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(UserError, match="python -m colorjax.fetch clipseg, .*weights/clipseg"):
        Segmenter()
