"""Everyday colour words of measured colours, and a typical colour of each word."""

import numpy as np
from jaxtyping import Float, UInt8

from colorjax.errors import one_of
from colorjax.maths import color

NEUTRAL_COLOURS = ("black", "gray", "white")

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
    one_of("the colour with a prototype", word, CHROMATIC_COLOURS)
    lightness, chroma, hue = _PROTOTYPES[word]
    angle = np.radians(hue)
    return np.array([lightness, chroma * np.cos(angle), chroma * np.sin(angle)])


def region_colours(image: UInt8[np.ndarray, "h w 3"]) -> tuple[str, str]:
    """Colour words of object and background: the inner half of each side, and all around it."""
    lab = np.asarray(color.srgb_to_lab(color.unit_from_bytes(image)))
    h, w = image.shape[:2]
    inner = np.zeros((h, w), bool)
    inner[h // 4 : h - h // 4, w // 4 : w - w // 4] = True
    return name_colour(lab[inner]), name_colour(lab[~inner])
