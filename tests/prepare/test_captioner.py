"""Captions by machine: what is shown, what is kept of what is said, and a real but random BLIP."""

from pathlib import Path

import numpy as np
import pytest

from colorjax.data import captions, records, transforms
from colorjax.errors import UserError
from colorjax.prepare import captioner

# torch and transformers warn of what they use of each other.
pytestmark = pytest.mark.filterwarnings("default")

DATA = Path(__file__).parent.parent / "assets"
COUNT = 40  # more than two batches, the last one short


@pytest.fixture(scope="module")
def stored() -> list[records.Record]:
    source = records.open_split(DATA / "cifar10", "test")
    return [records.Record.unpack(source[i]) for i in range(COUNT)]


def speaking(sees: str, seen: list[np.ndarray]) -> captioner.Captioner:
    """Says how bright a picture is, and keeps what it was shown."""

    def describe(images):
        seen.extend(images)
        return [f"a black and white photo of a thing of {image.mean():.3f}" for image in images]

    return captioner.Captioner(describe, sees)


def test_of_the_colour_picture_the_sentence_replaces_the_others(stored) -> None:
    seen: list[np.ndarray] = []
    made = list(captioner.add_captions(stored, speaking("colour", seen)))
    assert [record.key for record in made] == [record.key for record in stored]
    for before, after, image in zip(stored, made, seen, strict=True):
        np.testing.assert_array_equal(image, transforms.decode(before.image))
        said = f"a black and white photo of a thing of {image.mean():.3f}"
        assert after.captions == {"complete": [said]}
        assert (after.image, after.label) == (before.image, before.label)


def test_of_the_gray_picture_it_stands_beside_them(stored) -> None:
    seen: list[np.ndarray] = []
    made = list(captioner.add_captions(stored, speaking("gray", seen)))
    for before, after, image in zip(stored, made, seen, strict=True):
        assert np.ptp(image.astype(int), axis=-1).max() <= 1
        sentence = f"a thing of {image.mean():.3f}"
        assert after.captions == before.captions | {"uncoloured": [sentence]}
        assert captions.fixed(after.captions, "uncoloured") == sentence


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("a black and white photo of a dog on a couch", "a dog on a couch"),
        ("black and white photo of two horses", "two horses"),
        ("there is a dog in a black and white photo", "there is a dog in a black and white photo"),
        ("An old black - and - white photograph of a ship", "a ship"),
        ("a grayscale image of the sea", "the sea"),
        ("a photo of a cat", "a photo of a cat"),
    ],
)
def test_that_it_is_gray_is_left_out(said: str, kept: str) -> None:
    assert captioner.without_medium(said) == kept


def test_mistakes_are_told(tmp_path) -> None:
    with pytest.raises(UserError, match="'sound'"):
        captioner.load(str(tmp_path), "sound")
    words = "no folder with a BLIP" if _blip_loads() else r"colorjax\[caption\]"
    with pytest.raises(UserError, match=words):
        captioner.load(str(tmp_path / "nothing"))


def _blip_loads() -> bool:
    """Not without torch, nor beside a torchvision of another torch's."""
    try:
        import torch  # noqa: F401
        from transformers import BlipForConditionalGeneration  # noqa: F401
    except Exception:
        return False
    return True


def test_a_random_blip_says_what_transformers_says(stored, tmp_path) -> None:
    """Through files and our loader, against the model called directly."""
    if not _blip_loads():
        pytest.skip("transformers cannot load BLIP here")
    import torch
    from transformers import (
        BertTokenizer,
        BlipConfig,
        BlipForConditionalGeneration,
        BlipImageProcessor,
        BlipProcessor,
    )

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]"]
    words += [f"w{i}" for i in range(57)]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
    size = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
    ids = dict(bos_token_id=5, eos_token_id=3, sep_token_id=3, pad_token_id=0)
    text = size | ids | dict(vocab_size=64, max_position_embeddings=64, encoder_hidden_size=16)
    vision = size | dict(image_size=16, patch_size=8)
    torch.manual_seed(0)
    model = BlipForConditionalGeneration(
        BlipConfig(text_config=text, vision_config=vision, projection_dim=16)
    ).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.4)
    tokenizer = BertTokenizer(str(tmp_path / "vocab.txt"))
    processor = BlipProcessor(BlipImageProcessor(size={"height": 16, "width": 16}), tokenizer)
    model.save_pretrained(tmp_path / "blip")
    processor.save_pretrained(tmp_path / "blip")
    made = list(captioner.add_captions(stored[:20], captioner.load(str(tmp_path / "blip"))))
    images = [transforms.decode(record.image) for record in stored[:20]]
    for record, image in zip(made, images, strict=True):
        inputs = processor(images=image, return_tensors="pt")
        tokens = model.generate(**inputs, max_new_tokens=captioner.MOST_TOKENS)
        said = processor.batch_decode(tokens, skip_special_tokens=True)[0].strip()
        assert record.captions == {"complete": [said]}
    assert len({record.captions["complete"][0] for record in made}) > 1, "it says one thing only"
    assert any(record.captions["complete"][0] for record in made)
