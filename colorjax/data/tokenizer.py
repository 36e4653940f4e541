"""CLIP's byte-pair tokenizer. Importing this module loads none of the libraries of data sets."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32

from colorjax import files
from colorjax.errors import UserError, first_line

VOCABULARY, MERGES = "vocab.json", "merges.txt"
# What may name other special tokens; the later one counts.
DESCRIPTIONS = ("tokenizer_config.json", "special_tokens_map.json")
FILES = (VOCABULARY, MERGES, *DESCRIPTIONS)  # all that is read
BOS, EOS = "<|startoftext|>", "<|endoftext|>"
_WORDS = {"type": "object", "minProperties": 3, "maxProperties": 1_000_000}
# Radford et al. 2021: contractions, letters in runs, digits alone, other signs in runs.
_WORD = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
_SPECIAL = ("unk_token", "bos_token", "eos_token", "pad_token")


class Tokenizer:
    """Sentences to token ids of one length: BOS, lower-cased byte pairs, EOS, padding.

    Attributes:
        max_length: number of ids of every sentence, BOS and at least one EOS included.
        vocab_size: number of different ids.
        bos_id, eos_id, pad_id: of BOS, EOS and the padding: EOS again, but in Stable Diffusion 2
            the "!" that its `special_tokens_map.json` names.
    """

    def __init__(
        self, directory: str | Path, max_length: int = 77, most_ids: int | None = None
    ) -> None:
        """Reads `vocab.json`, `merges.txt` and what names special tokens; no other file.

        Args:
            most_ids: how many ids the text encoder knows. One beyond would be read as another.

        Raises:
            UserError: a file is missing or damaged, `max_length` leaves no place for a word, or
                the vocabulary is another model's.
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
        self._tokenizer, special = _load(directory)
        self.vocab_size: int = self._tokenizer.get_vocab_size(with_added_tokens=True)
        if most_ids is not None and self.vocab_size > most_ids:
            raise UserError(
                f"{str(directory)!r} has {self.vocab_size} tokens, and the text encoder knows "
                f"{most_ids}: the vocabulary is another model's"
            )
        self.bos_id, self.eos_id, self.pad_id = (
            self._tokenizer.token_to_id(special[name])
            for name in ("bos_token", "eos_token", "pad_token")
        )
        # Captions made of few words come back often: a look-up instead of 0.1 ms. More than
        # CIFAR-10's 5,000 sentences need not be kept: those that people wrote come once an epoch.
        self._row = functools.lru_cache(maxsize=1 << 13)(self._uncached_row)

    def __call__(self, texts: Sequence[str]) -> Int32[np.ndarray, "b length"]:
        """Ids of each text. What is too long loses its tail and keeps an EOS, see `lost_words`."""
        rows = [self._row(text) for text in texts]
        return np.stack(rows) if rows else np.empty((0, self.max_length), np.int32)

    def lost_words(self, text: str) -> str:
        """The tail of the text that does not fit, from the first word cut; "" if all of it fits."""
        count, offsets = self.max_length - 2, self.offsets(text)
        if len(offsets) <= count:
            return ""
        start = offsets[count][0]
        while start > 0 and not text[start - 1].isspace():
            start -= 1
        return text[start:].strip()

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Each token's place `text[start:stop]`, of all tokens between BOS and EOS, uncut."""
        self._check(text)
        offsets: list[tuple[int, int]] = self._tokenizer.encode(text).offsets
        return offsets

    @staticmethod
    def _check(text: str) -> None:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise UserError(
                f"the text {text!r} has a character outside Unicode at place {error.start}; "
                "leave it out"
            ) from None

    def _uncached_row(self, text: str) -> Int32[np.ndarray, "length"]:
        self._check(text)
        ids = self._tokenizer.encode(text).ids[: self.max_length - 2]
        row = np.full(self.max_length, self.pad_id, np.int32)
        row[: len(ids) + 2] = [self.bos_id, *ids, self.eos_id]
        row.flags.writeable = False
        return row


def _load(directory: Path) -> tuple[Any, dict[str, str]]:
    """The byte pairs of a folder, and its special tokens by the names of `_SPECIAL`."""
    advice = f"give CLIP's own {VOCABULARY} and {MERGES}"
    vocabulary = files.read_json(directory / VOCABULARY, _WORDS, advice=advice)
    ids = list(vocabulary.values())
    if not all(type(id) is int and id >= 0 for id in ids) or len(set(ids)) != len(ids):
        raise UserError(
            f"'{directory / VOCABULARY}' does not give each of its {len(ids)} tokens a number of "
            f"its own, 0 or more; {advice}"
        )
    special = {name: BOS if name == "bos_token" else EOS for name in _SPECIAL}
    for name in DESCRIPTIONS:
        if (directory / name).is_file():
            described = files.read_json(directory / name, {"type": "object"}, advice=advice)
            special |= {k: _content(described[k]) for k in _SPECIAL if described.get(k) is not None}
    strangers = [token for token in (BOS, EOS, *special.values()) if token not in vocabulary]
    if strangers:
        raise UserError(f"'{directory}' does not number its own token {strangers[0]!r}; {advice}")
    try:
        return _byte_pairs(vocabulary, _merges(directory / MERGES), special), special
    except Exception as error:  # what tokenizers raises has no narrower type
        raise UserError(
            f"{str(directory)!r} does not hold a CLIP tokenizer ({first_line(error)}); {advice}"
        ) from None


def _byte_pairs(
    vocabulary: dict[str, int], merges: Sequence[tuple[str, str]], special: dict[str, str]
) -> Any:
    """CLIP's rules for the library of tokenizers, which transformers' class is a shell around.

    Importing that shell takes longer than the tokenizer's work for thousands of captions.
    """
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    model = models.BPE(
        vocabulary, merges, unk_token=special["unk_token"], end_of_word_suffix="</w>"
    )
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    words = pre_tokenizers.Split(Regex(_WORD), behavior="removed", invert=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [words, pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.add_special_tokens(list(dict.fromkeys(special.values())))
    return tokenizer


def _content(token: Any) -> str:
    """A special token, which is a text or an object around it."""
    return str(token.get("content") if isinstance(token, dict) else token)


def _merges(path: Path) -> Any:
    lines = path.read_text("utf-8").split("\n")
    return [tuple(line.split(" ")) for line in lines if line and not line.startswith("#version")]
