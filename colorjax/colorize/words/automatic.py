"""`--prompt auto`: what a gray photograph shows, said by the release's own image tower."""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from colorjax.colorize.chroma import recombine
from colorjax.data import captions
from colorjax.data.rows import Rows
from colorjax.data.tokenizer import Tokenizer
from colorjax.methods import naming


class Captioner:
    """Captions for gray photographs: the likeliest of `naming.subjects`."""

    def __init__(self, directory: Path, tokenize: Tokenizer) -> None:
        """Loads the towers of a release.

        Raises:
            UserError: the release has no image tower that shares a space with its text encoder.
        """
        self.classify = naming.Classifier(directory, tokenize)

    def __call__(self, lightness: Float[np.ndarray, "h w"] | Rows) -> str:
        """The caption of a photograph of CIE L* 0..100; `captions.SCARCE[0]` if none is likely."""
        side = self.classify.side
        small = recombine.to_model_size(lightness, side, side)
        return self.classify(small) or captions.SCARCE[0]
