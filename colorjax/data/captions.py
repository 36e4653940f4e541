"""Captions measured from the picture, in L-CAD's three levels of detail.

A complete description names the colours of object and background, a partial one leaves something
out, a scarce one names neither colour nor object (Chang et al., NeurIPS 2023).
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import UInt8

from colorjax.data import colour_names, phrases
from colorjax.errors import one_of

LEVELS = ("complete", "partial", "scarce", "none", "uncoloured")
SCARCE = (
    "a colorful image",
    "a colorful photo",
    "a color photograph",
    "a vivid color picture",
    "a photo in natural colors",
    "a realistic color image",
    "colorize this picture",
)
# What gray pictures are called, in training and in negative prompts.
BLACK_AND_WHITE = (
    "a black and white photo",
    "black and white, grayscale, monochrome",
    "a grayscale image",
    "a monochrome, desaturated picture",
)
CIFAR10_CLASSES = tuple("airplane automobile bird cat deer dog frog horse ship truck".split())

_SYNONYMS = {
    "airplane": ("airplane", "plane"),
    "automobile": ("car", "automobile"),
    "ship": ("ship", "boat"),
}


def without_colours(sentence: str) -> str:
    """A description without its colour words: "an orange car on a gray road" is "a car on a road".

    That is what a gray picture still shows.
    """
    return phrases.without_colours(sentence, phrases.colour_phrases(sentence))


def of_gray(sentence: str, rng: np.random.Generator) -> str:
    """A training sentence for the gray version of a picture that `sentence` describes.

    Half of them say that it is gray and nothing else; so do all where nothing is described.
    """
    short = sentence in ("", *SCARCE) or rng.random() < 0.5
    if short:
        return BLACK_AND_WHITE[int(rng.integers(len(BLACK_AND_WHITE)))]
    return f"{BLACK_AND_WHITE[0]} of {without_colours(sentence)}"


def _an(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def with_article(prompt: str, word: str) -> str:
    """The prompt with the word at its place {}; "a {} car" is "an orange car"."""
    return re.sub(r"\ban? \{\}", lambda match: _an(word), prompt).replace("{}", word)


def phrase(object_colour: str, surround_colour: str, class_name: str) -> dict[str, list[str]]:
    """Complete and partial sentences for a pair of colours and a class, the plainest first."""
    complete, partial = [], []
    background = f"{_an(surround_colour)} background"
    for noun in _SYNONYMS.get(class_name, (class_name,)):
        thing = f"{object_colour} {noun}"
        complete += [
            f"{_an(thing)} on {background}",
            f"{thing}, {surround_colour} background",
            f"the {noun} is {object_colour} and the background is {surround_colour}",
            f"a photo of {_an(thing)} with {background}",
        ]
        partial += [
            _an(thing),
            f"{_an(noun)} on {background}",
            f"the {noun} is {object_colour}",
            f"a photo of {_an(thing)}",
            _an(noun),
        ]
    return {"complete": complete, "partial": partial}


def describe(image: UInt8[np.ndarray, "h w 3"], class_name: str) -> dict[str, list[str]]:
    """Level -> sentences about an sRGB picture whose object, of `class_name`, is in the middle."""
    return phrase(*colour_names.region_colours(image), class_name)


def of_colours(image: UInt8[np.ndarray, "h w 3"], class_name: str, rng: np.random.Generator) -> str:
    """A training sentence that names the object's colour: of six in ten the background's too."""
    object_colour, surround_colour = colour_names.region_colours(image)
    sentences = phrase(object_colour, surround_colour, class_name)
    choice = sentences["complete"]
    if rng.random() >= 0.6:
        choice = [
            sentence
            for sentence in sentences["partial"]
            if object_colour in sentence and "background" not in sentence
        ]
    return choice[int(rng.integers(len(choice)))]


def _sentences(captions: Mapping[str, Sequence[str]], level: str) -> Sequence[str]:
    """The sentences of a level; of its neighbour if it has none; else the scarce ones."""
    other = "partial" if level == "complete" else "complete"
    return captions.get(level) or captions.get(other) or SCARCE


def _is_too_complete(captions: Mapping[str, Sequence[str]], level: str) -> bool:
    """Whether partial sentences have to be made of complete ones."""
    return level == "partial" and not captions.get(level) and bool(captions.get("complete"))


def sample(
    captions: Mapping[str, Sequence[str]],
    rng: np.random.Generator,
    scarce_share: float = 0.3,
    drop_share: float = 0.1,
    partial_share: float = 0.0,
) -> str:
    """A training sentence of any level.

    A share `drop_share` is dropped to "" for classifier-free guidance; of the rest `scarce_share`
    is scarce, both as in the paper. Of what remains `partial_share` is partial, which the paper
    does not have (ours). Where a record has complete sentences only, as COCO's, partial ones are
    made of those that name two things or more (`phrases.partial`): none loses its only colour. A
    record without sentences gets a scarce one.
    """
    if rng.random() < drop_share:
        return ""
    if rng.random() < scarce_share:
        return SCARCE[int(rng.integers(len(SCARCE)))]
    level = "complete" if rng.random() < 1.0 - partial_share else "partial"
    sentences = _sentences(captions, level)
    text = sentences[int(rng.integers(len(sentences)))]
    if _is_too_complete(captions, level) and len(phrases.colour_phrases(text)) > 1:
        return phrases.partial(text, rng)
    return text


def fixed(captions: Mapping[str, Sequence[str]], level: str) -> str:
    """The first sentence of a level, the same at every call: "none" is "".

    "uncoloured" is what a captioner says who sees the gray picture; where the data has no such
    sentence, the first partial one without its colour words.

    Raises:
        UserError: `level` is not one of `LEVELS`.
    """
    one_of("caption level", level, LEVELS)
    if level == "none":
        return ""
    if level == "scarce":
        return SCARCE[0]
    if level == "uncoloured":
        sentences = captions.get(level)
        return sentences[0] if sentences else without_colours(_sentences(captions, "partial")[0])
    text = _sentences(captions, level)[0]
    if _is_too_complete(captions, level):
        return phrases.partial(text, np.random.default_rng(0))
    return text
