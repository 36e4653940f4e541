"""Prompts as people type and paste them; colour words by CSS's own names of them."""

import time

import pytest

from colorjax import release
from colorjax.colorize.words import prompts
from colorjax.data.tokenizer import Tokenizer
from colorjax.errors import UserError


@pytest.fixture(scope="module")
def tokenize() -> Tokenizer:
    return Tokenizer(release.BUNDLED / "tokenizer", 77)


@pytest.mark.parametrize(
    "pasted",
    [
        "a\u00a0red car",
        "\ufeffa red car",
        "a\tred\ncar\n",
        " a  red\u2009car ",
        "a red\u200b car",
        "a re\u00add\u3000car",
        "a\r\nred\x0bcar\u2028",
        "\u202aa red car\u202c",
    ],
)
def test_white_space_and_marks_of_layout_do_not_matter(pasted) -> None:
    assert prompts.plain(pasted) == "a red car"


def test_emoji_and_other_scripts_pass() -> None:
    assert prompts.plain("a \U0001f468\u200d\U0001f692 truck") == "a \U0001f468\U0001f692 truck"
    assert prompts.plain("红色的汽车") == "红色的汽车"


@pytest.mark.parametrize(
    "garbled", ["red\udcff", "red\x00", "a\x1b[31mred", "red\x7f", "a\x85b\x9b"]
)
def test_control_characters_are_refused(garbled) -> None:
    with pytest.raises(UserError, match="no text"):
        prompts.plain(garbled)


@pytest.mark.parametrize(
    ("code", "word"),
    [
        *(("#ff0000", "red"), ("#F00", "red"), ("#0000ff", "blue"), ("#008000", "green")),
        *(("#ffff00", "yellow"), ("#ffa500", "orange"), ("#800080", "purple"), ("#fff", "white")),
        *(("#ffc0cb", "pink"), ("#000000", "black"), ("#808080", "gray"), ("#8b4513", "brown")),
        *(("rgb(255, 0, 0)", "red"), ("hsl(240,100%,50%)", "blue"), ("CornflowerBlue", "blue")),
        *(("lightskyblue", "blue"), ("darkolivegreen", "green"), ("palevioletred", "pink")),
        *(("#f5f5dc", "beige"), ("#008080", "teal"), ("#e10600", "red"), ("#1e3faa", "blue")),
    ],
)
def test_codes_and_names_of_css_become_words(code, word, tokenize) -> None:
    given = f"a car in {code}, parked"
    prompt = prompts.plain(given)
    assert prompt == f"a car in {word}, parked"
    assert any(
        code in remark and word in remark for remark in prompts.remarks(given, prompt, tokenize)
    )
    assert prompts.plain("number #1234 and #ff00001") == "number #1234 and #ff00001"


@pytest.mark.parametrize(
    "prompt", ["not red", "a car without blue", "it isn't green", "no blue sky"]
)
def test_negation_is_told(prompt, tokenize) -> None:
    assert any(
        "--negative_prompt" in remark for remark in prompts.remarks(prompt, prompt, tokenize)
    )


@pytest.mark.parametrize(
    ("prompt", "unknown"),
    [
        ("a red car on a gray background", []),
        ("a colorful image", []),
        ("ein rotes Auto", ["rotes"]),
        ("红色的汽车", ["红色的汽车"]),
        ("a red xqzzt", ["xqzzt"]),
        ("a \U0001f692 truck", ["\U0001f692"]),
    ],
)
def test_words_without_a_meaning_are_named(prompt, unknown, tokenize) -> None:
    words = prompts.unknown_words(prompt, tokenize)
    assert set(unknown) <= set(words) and bool(unknown) == bool(words)
    told = list(prompts.remarks(prompt, prompt, tokenize))
    assert len(told) == bool(unknown) and all(word in told[0] for word in words)


def test_words_that_are_colours_as_they_are_stay() -> None:
    for text in ("a turquoise car", "lavender and chocolate", "a skyblue tie", "rgb cables (red)"):
        assert prompts.plain(text) == text
    with pytest.raises(UserError, match="is no colour"):
        prompts.plain("a car in rgb(1)")


@pytest.mark.parametrize("word", ["xqzzt ", "#f00 ", "ab1", "红 ", "not a "])
def test_a_prompt_of_ten_thousand_characters_costs_and_says_little(word, tokenize) -> None:
    start = time.process_time()
    given = (word * 10_000)[:10_000]
    told = list(prompts.remarks(given, prompts.plain(given), tokenize))
    assert told and max(map(len, told)) < 500
    assert time.process_time() - start < 2.0
