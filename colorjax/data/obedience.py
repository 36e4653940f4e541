"""Whether captions' colours come: the words that each picture was told, and where to look."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from colorjax.data import colour_names, phrases

WORDS = (*colour_names.NEUTRAL_COLOURS, *colour_names.CHROMATIC_COLOURS)
BACKGROUND = "background"


class Asked(NamedTuple):
    """A colour word that a caption says of a region."""

    word: str
    region: int


def of_caption(caption: str) -> list[Asked]:
    """The colours of a caption of a centred object: of region 0, or of the background, region 1.

    A phrase with two colours, or with one that has no everyday word here, asks for nothing.
    """
    asked = []
    for phrase in phrases.colour_phrases(caption):
        words = re.findall(r"\w+", caption[phrase.start : phrase.stop].lower())
        colours = [word for word in words if word in WORDS]
        if len(colours) == 1:
            asked.append(Asked(colours[0], int(BACKGROUND in words)))
    return asked


def shares(
    asked: Sequence[Sequence[Asked]], labs: Float[np.ndarray, "n r k 3"]
) -> Float[np.ndarray, "n r"]:
    """The share of each picture's asked words that its regions' mean colours are called.

    Lightness is the photograph's, so that a truth's own caption can be obeyed, and any other need
    not. NaN of a picture that nothing is asked of.
    """
    values = np.full(labs.shape[:2], np.nan)
    for place, words in enumerate(asked):
        if words:
            for row, regions in enumerate(labs[place]):
                shown = [colour_names.name_colour(regions[one.region]) == one.word for one in words]
                values[place, row] = np.mean(shown)
    return values
