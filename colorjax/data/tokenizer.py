"""CLIP's byte-pair tokenizer. Importing this module loads none of the libraries of data sets."""

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32

from colorjax.errors import UserError

VOCABULARY, MERGES = "vocab.json", "merges.txt"
BOS, EOS = "<|startoftext|>", "<|endoftext|>"


class Tokenizer:
    """Sentences to token ids of one length: BOS, lower-cased byte pairs, EOS, padding.

    Attributes:
        max_length: number of ids of every sentence, BOS and at least one EOS included.
        vocab_size: number of different ids.
        bos_id, eos_id, pad_id: of BOS, EOS and the padding: EOS again, but in Stable Diffusion 2
            the "!" that its `special_tokens_map.json` names.
    """

    def __init__(self, directory: str | Path, max_length: int = 77) -> None:
        """Reads `vocab.json`, `merges.txt` and the settings beside them; nothing is downloaded.

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
        count, offsets = self.max_length - 2, self.offsets(text)
        if len(offsets) <= count:
            return ""
        start = offsets[count][0]
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
