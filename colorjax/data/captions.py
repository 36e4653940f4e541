"""Captions measured from the picture, in L-CAD's three levels of detail.

A complete description names the colours of object and background, a partial one leaves something
out, a scarce one names neither colour nor object (Chang et al., NeurIPS 2023, section 4).
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, UInt8

from colorjax.data import phrases
from colorjax.errors import UserError
from colorjax.maths import color

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
NEUTRAL_COLOURS = ("black", "gray", "white")
# What gray pictures are called, in training and in negative prompts.
BLACK_AND_WHITE = (
    "a black and white photo",
    "black and white, grayscale, monochrome",
    "a grayscale image",
    "a monochrome, desaturated picture",
)

# Thresholds in CIE Lab (D65) and degrees of hue, set on the CIFAR-10 training pictures.
_NEUTRAL_CHROMA = 7.0
_BLACK_BELOW, _WHITE_ABOVE = 30.0, 70.0
_HUES = (  # word, first degree; a sector ends where the next one begins, the last at red's -18
    ("red", -18.0),
    ("orange", 44.0),
    ("yellow", 80.0),
    ("green", 105.0),
    ("teal", 165.0),
    ("blue", 225.0),
    ("purple", 297.0),
)
_LIGHT = 57.0  # red is pink above, orange is brown below
_DARK_YELLOW, _DARK_YELLOW_HUE = 45.0, 90.0  # below both, yellow is brown
_BEIGE_CHROMA = 20.0  # light orange and yellow below it
# Typical lightness and chroma of each word, hue at the centre of its sector.
_PROTOTYPES = {
    "red": (42.0, 25.0, 13.0),
    "pink": (64.0, 16.0, 13.0),
    "orange": (63.0, 34.0, 62.0),
    "brown": (43.0, 24.0, 62.0),
    "beige": (65.0, 14.0, 74.0),
    "yellow": (55.0, 27.0, 92.5),
    "green": (50.0, 27.0, 135.0),
    "teal": (55.0, 13.0, 195.0),
    "blue": (53.0, 21.0, 261.0),
    "purple": (46.0, 17.0, 319.5),
}
CHROMATIC_COLOURS = tuple(_PROTOTYPES)

_SYNONYMS = {
    "airplane": ("airplane", "plane"),
    "automobile": ("car", "automobile"),
    "ship": ("ship", "boat"),
}


def name_colour(lab: Float[np.ndarray, "*batch 3"]) -> str:
    """The everyday word for the mean of Lab colours.

    Chroma below 7 is black, gray or white by lightness. Above, the hue chooses the word;
    lightness tells pink from red and brown from orange, and a light, pale orange or yellow is
    beige.
    """
    lightness, a, b = np.asarray(lab, dtype=np.float64).reshape(-1, 3).mean(0)
    chroma = np.hypot(a, b)
    if chroma < _NEUTRAL_CHROMA:
        if lightness < _BLACK_BELOW:
            return "black"
        return "gray" if lightness < _WHITE_ABOVE else "white"
    start = _HUES[0][1]
    hue = (np.degrees(np.arctan2(b, a)) - start) % 360 + start
    word = next(word for word, first in reversed(_HUES) if hue >= first)
    light = lightness >= _LIGHT
    if word == "red" and light:
        return "pink"
    if word in ("orange", "yellow") and light and chroma < _BEIGE_CHROMA:
        return "beige"
    if word == "orange" and not light:
        return "brown"
    if word == "yellow" and lightness < _DARK_YELLOW and hue < _DARK_YELLOW_HUE:
        return "brown"
    return word


def prototype(word: str) -> Float[np.ndarray, "3"]:
    """Lab of a typical region that `name_colour` calls `word`, for the chromatic words only.

    Raises:
        UserError: `word` is not one of `CHROMATIC_COLOURS`.
    """
    if word not in _PROTOTYPES:
        raise UserError(
            f"{word!r} has no prototype colour; choose one of {', '.join(CHROMATIC_COLOURS)}"
        )
    lightness, chroma, hue = _PROTOTYPES[word]
    angle = np.radians(hue)
    return np.array([lightness, chroma * np.cos(angle), chroma * np.sin(angle)])


def region_colours(image: UInt8[np.ndarray, "h w 3"]) -> tuple[str, str]:
    """Colour words of object and background: the inner half of each side, and all around it."""
    lab = np.asarray(color.srgb_to_lab(image.astype(np.float32) / 255))
    h, w = image.shape[:2]
    inner = np.zeros((h, w), bool)
    inner[h // 4 : h - h // 4, w // 4 : w - w // 4] = True
    return name_colour(lab[inner]), name_colour(lab[~inner])


def without_colours(sentence: str) -> str:
    """What a gray picture still tells: "an orange car on a gray road" is "a car on a road"."""
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
    return phrase(*region_colours(image), class_name)


def _sentences(captions: Mapping[str, Sequence[str]], level: str) -> Sequence[str]:
    """The sentences of a level; of its neighbour if it has none; else the scarce ones."""
    other = "partial" if level == "complete" else "complete"
    return captions.get(level) or captions.get(other) or SCARCE


def _of_level(
    text: str, captions: Mapping[str, Sequence[str]], level: str, rng: np.random.Generator
) -> str:
    """The sentence that `_sentences` gave, without some of its colours if it is too complete."""
    too_complete = level == "partial" and not captions.get(level) and captions.get("complete")
    return phrases.partial(text, rng) if too_complete else text


def sample(
    captions: Mapping[str, Sequence[str]],
    rng: np.random.Generator,
    scarce_share: float = 0.3,
    drop_share: float = 0.1,
) -> str:
    """A training sentence of any level.

    A share `drop_share` is dropped to "" for classifier-free guidance; of the rest `scarce_share`
    is scarce, both as in the paper. What remains is complete or partial with equal chance: the
    paper does not say, the half is our choice. Where a record has complete sentences only, as
    COCO's, partial ones are made of them (`phrases.partial`). A record without sentences gets a
    scarce one.
    """
    if rng.random() < drop_share:
        return ""
    if rng.random() < scarce_share:
        return SCARCE[int(rng.integers(len(SCARCE)))]
    level = "complete" if rng.random() < 0.5 else "partial"
    sentences = _sentences(captions, level)
    return _of_level(sentences[int(rng.integers(len(sentences)))], captions, level, rng)


def fixed(captions: Mapping[str, Sequence[str]], level: str) -> str:
    """The first sentence of a level, the same at every call: "none" is "".

    "uncoloured" is what a captioner says who sees the gray picture; where the data has no such
    sentence, the first partial one without its colour words.

    Raises:
        UserError: `level` is not one of `LEVELS`.
    """
    if level not in LEVELS:
        raise UserError(f"caption level {level!r} is unknown; choose one of {', '.join(LEVELS)}")
    if level == "none":
        return ""
    if level == "scarce":
        return SCARCE[0]
    if level == "uncoloured":
        said = captions.get(level)
        return said[0] if said else without_colours(_sentences(captions, "partial")[0])
    return _of_level(_sentences(captions, level)[0], captions, level, np.random.default_rng(0))
