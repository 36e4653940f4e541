"""Zero-shot captions on a small random CLIP: its own logits, by a softmax."""

from pathlib import Path

import jax
import numpy as np
import pytest

from colorjax import release
from colorjax.colorize.words import automatic
from colorjax.data import captions
from colorjax.data.tokenizer import FILES, Tokenizer
from colorjax.errors import UserError
from colorjax.maths import color
from colorjax.methods import naming
from colorjax.models.clip import CLIP
from tests import small

SUBJECTS = ["a red car", "a dog", "a ship on the sea"]


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    """A release with both towers and a list of subjects of its own."""
    path = tmp_path_factory.mktemp("naming") / "release"
    sizes = small.cold_config().model.to_dict()
    namer = naming.build(sizes)
    params = small.drawn(lambda key: naming.init(namer, key))
    params["logit_scale"] = np.float32(3.0) * np.ones((), np.float32)
    text = params.pop("text_model")
    parts = {"text_encoder": text, "image_encoder": params}
    release.write(path, sizes | {"subjects": SUBJECTS}, parts, small.DATA / "tokenizer")
    return path


@pytest.fixture(scope="module")
def tokenize(directory) -> Tokenizer:
    return Tokenizer(release.tokenizer(directory, FILES), 24, 1024)


def test_probabilities_are_clips(directory, tokenize) -> None:
    """CLIP's own logits of the gray pictures, by a softmax over the captions."""
    namer, params = naming.load(directory)
    side = namer.clip.vision.image_size
    lightness = np.random.default_rng(0).uniform(5, 95, (3, side, side)).astype(np.float32)
    ids = tokenize(SUBJECTS)
    got = jax.jit(
        lambda params: naming.probabilities(
            namer, params, lightness, naming.embed(namer, params, ids)
        )
    )(params)
    gray = np.repeat(color.lab_to_srgb(_lab(lightness))[..., :1], 3, axis=-1)
    logits = jax.jit(CLIP.apply, static_argnums=0)(
        namer.clip, {"params": params}, _normal(gray, namer.normalization), ids
    )
    powers = np.exp(np.asarray(logits, np.float64))
    np.testing.assert_allclose(
        got, powers / powers.sum(1, keepdims=True), atol=2e-4
    )  # after rounding, times e^3


def _lab(lightness: np.ndarray) -> np.ndarray:
    return np.stack([lightness, 0 * lightness, 0 * lightness], axis=-1)


def _normal(rgb: np.ndarray, normalization: str) -> np.ndarray:
    """With CLIP's published means and deviations; a small tower saw [-1,1]."""
    if normalization == "none":
        return rgb * 2 - 1
    mean, deviation = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
    return ((rgb - mean) / deviation).astype(np.float32)


def test_the_likeliest_is_taken_and_a_doubtful_one_is_not(
    directory, tokenize, monkeypatch: pytest.MonkeyPatch
) -> None:
    caption = automatic.Captioner(directory, tokenize)
    assert caption.classify.subjects == SUBJECTS
    photo = np.random.default_rng(1).uniform(5, 95, (40, 90)).astype(np.float32)
    for chances, said in (
        ([0.2, 0.5, 0.3], "a dog"),
        ([0.1, 0.1, 0.8], "a ship on the sea"),
        ([0.51, 0.29, 0.20], "a red car"),
        ([0.49, 0.31, 0.20], captions.SCARCE[0]),
    ):
        monkeypatch.setattr(
            caption.classify, "_run", lambda *_, chances=chances: np.array([chances])
        )
        assert caption(photo) == said


def test_subjects_name_no_colour_and_no_medium() -> None:
    words = naming.subjects({})
    assert len(words) == len(set(words)) > 100
    text = " ".join(words)
    for forbidden in ("black", "white", "gray", "vintage", "photo", "sepia", "monochrome", "red "):
        assert forbidden not in text


def test_a_release_without_a_tower_says_so(directory, tmp_path) -> None:
    small.write_release(tmp_path / "without")
    with pytest.raises(UserError, match="image_encoder"):
        naming.load(tmp_path / "without")
