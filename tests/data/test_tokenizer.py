import itertools
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from colorjax.data import captions, tokenizer
from colorjax.errors import UserError
from colorjax.train import vocabulary

SMALL = Path(__file__).parent.parent / "assets" / "tokenizer"
# The published rule for ASCII: letters in runs, digits alone, other signs in runs.
WORDS = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[a-z]+|[0-9]|[^\sa-z0-9]+")


def test_importing_it_loads_no_library_of_data_sets():
    code = "import sys, colorjax.data.tokenizer; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"array_record", "grain", "tensorflow_datasets", "jax", "cv2", "PIL", "transformers"}
    modules = set(out.stdout.split())
    assert "colorjax.data.tokenizer" in modules and not heavy & modules


def _merged(symbols, pair):
    out, i = [], 0
    while i < len(symbols):
        if tuple(symbols[i : i + 2]) == pair:
            out.append("".join(pair))
            i += 2
        else:
            out.append(symbols[i])
            i += 1
    return out


def _symbols(word):
    return [*word[:-1], word[-1] + "</w>"]


def _oracle_ids(text, directory):
    """Byte-pair encoding by its definition: apply every merge rule in order to every word."""
    vocabulary = json.loads((directory / "vocab.json").read_text("utf-8"))
    rules = [tuple(x.split()) for x in (directory / "merges.txt").read_text("utf-8").split("\n")]
    ids = []
    for word in WORDS.findall(text.lower()):
        symbols = _symbols(word)
        for rule in rules[1:-1]:
            symbols = _merged(symbols, rule)
        ids += [vocabulary[symbol] for symbol in symbols]
    return ids


def _oracle_merges(corpus, count):
    """Byte-pair training by its definition; equal counts go to the pair of smaller ids."""
    order = vocabulary.byte_symbols()
    ids = {symbol: i for i, symbol in enumerate(order + [s + "</w>" for s in order])}
    words = Counter(word for text in corpus for word in WORDS.findall(text.lower()))
    split = {word: _symbols(word) for word in words}
    merges = []
    for _ in range(count):
        pairs: Counter[tuple[str, str]] = Counter()
        for word, times in words.items():
            for pair in itertools.pairwise(split[word]):
                pairs[pair] += times
        best = min(pairs, key=lambda pair: (-pairs[pair], ids[pair[0]], ids[pair[1]]))
        ids.setdefault("".join(best), len(ids))
        merges.append(best)
        split = {word: _merged(symbols, best) for word, symbols in split.items()}
    return merges


@pytest.fixture(scope="module")
def small():
    return tokenizer.Tokenizer(SMALL, max_length=16)


@pytest.mark.parametrize(
    "text",
    [
        "a red truck on a gray background",
        "A man's RED T-shirt, & 21 dogs!!",
        "  zebra\n\tqueue ",
        "",
    ],
)
def test_ids_are_byte_pairs_between_bos_and_eos(small, text):
    expected = [1022, *_oracle_ids(text, SMALL)[:14]]
    ids = small([text])
    assert ids.dtype == np.int32 and ids.shape == (1, 16)
    assert ids[0].tolist() == expected + [1023] * (16 - len(expected))


def test_long_texts_keep_an_eos(small):
    ids = small(["a red truck on a gray background " * 5, "a truck"])
    assert ids[0, -1] == 1023 and 1023 not in ids[0, :-1]
    assert ids[1].tolist().count(1023) == 13
    assert small([]).shape == (0, 16)


def test_lost_words_are_whole_words():
    assert len(_oracle_ids("a red truck", SMALL)) == 3
    assert len(_oracle_ids("zebra", SMALL)) > 1
    small = tokenizer.Tokenizer(SMALL, max_length=6)
    assert small.lost_words("a red truck on") == ""
    assert small.lost_words("A red truck on the  Gray road ") == "the  Gray road"
    assert small.lost_words("a red truck zebra") == "zebra"
    assert small.lost_words("") == ""


def test_the_small_vocabulary_has_clips_layout(small):
    vocabulary = json.loads((SMALL / "vocab.json").read_text("utf-8"))
    assert sorted(vocabulary.values()) == list(range(1024))
    # Ids of single bytes in CLIP's published vocabulary.
    for symbol, index in {"!": 0, "a": 64, "~": 93, "!</w>": 256, "a</w>": 320}.items():
        assert vocabulary[symbol] == index
    assert (vocabulary["<|startoftext|>"], vocabulary["<|endoftext|>"]) == (1022, 1023)
    assert (small.vocab_size, small.bos_id, small.eos_id) == (1024, 1022, 1023)
    merges = (SMALL / "merges.txt").read_text("utf-8").split("\n")[1:-1]
    by_id = {index: symbol for symbol, index in vocabulary.items()}
    assert [merge.replace(" ", "") for merge in merges] == [by_id[i] for i in range(512, 1022)]


def test_caption_words_are_single_tokens(small):
    sentences = [*captions.SCARCE, *captions.phrase("teal", "orange", "airplane")["complete"]]
    for text in sentences:
        ids = small([text])[0]
        assert (ids != small.eos_id).sum() == 1 + len(WORDS.findall(text)), text


def test_training_follows_the_definition(tmp_path):
    corpus = [
        "a red car on the red road",
        "the blue bird, the bluebird",
        "cars and birds on three roofs",
        "red",
    ]
    vocabulary.train(corpus, tmp_path, vocab_size=514 + 25)
    lines = (tmp_path / "merges.txt").read_text("utf-8").split("\n")
    assert lines[0] == "#version: 0.2" and lines[-1] == ""
    assert [tuple(line.split()) for line in lines[1:-1]] == _oracle_merges(corpus, 25)
    trained = tokenizer.Tokenizer(tmp_path, max_length=12)
    expected = [537, *_oracle_ids("the red birds", tmp_path)]
    assert trained(["the red birds"])[0, : len(expected)].tolist() == expected


def test_the_bundled_files_are_what_training_writes(tmp_path):
    vocabulary.train(vocabulary.everyday_corpus(), tmp_path, vocab_size=1024)
    for name in ("vocab.json", "merges.txt"):
        assert (tmp_path / name).read_bytes() == (SMALL / name).read_bytes()


@pytest.mark.parametrize("padding", ["<|endoftext|>", "!"])
def test_padding_is_what_the_folder_says(tmp_path, padding):
    """As in the folders of Stable Diffusion 1 and 2, whose two descriptions disagree."""
    from transformers import CLIPTokenizer

    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).write_bytes((SMALL / name).read_bytes())
    described = {"pad_token": "<|endoftext|>", "tokenizer_class": "CLIPTokenizer"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(described))
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"pad_token": padding}))
    texts = ["", "a red truck", "stop! a truck!!", "a red truck on a gray background " * 5]
    theirs = CLIPTokenizer.from_pretrained(tmp_path)
    expected = theirs(texts, padding="max_length", max_length=16, truncation=True)["input_ids"]
    ours = tokenizer.Tokenizer(tmp_path, max_length=16)
    np.testing.assert_array_equal(ours(texts), expected)
    assert ours.pad_id == expected[0][-1] == {"!": 0}.get(padding, 1023)


@pytest.mark.parametrize("special", [{}, {"unk_token": "!", "pad_token": "!"}])
def test_it_is_the_tokenizer_of_transformers(tmp_path, special):
    """Any text, with marks, spaces, special tokens and scripts that the vocabulary lacks."""
    from transformers import CLIPTokenizer

    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).write_bytes((SMALL / name).read_bytes())
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "CLIPTokenizer"})
    )
    (tmp_path / "special_tokens_map.json").write_text(json.dumps(special))
    theirs, ours = CLIPTokenizer.from_pretrained(tmp_path), tokenizer.Tokenizer(tmp_path)
    assert ours.vocab_size == len(theirs)
    assert (ours.bos_id, ours.eos_id) == (theirs.bos_token_id, theirs.eos_token_id)
    pieces = ["a red car", "<|endoftext|>", "<|ENDOFTEXT|>", "don't", "!", " \t", "Ü\u0301", "İ"]
    pieces += list("abX 019.,'é漢\u3000😀<|>_-")
    draw = np.random.default_rng(0)
    for _ in range(300):
        text = "".join(draw.choice(pieces, draw.integers(12)))
        expected = theirs(text, add_special_tokens=False, return_offsets_mapping=True)
        count = min(len(expected["input_ids"]), ours.max_length - 2)
        assert ours([text])[0, 1 : count + 1].tolist() == expected["input_ids"][:count]
        assert ours.offsets(text) == expected["offset_mapping"]


def test_mistakes_are_told(tmp_path):
    with pytest.raises(UserError, match="no vocab.json and no merges.txt"):
        tokenizer.Tokenizer(tmp_path)
    with pytest.raises(UserError, match="max_length is 2"):
        tokenizer.Tokenizer(SMALL, max_length=2)
    with pytest.raises(UserError, match="vocab_size is 514"):
        vocabulary.train(["a"], tmp_path, vocab_size=514)
    with pytest.raises(UserError, match="more text"):
        vocabulary.train(["red"], tmp_path, vocab_size=600)
    with pytest.raises(UserError, match="has 1024 tokens, and the text encoder knows 1023"):
        tokenizer.Tokenizer(SMALL, 16, 1023)


VOCABULARY = json.loads((SMALL / "vocab.json").read_text("utf-8"))
MERGES = (SMALL / "merges.txt").read_text("utf-8")


@pytest.mark.parametrize(
    "vocabulary,merges,message",
    [
        ("{broken", MERGES, "vocab.json' cannot be read .Expecting property name"),
        ("[]", MERGES, "vocab.json' cannot be used .*is not of type 'object'"),
        ('{"a": NaN}', MERGES, "NaN is no number"),
        ("[" * 100_000, MERGES, "vocab.json' cannot be read"),
        (VOCABULARY | {"a": 1}, MERGES, "does not give each of its 1024 tokens a number of"),
        (VOCABULARY | {"a": 64.0}, MERGES, "does not give each of its 1024 tokens a number of"),
        (VOCABULARY | {"a": -1}, MERGES, "does not give each of its 1024 tokens a number of"),
        (
            {{"<|endoftext|>": "other"}.get(key, key): id for key, id in VOCABULARY.items()},
            MERGES,
            "does not number its own token '<.endoftext.>'",
        ),
        (VOCABULARY, MERGES + "zq qz\n", "does not hold a CLIP tokenizer"),
        (VOCABULARY, MERGES + "word\n", "does not hold a CLIP tokenizer"),
    ],
)
def test_damaged_vocabularies_are_told(tmp_path, vocabulary, merges, message):
    text = vocabulary if isinstance(vocabulary, str) else json.dumps(vocabulary)
    (tmp_path / "vocab.json").write_text(text)
    (tmp_path / "merges.txt").write_text(merges)
    with pytest.raises(UserError, match=message):
        tokenizer.Tokenizer(tmp_path)


def test_no_other_file_is_read(tmp_path):
    """`tokenizer.json` is what transformers prefers to the two files."""
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).write_bytes((SMALL / name).read_bytes())
    (tmp_path / "tokenizer.json").write_text("{damaged")
    ours = tokenizer.Tokenizer(tmp_path, max_length=16)
    np.testing.assert_array_equal(
        ours(["a red car"]), tokenizer.Tokenizer(SMALL, 16)(["a red car"])
    )


def test_what_is_no_text_is_told():
    with pytest.raises(
        UserError, match=r"'a \\udcff car' has a character outside Unicode at place 2"
    ):
        tokenizer.Tokenizer(SMALL, max_length=16)(["a \udcff car"])
    with pytest.raises(UserError, match="outside Unicode at place 0"):
        tokenizer.Tokenizer(SMALL, max_length=16).lost_words("\ud800")
