"""How prompts act: whether two pull the colours apart, and whether the colour asked for comes."""

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt32

from colorjax.colorize.colorizer import Colorizer
from colorjax.data import captions, colour_names
from colorjax.errors import UserError
from colorjax.evaluate import pictures
from colorjax.evaluate.pictures import Selection
from colorjax.maths import color

PULLED_ABOVE = 5.0  # units of ab from which on two colours count as different

Shares = dict[str, float | int]
Centre = Callable[[str], Float[np.ndarray, "n 2"]]  # a prompt -> the mean ab of what it makes


class Swap(NamedTuple):
    """Two prompts that name one colour each, for pictures of certain classes."""

    prompts: tuple[str, str]
    labels: frozenset[str]  # none: all pictures
    seed: int


def swap(selection: Selection, colorizer: Colorizer, swapped: Swap) -> Shares:
    """How far two prompts pull the centre's mean ab apart along their colours' difference.

    Returns the mean of each picture's difference projected on that of the prototypes, in Lab
    units, and the share of pictures where it exceeds 5.

    Raises:
        UserError: a prompt has no colour, both have the same, or no picture has such a label.
    """
    first, second = (_colour_of(prompt) for prompt in swapped.prompts)
    if first == second:
        raise UserError(f"both prompts say {first!r}; --swap needs two colours")
    direction = colour_names.prototype(first)[1:] - colour_names.prototype(second)[1:]
    direction /= np.linalg.norm(direction)
    values = np.concatenate(
        [
            (centre(swapped.prompts[0]) - centre(swapped.prompts[1])) @ direction
            for centre in _centres(selection, colorizer, swapped.labels, swapped.seed)
        ]
    )
    return {
        "pictures": len(values),
        "mean projection": float(values.mean()),
        "share above 5": float((values > PULLED_ABOVE).mean()),
    }


class Asked(NamedTuple):
    """A prompt with a place {} for each colour word in turn, for pictures of certain classes."""

    prompt: str
    labels: frozenset[str]  # none: all pictures
    seed: int


def obedience(selection: Selection, colorizer: Colorizer, asked: Asked) -> Shares:
    """How often the centre gets the colour that was asked for: its mean ab is nearest to that word.

    Returns the share over all words, and that of each of the `CHROMATIC_COLOURS`. Lightness stays
    the picture's, so it does not count.

    Raises:
        UserError: the prompt has no place for the colour, or no picture has such a label.
    """
    if asked.prompt.count("{}") != 1:
        raise UserError(
            f"--obey={asked.prompt!r} must hold {{}} once, where the colour word stands"
        )
    words = colour_names.CHROMATIC_COLOURS
    prototypes = np.stack([colour_names.prototype(word)[1:] for word in words])
    right: list[np.ndarray] = []
    for centre in _centres(selection, colorizer, asked.labels, asked.seed):
        means = np.stack([centre(captions.with_article(asked.prompt, word)) for word in words])
        distances = np.linalg.norm(means[:, :, None] - prototypes, axis=-1)
        right.append(distances.argmin(-1) == np.arange(len(words))[:, None])
    shares = np.concatenate(right, axis=1)
    each = {word: float(share) for word, share in zip(words, shares.mean(1), strict=True)}
    return {"pictures": shares.shape[1], "obedience": float(shares.mean())} | each


def _centres(
    selection: Selection, colorizer: Colorizer, labels: frozenset[str], seed: int
) -> Iterator[Centre]:
    """Batch by batch of the first pictures with one of the labels, up to the selection's limit.

    Raises:
        UserError: no picture has such a label.
    """
    every = Selection(selection.directory, selection.split, None, selection.crop)
    count = 0
    for batch in pictures.batches(every, colorizer, "none"):
        left = None if selection.limit is None else selection.limit - count
        if left == 0:
            break
        chosen = [i for i, label in enumerate(batch.labels) if not labels or label in labels]
        chosen = chosen[:left]
        count += len(chosen)
        if chosen:
            seeds = pictures.seeds_of(batch.places[chosen], seed)
            yield functools.partial(_centre, colorizer, batch.truth[chosen], seeds)
    if not count:
        raise UserError(f"no picture of '{selection.split}' has a label of {sorted(labels)}")


def _centre(
    colorizer: Colorizer,
    truth: Float[np.ndarray, "n h w 3"],
    seeds: UInt32[np.ndarray, " n"],
    prompt: str,
) -> Float[np.ndarray, "n 2"]:
    """Mean ab of the inner half of each side."""
    lightness = color.lightness(truth)
    ids = np.repeat(colorizer.tokenize([prompt]), len(truth), axis=0)
    raw = pictures.coloured(colorizer, lightness, ids, seeds)
    lab: np.ndarray = color.srgb_to_lab(pictures.shown(raw, lightness))
    quarter = colorizer.image_size // 4
    mean: np.ndarray = lab[:, quarter:-quarter, quarter:-quarter, 1:].mean(axis=(1, 2))
    return mean


def _colour_of(prompt: str) -> str:
    words = [word for word in prompt.lower().split() if word in colour_names.CHROMATIC_COLOURS]
    if len(words) != 1:
        raise UserError(
            f"prompt {prompt!r} must hold one colour of {', '.join(colour_names.CHROMATIC_COLOURS)}"
        )
    return words[0]
