"""`--prompt auto`: what a gray photograph shows, said by the release's own image tower."""

import functools
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from colorjax import release
from colorjax.colorize.chroma import recombine
from colorjax.data import captions
from colorjax.data.tokenizer import Tokenizer
from colorjax.methods import naming

# A caption is taken if it is at least as probable as all others of the list together; otherwise the
# prompt says nothing of the photograph, since a wrong name costs more than none.
LEAST = 0.5


class Captioner:
    """Captions for gray photographs: the likeliest of a list, which names no colour and no age.

    The list is the release's `subjects`, or else `colorjax/data/subjects.txt`.
    """

    def __init__(self, directory: Path, tokenize: Tokenizer) -> None:
        """Loads the towers of a release.

        Raises:
            UserError: the release has no image tower that shares a space with its text encoder.
        """
        namer, params = naming.load(directory)
        self.subjects = subjects(release.read_config(directory))
        self._side = namer.clip.vision.image_size
        embed = jax.jit(functools.partial(naming.embed, namer))
        self._captions = embed(params, tokenize(self.subjects))
        self._run = jax.jit(functools.partial(naming.probabilities, namer))
        self._params = jax.tree.map(jnp.asarray, params)

    def __call__(self, lightness: Float[np.ndarray, "h w"]) -> str:
        """The caption of a photograph of CIE L* 0..100; `captions.SCARCE[0]` if none is likely."""
        small = recombine.to_model_size(lightness, self._side, self._side)
        chances = np.asarray(self._run(self._params, small[None], self._captions))[0]
        best = int(chances.argmax())
        return self.subjects[best] if chances[best] >= LEAST else captions.SCARCE[0]


def subjects(config: Mapping[str, Any]) -> list[str]:
    """The captions that photographs are compared with, by a release's `config.json`."""
    own = config.get("subjects")
    if own is not None:
        return list(own)
    return resources.files("colorjax.data").joinpath("subjects.txt").read_text().splitlines()
