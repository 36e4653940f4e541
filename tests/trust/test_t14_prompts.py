"""T14: whatever is typed or pasted as a prompt is taken, or told in a sentence."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, seed
from hypothesis import strategies as st

from colorjax import release
from colorjax.colorize.command import selection
from colorjax.colorize.words import prompts
from colorjax.data import phrases
from colorjax.data.tokenizer import Tokenizer
from colorjax.errors import UserError
from tests.searching import searched
from tests.trust.conftest import Row

WORDS = st.sampled_from(
    [
        *"a an the red car blue on with and not without its lightskyblue isn't".split(),
        *", . ; : ' \"".split(),
        *"#ff0000 rgb(1,2,3) hsl(1e999,1%,1%) rgb(999,0,0) %s {0} ../.. </w>".split(),
        *"<|endoftext|> <|startoftext|> 👨‍🚒 🚗 السيارة 红色 日本語 ﷽ e\u0301 \u202e".split(),
        *("\x00", "\x1b[2J", "\ud800", "\ufeff", "\u200b", "\U0010ffff"),
    ]
)
PIECES = st.one_of(WORDS, st.text(max_size=20), st.characters(categories=["Cs", "Cc", "Cf", "Lo"]))
PROMPTS = st.one_of(
    st.lists(PIECES, max_size=120).map(" ".join),
    st.lists(PIECES, max_size=20).map("".join),
    st.text(),
    st.integers(1, 10_000).flatmap(lambda n: PIECES.map(lambda piece: (piece * n)[:10_000])),
)
ORDINARY = "red blue green gray brown white black yellow car truck dog cat horse ship sky".split()


@pytest.fixture(scope="module")
def tokenize() -> Tokenizer:
    return Tokenizer(release.BUNDLED / "tokenizer", 77)


def test_anything_typed(tokenize: Tokenizer, row: Row) -> None:
    """Made plain, to tokens, to phrases and to remarks: nothing but `UserError` is raised."""
    count, told, refused = row.count(40, 6000), 0, 0

    @seed(row.seed)
    @searched(count)
    @given(PROMPTS)
    def check(text: str) -> None:
        nonlocal told, refused
        try:
            plain = prompts.plain(text)
            said = list(prompts.remarks(text, plain, tokenize))
            ids = tokenize([plain])
            phrases.colour_phrases(plain)
            phrases.instance_phrases(plain)
        except UserError as error:
            assert "\x1b" not in str(error) and len(str(error)) < 3000
            refused += 1
            return
        assert plain == plain.strip() and "\n" not in plain and prompts.plain(plain) == plain
        assert ids.shape == (1, 77) and ids.dtype == np.int32
        assert ids.min() >= 0 and ids.max() < tokenize.vocab_size
        is_cut = len(tokenize.offsets(plain)) > 75
        assert is_cut == any("words are lost" in line for line in said)
        told += is_cut

    check()
    row.tell(f"{count:,} prompts: {refused:,} refused in a sentence, {told:,} told of lost words")


def test_the_token_that_does_not_fit_is_told(tokenize: Tokenizer, row: Row) -> None:
    """75 words of one token each fit between the ends; the 76th is lost, and named."""
    count = row.count(5, 200)
    known = [word for word in ORDINARY if len(tokenize.offsets(word)) == 1]
    assert len(known) > 5
    for number in range(count):
        words = [known[i] for i in row.rng(number).integers(0, len(known), 76)]
        assert tokenize.lost_words(" ".join(words[:75])) == ""
        assert tokenize.lost_words(" ".join(words)) == words[75]
    row.tell(f"{count} of {count} sentences of 77 and 78 tokens: the word beyond is named")


def test_negative_and_listed_prompts(tokenize: Tokenizer, tmp_path: Path, row: Row) -> None:
    """A table of prompts is told by its row, whatever stands in it."""
    count = row.count(20, 1000)

    @seed(row.seed)
    @searched(count)
    @given(st.sampled_from([".csv", ".jsonl", ".txt"]), st.binary(max_size=300), st.text())
    def check(suffix: str, data: bytes, text: str) -> None:
        path = tmp_path / f"table{suffix}"
        path.write_bytes(
            b"file,prompt\n" * (suffix == ".csv") + data + text.encode("utf-8", "replace")
        )
        try:
            selection.Prompts(str(path), "usual")
        except UserError as error:
            assert str(path) in str(error) or "prompt" in str(error) or "colour" in str(error)

    check()
    row.tell(f"{count:,} tables of random bytes: read, or told")
