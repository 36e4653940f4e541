"""Phrases and their tokens. The labels of the sentences are by hand."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from colorjax.data import captions, phrases, tokenizer
from colorjax.errors import UserError
from colorjax.train import vocabulary

SMALL = Path(__file__).parent.parent / "assets" / "tokenizer"
# A sentence, its phrases, and the sentence when all of them lost their colour.
READ = [
    (
        "a man in a red shirt riding a white horse",
        ["red shirt", "white horse"],
        "a man in a shirt riding a horse",
    ),
    ("the car is blue", ["car is blue"], "the car"),
    ("car, blue background", ["blue background"], "car, background"),
    ("a black and white cat", ["black and white cat"], "a cat"),
    ("a red, white, and blue flag", ["red, white, and blue flag"], "a flag"),
    ("an orange boat near a light blue house", ["orange boat", "light blue house"],
     "a boat near a house"),
    ("dark green walls and yellow apples", ["dark green walls", "yellow apples"],
     "walls and apples"),
    ("a red apple in a white uniform case", ["red apple", "white uniform case"],
     "an apple in a uniform case"),
    ("a multi colored kite and a rose-colored vase",
     ["multi colored kite", "rose-colored vase"], "a kite and a vase"),
    ("an off-white SUV by A Light-Blue Tent", ["off-white SUV", "Light-Blue Tent"],
     "a SUV by A Tent"),
    ("the hydrant is painted yellow and green", ["hydrant is painted yellow and green"],
     "the hydrant"),
    ("the train is red and leaves the station", ["train is red"], "the train leaves the station"),
    ("the tower is brown and tall", ["tower is brown"], "the tower is tall"),
    ("a lady in white playing chess", ["lady in white"], "a lady playing chess"),
    ("two girls dressed in pink sit on a bench", ["girls dressed in pink"],
     "two girls sit on a bench"),
    ("a room with walls painted beige", ["walls painted beige"], "a room with walls"),
    ("a sign that is green above a gray road", ["sign that is green", "gray road"],
     "a sign above a road"),
    ("a black faced sheep and a red-haired boy", ["black faced sheep", "red-haired boy"],
     "a sheep and a boy"),
    ("a blue bus stops at a brown brick station", ["blue bus", "brown brick station"],
     "a bus stops at a brick station"),
    ("white horses pull a golden carriage", ["white horses", "golden carriage"],
     "horses pull a carriage"),
    ("a red parked car and a green car parked outside", ["red parked car", "green car"],
     "a parked car and a car parked outside"),
    ("a gray cat examines the silver spoon", ["gray cat", "silver spoon"],
     "a cat examines the spoon"),
    # Colours of nothing in the picture, fruits, people, and what cannot be told.
    ("a black and white photo of a dog", [], None),
    ("a colorful image", [], None),
    ("zebras in black and white", [], None),
    ("an orange next to a glass of orange juice", [], None),
    ("a white man and a black woman", [], None),
    ("a cone of ice cream", [], None),
    ("the cat on the mat is black", [], None),
    ("light shines on a dark street", [], None),
    ("blue and red", [], None),
    ("", [], None),
]  # fmt: skip


@pytest.mark.parametrize(("sentence", "expected", "plain"), READ, ids=[row[0] for row in READ])
def test_sentences_read_by_hand(sentence, expected, plain):
    found = phrases.colour_phrases(sentence)
    assert [sentence[phrase.start : phrase.stop] for phrase in found] == expected
    assert phrases.without_colours(sentence, found) == (sentence if plain is None else plain)


def test_our_own_captions_are_understood():
    """Every sentence that is made of two colours and a class, and what it was made of."""
    for colours in itertools.permutations(("red", "gray", "orange"), 2):
        for name in captions.CIFAR10_CLASSES:
            levels = captions.phrase(*colours, name)
            for text in levels["complete"]:
                found = phrases.colour_phrases(text)
                told = [c for c in text.split() if c.strip(",") in colours]
                assert len(found) == 2, text
                for phrase, colour in zip(found, told, strict=True):
                    assert colour in text[phrase.start : phrase.stop]
            for text in levels["partial"]:
                assert len(phrases.colour_phrases(text)) == any(c in text for c in colours), text


@pytest.mark.parametrize("sentence", [row[0] for row in READ])
def test_phrases_are_inside_in_order_and_apart(sentence):
    found = phrases.colour_phrases(sentence)
    edges = [edge for phrase in found for edge in (phrase.start, phrase.stop)]
    assert edges == sorted(edges) and all(0 <= edge <= len(sentence) for edge in edges)
    for phrase in found:
        start, stop = phrase.cut
        assert phrase.start <= start < stop
        assert sentence[phrase.start : phrase.stop].strip() == sentence[phrase.start : phrase.stop]


def test_partial_keeps_some_colours_and_leaves_some_out():
    sentence = "a red car, a green tree and a blue house under the white sky"
    colours = {"red", "green", "blue", "white"}
    rng = np.random.default_rng(0)
    kept = [colours & set(phrases.partial(sentence, rng).split()) for _ in range(200)]
    assert {len(words) for words in kept} == {1, 2, 3}
    assert set.union(*kept) == colours
    assert phrases.partial("a green tree", rng) == "a tree"
    assert phrases.partial("a tree", rng) == "a tree"


def test_instance_phrases():
    assert phrases.instance_phrases("the blue cup, the red cup,the yellow cup, ") == [
        "the blue cup",
        "the red cup",
        "the yellow cup",
    ]
    assert phrases.instance_phrases("a man in a red shirt riding a white horse") == [
        "red shirt",
        "white horse",
    ]
    for prompt in ("the red cup", "a cup", "The car is blue"):
        assert phrases.instance_phrases(prompt) == [prompt]
    assert phrases.instance_phrases(" ") == []


def released_ranges(directory: Path, tokens: list[int]) -> list[list[int]]:
    """The release's rule on token ids without BOS: each comma ends a phrase and is not of it."""
    comma = json.loads((directory / "vocab.json").read_text("utf-8"))[",</w>"]
    splits = [i + 1 for i, token in enumerate(tokens) if token == comma] + [len(tokens) + 1]
    starts = [1] + [split + 1 for split in splits[:-1]]
    return [list(range(a, b)) for a, b in zip(starts, splits, strict=True)]


@pytest.mark.parametrize(
    "prompt",
    [
        "the blue cup, the red cup, the yellow cup",
        "a car,a blue car , another car",
        "zebra, Ünïcode's zébra!, the red cup",
    ],
)
def test_spans_are_the_releases(prompt):
    tokenize = tokenizer.Tokenizer(SMALL, max_length=77)
    found = phrases.spans(tokenize, prompt, phrases.instance_phrases(prompt))
    assert found.shape == (3, 77) and found.dtype == bool
    ids = tokenize([prompt])[0]
    tokens = ids[1 : list(ids).index(tokenize.eos_id)].tolist()
    assert [np.flatnonzero(row).tolist() for row in found] == released_ranges(SMALL, tokens)


@pytest.fixture(scope="module")
def whole_words(tmp_path_factory):
    """A tokenizer of which these words are single tokens, as they are of CLIP's."""
    directory = tmp_path_factory.mktemp("words")
    corpus = ["the blue cup, the red cup, the yellow cup and white horse beside a shirt"]
    vocabulary.train(corpus, directory, vocab_size=514 + 32)
    return tokenizer.Tokenizer(directory, max_length=16)


def test_the_releases_example(whole_words):
    prompt = "the blue cup, the red cup, the yellow cup"
    found = phrases.spans(whole_words, prompt, phrases.instance_phrases(prompt))
    assert [np.flatnonzero(row).tolist() for row in found] == [
        [1, 2, 3],
        [5, 6, 7],
        [9, 10, 11],
    ]


def test_spans_in_a_free_sentence(whole_words):
    tokenize, sentence = whole_words, "a red shirt and a white horse beside a red shirt"
    given = ["white horse", "red shirt", "red shirt"]
    found = phrases.spans(tokenize, sentence, given)
    assert len(tokenize.offsets(sentence)) == len(sentence.split())
    assert [np.flatnonzero(row).tolist() for row in found] == [[6, 7], [2, 3], [10, 11]]
    assert not (found.sum(0) > 1).any()
    # A phrase is not found inside of another one, nor inside a word.
    both = phrases.spans(tokenize, "the red cup, a cup", ["cup", "red cup"])
    assert [np.flatnonzero(row).tolist() for row in both] == [[6], [2, 3]]
    assert np.flatnonzero(phrases.spans(tokenize, "theme the", ["the"])).min() > 1


def test_mistakes_are_told():
    tokenize = tokenizer.Tokenizer(SMALL, max_length=6)
    with pytest.raises(UserError, match="'the red cup' is not within the first 4 tokens"):
        phrases.spans(tokenize, "the blue cup, the red cup", ["the blue cup", "the red cup"])
    with pytest.raises(UserError, match="'green' is not in the prompt 'the red cup'"):
        phrases.spans(tokenize, "the red cup", ["green"])
    with pytest.raises(UserError, match="not as often"):
        phrases.spans(tokenize, "the red cup", ["red cup", "red cup"])
    with pytest.raises(UserError, match="'' is not in the prompt"):
        phrases.spans(tokenize, "the red cup", [""])
