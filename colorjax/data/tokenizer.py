"""CLIP's byte-pair tokenizer, and training a small one in the same two files."""

import functools
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32

from colorjax.data import captions
from colorjax.errors import UserError
from colorjax.prepare import sources

VOCABULARY, MERGES = "vocab.json", "merges.txt"
BOS, EOS = "<|startoftext|>", "<|endoftext|>"
_WORD_END = "</w>"
# What people ask for in photographs, so that a small vocabulary keeps ordinary prompts short.
EVERYDAY_WORDS = """
the a an and of in on at with to from by near next behind under over between is are has wearing
holding standing sitting walking running flying parked lying looking two three four many some old
young new little small big large long short bright dark light pale deep vivid warm cool soft rich
faded shiny golden silver colorful colored natural vintage historic realistic sunny cloudy rainy
snowy night day morning evening sunset sunrise summer winter autumn spring photo photograph picture
image painting portrait landscape scene view city town village street road house home building
bridge church tower castle wall door window roof room kitchen table chair sofa bed lamp floor carpet
curtain clock book bottle cup glass plate bowl box bag umbrella shop market station airport harbor
beach sea ocean lake river water wave sand stone rock mountain hill valley forest tree leaf leaves
wood bush garden park grass field meadow farm flower rose tulip sunflower sky cloud sun moon star
snow ice fire smoke man woman men women boy girl child children baby people person family couple
crowd player soldier farmer king queen bride face eye eyes hair beard skin lips hand dress shirt
coat jacket suit tie hat cap scarf skirt jeans pants shoes boots gloves sweater uniform leather
cotton metal wooden brick animal animals cow sheep goat pig chicken duck goose rabbit mouse bear
lion tiger elephant zebra giraffe monkey fish butterfly bee snake turtle parrot owl eagle puppy
kitten bicycle bike motorcycle bus train van taxi tractor wagon jet helicopter balloon sail wing
wheel engine flag sign ball kite toy guitar piano food fruit apple orange lemon banana cherry grape
strawberry tomato carrot pepper pumpkin bread cheese cake pizza coffee tea wine milk egg red pink
scarlet crimson maroon brown tan beige cream gold yellow olive green lime mint teal turquoise cyan
blue navy azure indigo violet purple lavender magenta gray grey black white ivory
"""


class Tokenizer:
    """Sentences to token ids of one length: BOS, lower-cased byte pairs, EOS, padding.

    Attributes:
        max_length: number of ids of every sentence, BOS and at least one EOS included.
        vocab_size: number of different ids.
        bos_id, eos_id, pad_id: of BOS, EOS and the padding: EOS again, but in Stable Diffusion 2
            the "!" that its `special_tokens_map.json` names.
    """

    def __init__(self, directory: str | Path, max_length: int = 77):
        """Reads `vocab.json`, `merges.txt` and what is told beside them; nothing is downloaded.

        Raises:
            UserError: a file is missing, or `max_length` leaves no place for a word.
        """
        directory = Path(directory)
        missing = [name for name in (VOCABULARY, MERGES) if not (directory / name).is_file()]
        if missing:
            raise UserError(
                f"{str(directory)!r} has no {' and no '.join(missing)}; give a folder with CLIP's "
                f"{VOCABULARY} and {MERGES}"
            )
        if max_length < 3:
            raise UserError(f"max_length is {max_length}; it must be at least 3 (BOS, a word, EOS)")
        self.max_length = max_length
        self._tokenizer = _load(directory)
        self.vocab_size = len(self._tokenizer)
        self.bos_id: int = self._tokenizer.bos_token_id
        self.eos_id: int = self._tokenizer.eos_token_id
        self.pad_id: int = self._tokenizer.pad_token_id
        # Captions made of few words come back often: a look-up instead of 0.1 ms. More than
        # CIFAR-10's 5,000 sentences need not be kept: those that people wrote come once an epoch.
        self._row = functools.lru_cache(maxsize=1 << 13)(self._uncached_row)

    def __call__(self, texts: Sequence[str]) -> Int32[np.ndarray, "b length"]:
        """Ids of each text. What is too long loses its tail and keeps an EOS, see `lost_words`."""
        rows = [self._row(text) for text in texts]
        return np.stack(rows) if rows else np.empty((0, self.max_length), np.int32)

    def lost_words(self, text: str) -> str:
        """The tail of the text that does not fit, from the first word cut; "" if all of it fits."""
        kept, offsets = self.max_length - 2, self.offsets(text)
        if len(offsets) <= kept:
            return ""
        start = offsets[kept][0]
        while start > 0 and not text[start - 1].isspace():
            start -= 1
        return text[start:].strip()

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Each token's place `text[start:stop]`, of all tokens between BOS and EOS, uncut."""
        encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return encoded["offset_mapping"]

    def _uncached_row(self, text: str) -> Int32[np.ndarray, "length"]:
        ids = self._tokenizer(text, add_special_tokens=False)["input_ids"][: self.max_length - 2]
        row = np.full(self.max_length, self.pad_id, np.int32)
        row[: len(ids) + 2] = [self.bos_id, *ids, self.eos_id]
        row.flags.writeable = False
        return row


def _load(directory: Path) -> Any:
    # Without PyTorch, which is not needed here, transformers warns at its first import.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    from transformers import CLIPTokenizer

    try:
        # Not from the two files alone: Stable Diffusion 2's others say that "!" is the padding.
        return CLIPTokenizer.from_pretrained(directory, local_files_only=True)
    except Exception as error:  # what tokenizers raises has no narrower type
        raise UserError(
            f"{str(directory)!r} does not hold a CLIP tokenizer ({error}); give CLIP's own "
            f"{VOCABULARY} and {MERGES}"
        ) from None


def byte_symbols() -> list[str]:
    """GPT-2's 256 printable characters in CLIP's order: printable bytes first, then the others.

    A byte that is no visible Latin-1 character is written as a character from U+0100 on.
    """
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [chr(code) for code in visible] + [chr(0x100 + i) for i in range(256 - len(visible))]


def everyday_corpus() -> Iterator[str]:
    """Every sentence that captions can be made of, and `EVERYDAY_WORDS`, in a fixed order."""
    colours = captions.NEUTRAL_COLOURS + captions.CHROMATIC_COLOURS
    for triple in itertools.product(colours, colours, sources.CIFAR10_CLASSES):
        for sentences in captions.phrase(*triple).values():
            yield from sentences
    yield from captions.SCARCE * 100  # drawn as often as all others, so worth whole words
    yield from EVERYDAY_WORDS.splitlines()


def train(corpus: Iterable[str], directory: str | Path, vocab_size: int = 1024) -> None:
    """Learns byte pairs and writes `vocab.json` and `merges.txt` as CLIP has them.

    Ids are 256 bytes, 256 bytes that end a word, one for each merge, then BOS and EOS. The same
    corpus always gives the same files.

    Raises:
        UserError: `vocab_size` is too small for bytes, BOS and EOS, or the corpus too small for it.
    """
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

    bytes_ = byte_symbols()
    symbols = bytes_ + [symbol + _WORD_END for symbol in bytes_]
    num_merges = vocab_size - len(symbols) - 2
    if num_merges < 1:
        raise UserError(f"vocab_size is {vocab_size}; it must be at least {len(symbols) + 3}")
    bpe = Tokenizer(models.BPE(end_of_word_suffix=_WORD_END))
    bpe.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    words = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(words, behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    # As "special tokens" the symbols get CLIP's ids; left to the trainer, their order, which
    # breaks ties between equally frequent pairs, would follow a hash map.
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 2,
        special_tokens=symbols,
        end_of_word_suffix=_WORD_END,
        min_frequency=1,
        show_progress=False,
    )
    bpe.train_from_iterator(corpus, trainer)
    model = json.loads(bpe.to_str())["model"]
    vocabulary, merges = model["vocab"], [tuple(pair) for pair in model["merges"]]
    if len(vocabulary) != vocab_size - 2:
        raise UserError(
            f"the corpus gives {len(vocabulary) + 2} tokens, not vocab_size={vocab_size}; "
            "give more text or a smaller vocab_size"
        )
    vocabulary |= {BOS: vocab_size - 2, EOS: vocab_size - 1}
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / VOCABULARY).write_text(json.dumps(vocabulary, ensure_ascii=False), "utf-8")
    text = "\n".join(["#version: 0.2", *(f"{a} {b}" for a, b in merges), ""])
    (directory / MERGES).write_text(text, "utf-8")
