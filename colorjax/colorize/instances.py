"""Which part of a photograph each phrase of a prompt is about, from files, words or attention."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from colorjax.colorize.masks import read_masks
from colorjax.data import phrases as language
from colorjax.data.tokenizer import Tokenizer
from colorjax.errors import UserError

NAMED = ("attention", "clipseg")
MAPS = (".png", ".npy")


class Instances:
    """The phrases of one prompt, and where their masks come from.

    `source` is "attention" (the UNet's own, found while sampling), "clipseg" (a segmenter that
    reads the phrases) or a path: the masks of the one photograph, or, of `many`, a folder with an
    entry for each, called like the photograph.
    """

    def __init__(
        self,
        prompt: str,
        source: str,
        tokenize: Tokenizer,
        clipseg: Path | None = None,
        many: bool = False,
    ) -> None:
        self._phrases = language.instance_phrases(prompt)
        if not self._phrases:
            raise UserError(
                f"masks are for phrases, and prompt {prompt!r} has none; name things by commas, "
                "such as 'the blue cup, the red cup'"
            )
        telling = [language.without_article(phrase) for phrase in self._phrases]
        self.spans: Bool[np.ndarray, "k tokens"] = language.spans(tokenize, prompt, telling)
        self._source, self._many = source, many
        if source == "clipseg":
            from colorjax.colorize.segmenter import Segmenter

            self._segment = Segmenter(clipseg)
        elif source not in NAMED and not Path(source).exists():
            raise UserError(f"masks {source!r} do not exist; give a path, or {' or '.join(NAMED)}")

    def masks(
        self, photograph: Path, lightness: Float[np.ndarray, "H W"], height: int, width: int
    ) -> Float[np.ndarray, "k height width"] | None:
        """At the model's size; None where attention makes them."""
        if self._source == "attention":
            return None
        if self._source == "clipseg":
            return self._segment(lightness, self._phrases, height, width)
        return read_masks(self._own(photograph), self._phrases, height, width)

    def _own(self, photograph: Path) -> Path:
        """The photograph's entry in a folder of many, or the path itself."""
        root = Path(self._source)
        for entry in (root / photograph.stem, *(root / f"{photograph.stem}{e}" for e in MAPS)):
            if entry.exists():
                return entry
        if self._many:
            raise UserError(
                f"'{root}' has no masks for '{photograph}': of several photographs each needs a "
                f"folder {photograph.stem!r} or a label map {photograph.stem + MAPS[0]!r} there"
            )
        return root
