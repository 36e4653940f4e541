import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from colorjax.data import captions, colour_names, records, transforms
from colorjax.errors import UserError

COLOURS = colour_names.NEUTRAL_COLOURS + colour_names.CHROMATIC_COLOURS
DATA = Path(__file__).parent.parent / "assets" / "cifar10"
# sRGB that people call so.
ANCHORS = {
    "red": (190, 30, 35),
    "pink": (245, 170, 185),
    "orange": (240, 140, 30),
    "brown": (110, 70, 40),
    "beige": (215, 200, 175),
    "yellow": (235, 215, 60),
    "green": (45, 130, 50),
    "teal": (50, 150, 150),
    "blue": (50, 100, 190),
    "purple": (125, 60, 150),
    "black": (20, 20, 22),
    "gray": (128, 128, 126),
    "white": (245, 246, 245),
}


def _framed(inner, outer):
    image = np.empty((32, 32, 3), np.uint8)
    image[:] = outer
    image[8:24, 8:24] = inner
    return image


def test_anchors_cover_the_words():
    assert set(ANCHORS) == set(COLOURS)


@pytest.mark.parametrize("word", sorted(ANCHORS))
def test_everyday_colours_get_everyday_names(word):
    other = "blue" if word != "blue" else "red"
    assert colour_names.region_colours(_framed(ANCHORS[word], ANCHORS[other])) == (word, other)
    assert colour_names.region_colours(_framed(ANCHORS[other], ANCHORS[word])) == (other, word)


@pytest.mark.parametrize("word", colour_names.CHROMATIC_COLOURS)
def test_prototypes_bear_their_name(word):
    lab = colour_names.prototype(word)
    assert lab.shape == (3,)
    assert colour_names.name_colour(lab) == word


def test_prototypes_are_for_chromatic_words_only():
    with pytest.raises(UserError, match="'gray'.*red, pink"):
        colour_names.prototype("gray")


def test_a_region_is_named_by_its_mean():
    assert colour_names.name_colour(np.array([[50.0, 40.0, 0.0], [50.0, -40.0, 0.0]])) == "gray"
    assert colour_names.name_colour(np.array([[[20.0, 5.0, 60.0]], [[60.0, 5.0, 60.0]]])) == "brown"
    assert (
        colour_names.name_colour(np.array([[[50.0, 5.0, 60.0]], [[60.0, 5.0, 60.0]]])) == "yellow"
    )


def test_every_hue_has_a_name():
    angles = np.radians(np.arange(0, 360, 0.5))
    names = [
        colour_names.name_colour(np.array([60, 30 * np.cos(x), 30 * np.sin(x)])) for x in angles
    ]
    changes = [b for a, b in zip(names, names[1:]) if a != b]
    assert changes == ["orange", "yellow", "green", "teal", "blue", "purple", "pink"]


def test_sentences_are_english():
    for class_name in captions.CIFAR10_CLASSES:
        for word in COLOURS:
            levels = captions.phrase(word, word, class_name)
            for text in levels["complete"] + levels["partial"]:
                assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", text), text
                assert text == text.lower().strip()
            assert all(text.count(word) == 2 for text in levels["complete"])
            assert all(text.count(word) <= 1 for text in levels["partial"])


def test_the_plainest_sentence_comes_first():
    levels = captions.describe(_framed(ANCHORS["red"], ANCHORS["gray"]), "truck")
    assert levels["complete"][0] == "a red truck on a gray background"
    assert levels["partial"][0] == "a red truck"
    assert "a truck" in levels["partial"]
    cars = captions.phrase("orange", "blue", "automobile")
    assert {"an orange car", "an orange automobile", "an automobile"} <= set(cars["partial"])


def test_scarce_sentences_name_nothing():
    nouns = {"plane", "car", "boat", *captions.CIFAR10_CLASSES}
    words = set(" ".join(captions.SCARCE).split())
    assert captions.SCARCE[0] == "a colorful image"
    assert len(captions.SCARCE) == len(set(captions.SCARCE)) >= 6
    assert not words & (nouns | set(COLOURS))


def test_sampling_keeps_the_shares():
    levels = {"complete": ["c1", "c2"], "partial": ["p"]}
    rng = np.random.default_rng(0)
    n = 20_000
    counts = Counter(captions.sample(levels, rng, partial_share=0.5) for _ in range(n))
    scarce = [counts[text] / n for text in captions.SCARCE]
    # 0.9 * 0.3 scarce, the other 0.63 halved; 0.015 is above four standard deviations.
    assert counts[""] / n == pytest.approx(0.1, abs=0.015)
    assert sum(scarce) == pytest.approx(0.27, abs=0.015) and min(scarce) > 0.02
    assert counts["p"] / n == pytest.approx(0.315, abs=0.015)
    assert counts["c1"] / n == pytest.approx(0.1575, abs=0.015)
    assert counts["c2"] / n == pytest.approx(0.1575, abs=0.015)


def test_an_empty_level_gives_way_to_the_other():
    rng = np.random.default_rng(0)
    draws = {captions.sample({"partial": ["p"]}, rng, 0.0, 0.0) for _ in range(50)}
    assert draws == {"p"}
    assert {captions.sample({}, rng, 0.0, 0.0) for _ in range(200)} == set(captions.SCARCE)
    assert captions.fixed({"complete": [], "partial": ["p"]}, "complete") == "p"


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_no_caption_loses_its_only_colour(share: float):
    """Nor does any lose one where no sentence is to be partial, as in the paper."""
    rng = np.random.default_rng(0)
    draws = {captions.sample({"complete": ["a red car"]}, rng, 0.0, 0.0, share) for _ in range(200)}
    assert draws == {"a red car"}
    assert captions.sample({"complete": ["a red car", "a cat"]}, rng, 0.0, 0.0) != "a car"
    draws = {
        captions.sample({"complete": ["c"], "partial": ["p"]}, rng, 0.0, 0.0) for _ in range(200)
    }
    assert draws == {"c"}


def test_partial_sentences_are_made_of_complete_ones():
    """A record with free sentences only, as COCO has."""
    levels = {"complete": ["a red car under a blue sky"]}
    rng = np.random.default_rng(0)
    draws = Counter(captions.sample(levels, rng, 0.0, 0.0, 0.5) for _ in range(4000))
    assert set(draws) == {
        "a red car under a blue sky",
        "a car under a blue sky",
        "a red car under a sky",
    }
    # Half stays complete; 0.04 is five standard deviations.
    assert draws["a red car under a blue sky"] / 4000 == pytest.approx(0.5, abs=0.04)
    assert draws["a car under a blue sky"] / 4000 == pytest.approx(0.25, abs=0.04)
    partial = captions.fixed(levels, "partial")
    assert partial in draws and partial != levels["complete"][0]
    assert captions.fixed(levels, "partial") == partial


def test_fixed_levels():
    levels = {"complete": ["c1", "c2"], "partial": ["p1", "p2"]}
    texts = [captions.fixed(levels, level) for level in captions.LEVELS]
    assert texts == ["c1", "p1", "a colorful image", "", "p1"]
    with pytest.raises(UserError, match="'rich'.*complete, partial, scarce, none"):
        captions.fixed(levels, "rich")


def test_what_is_said_of_gray_pictures():
    levels = {"complete": ["a red car on a gray road"], "partial": ["an orange car", "a road"]}
    assert captions.fixed(levels, "uncoloured") == "a car"
    assert captions.fixed({"uncoloured": ["a fast car"], **levels}, "uncoloured") == "a fast car"
    rng = np.random.default_rng(0)
    draws = Counter(captions.of_gray(levels["complete"][0], rng) for _ in range(2000))
    told = "a black and white photo of a car on a road"
    assert set(draws) == {told, *captions.BLACK_AND_WHITE}
    assert draws[told] / 2000 == pytest.approx(0.5, abs=0.05)
    for nothing in ("", captions.SCARCE[0]):
        draws = Counter(captions.of_gray(nothing, rng) for _ in range(100))
        assert set(draws) == set(captions.BLACK_AND_WHITE)


def test_stored_captions_are_those_of_the_stored_pictures():
    source = records.open_split(DATA, "test")
    words: Counter[str] = Counter()
    for data in (source[i] for i in range(len(source))):
        record = records.Record.unpack(data)
        image = transforms.decode(record.image)
        assert record.label in captions.CIFAR10_CLASSES
        assert captions.describe(image, str(record.label)) == record.captions
        words.update(colour_names.region_colours(image))
    assert set(words) == set(COLOURS)
    assert max(words.values()) < 0.45 * 2 * len(source)
