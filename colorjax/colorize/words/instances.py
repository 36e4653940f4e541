"""Which part of a photograph each phrase of a prompt is about, from files, words or attention."""

import copy
import functools
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from colorjax.colorize.files.photos import Source, name_of
from colorjax.colorize.words.masks import masks_of_array, read_masks
from colorjax.data import phrases as language
from colorjax.data.tokenizer import Tokenizer
from colorjax.errors import UserError

NAMED = ("attention", "clipseg")
MAPS = (".png", ".npy")
MaskSource = str | os.PathLike[str] | np.ndarray


@functools.lru_cache(maxsize=1)  # it is as large as a text encoder: one for all prompts
def _segmenter(directory: Path | None) -> Callable[..., np.ndarray]:
    # Here, because all else colours without any network of this package, see `colorjax.export`.
    from colorjax.colorize.words.segmenter import Segmenter

    return Segmenter(directory)


class Instances:
    """The phrases of one prompt, and where their masks come from.

    Attributes:
        spans: the tokens of each phrase.
    """

    def __init__(
        self,
        prompt: str,
        source: MaskSource,
        tokenize: Tokenizer,
        *,
        clipseg: Path | None = None,
        many: bool = False,
    ) -> None:
        """Finds the phrases.

        Args:
            source: "attention" (the UNet's own, found while sampling), "clipseg" (a segmenter
                that reads the phrases), an array [k,H,W], or a path: the masks of the one
                photograph or, of `many`, a folder with an entry for each, called like the
                photograph.
            clipseg: converted CLIPSeg weights, by default those in the cache.

        Raises:
            UserError: the prompt has no phrases, or the masks are not there.
        """
        self._phrases = language.instance_phrases(prompt)
        if not self._phrases:
            raise UserError(
                f"masks are for phrases, and prompt {prompt!r} has none; name things by commas, "
                "such as 'the blue cup, the red cup'"
            )
        contents = [language.without_article(phrase) for phrase in self._phrases]
        self.spans: Bool[np.ndarray, "k tokens"] = language.spans(tokenize, prompt, contents)
        self._source = source if isinstance(source, np.ndarray) else os.fspath(source)
        self._many = many
        if isinstance(self._source, np.ndarray):
            return
        if self._source == "clipseg":
            self._segment = _segmenter(clipseg)
        elif self._source not in NAMED and not Path(self._source).exists():
            raise UserError(
                f"masks {self._source!r} do not exist; give a path, or {' or '.join(NAMED)}"
            )

    def read(self) -> "Instances":
        """The same without an array, once the masks of its photograph were made of it."""
        if not isinstance(self._source, np.ndarray):
            return self
        bare = copy.copy(self)
        bare._source = np.empty((0, 0, 0))
        return bare

    def masks(
        self, photograph: Source, lightness: Float[np.ndarray, "H W"], height: int, width: int
    ) -> Float[np.ndarray, "k height width"] | None:
        """A photograph's masks at the model's size; None where attention makes them."""
        if isinstance(self._source, np.ndarray):
            return masks_of_array(self._source, self._phrases, height, width)
        if self._source == "attention":
            return None
        if self._source == "clipseg":
            return self._segment(lightness, self._phrases, height, width)
        return read_masks(self._entry(photograph), self._phrases, height, width)

    def _entry(self, photograph: Source) -> Path:
        """The photograph's entry in a folder of many, or the path itself."""
        root = Path(str(self._source))
        if not isinstance(photograph, str | os.PathLike):
            if self._many:
                raise UserError(f"'{root}' has masks by names, and {name_of(photograph)} has none")
            return root
        stem = Path(photograph).stem
        for entry in (root / stem, *(root / f"{stem}{suffix}" for suffix in MAPS)):
            if entry.exists():
                return entry
        if self._many:
            raise UserError(
                f"'{root}' has no masks for '{photograph}': of several photographs each needs a "
                f"folder {stem!r} or a label map {stem + MAPS[0]!r} there"
            )
        return root
