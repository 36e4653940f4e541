"""Prompts as people type them, made plain; and what of them a model will not understand."""

import bisect
import functools
import re
import unicodedata
from collections.abc import Iterator

import numpy as np
from PIL import ImageColor

from colorjax.data.tokenizer import Tokenizer
from colorjax.errors import UserError
from colorjax.maths import color

# Everyday words, and the colours by CSS's names that are called so.
_WORDS = {
    "red": "red crimson firebrick darkred",
    "orange": "orange darkorange coral",
    "yellow": "yellow gold khaki",
    "green": "green lime forestgreen limegreen darkgreen olive lightgreen palegreen",
    "teal": "teal turquoise cyan darkcyan",
    "blue": "blue navy royalblue dodgerblue skyblue lightblue steelblue",
    "purple": "purple indigo violet darkviolet magenta plum",
    "pink": "pink hotpink deeppink lightpink",
    "brown": "brown saddlebrown sienna peru chocolate",
    "beige": "beige tan wheat antiquewhite",
    "black": "black",
    "gray": "gray dimgray silver lightgray darkgray",
    "white": "white snow",
}
# CSS's names that are no words of their own: "cornflowerblue" is, "turquoise" is not among them.
_ORDINARY = {"chocolate", "honeydew", "lavender", "moccasin", "seashell", "turquoise"}
_COMPOUND = sorted(
    {name for name in ImageColor.colormap if len(name) > 7} - _ORDINARY, key=len, reverse=True
)
_CODE = re.compile(
    r"#(?:[0-9a-f]{6}|[0-9a-f]{3})(?![0-9a-z])|\b(?:rgb|hsl|hsv)\([^()]*\)"
    rf"|\b(?:{'|'.join(_COMPOUND)})\b",
    re.IGNORECASE,
)
_NEGATION = re.compile(r"\b(?:not|no|without|never|neither|nor)\s+\w+|\b\w+n['’]t\b", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]+|[^\x00-\x7f]")
_MOST_SHOWN = 100  # characters of a prompt in an error
_SMALL_VOCABULARY = 10_000  # CLIP's has 49,408, and nearly every English word's parts


def plain(prompt: str) -> str:
    """The prompt as one line: any white space is a space, marks that only steer layout are gone.

    Colours as CSS writes them (#f00, rgb(255, 0, 0), lightskyblue) become everyday words, which are
    all that a model was taught.

    Raises:
        UserError: it holds control characters, or halves of characters that a terminal garbled.
    """
    text = "".join(" " if c.isspace() else c for c in prompt)
    text = "".join(c for c in text if unicodedata.category(c) != "Cf")
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in text):
        shown = prompt if len(prompt) <= _MOST_SHOWN else f"{prompt[:_MOST_SHOWN]} ..."
        raise UserError(f"prompt {shown!r} holds characters that are no text; type it again")
    return _CODE.sub(lambda code: word_of(code[0]), " ".join(text.split()))


@functools.lru_cache(1 << 10)
def word_of(code: str) -> str:
    """The colour word that is nearest to a code such as #ff0000, in CIE Lab.

    Raises:
        UserError: it is no colour, such as rgb(999, 0, 0).
    """
    words, known = _known()
    distances = np.linalg.norm(known - _lab(code), axis=-1)
    return words[int(distances.argmin())]


@functools.cache
def _known() -> tuple[list[str], np.ndarray]:
    """The word of each of CSS's names that are called by one, and their colours in Lab."""
    names = [(word, name) for word, names in _WORDS.items() for name in names.split()]
    return [word for word, _ in names], np.array([_lab(name) for _, name in names])


def remarks(given: str, prompt: str, tokenize: Tokenizer) -> Iterator[str]:
    """Sentences about what the model will not do with a prompt that `plain` made of another."""
    if lost := tokenize.lost_words(prompt):
        yield f"the prompt is too long; these words are lost: {_cut(lost)}"
    codes = list(dict.fromkeys(_CODE.findall(given)))
    if codes:
        read = ", ".join(f"{code} as {word_of(code)!r}" for code in codes)
        yield f"models know words and no codes: {read} is what it reads"
    if negated := [match[0] for match in _NEGATION.finditer(prompt)]:
        said = _cut(", ".join(map(repr, negated)))
        yield (
            f"{said}: a model does not understand negation, and colours what it is told of; give "
            "what it shall not be as --negative_prompt"
        )
    if unknown := unknown_words(prompt, tokenize):
        said = _cut(", ".join(map(repr, unknown)))
        yield f"{said}: without a meaning for this model; it knows English words, such as 'red'"


def _cut(text: str, most: int = 300) -> str:
    return text if len(text) <= most else f"{text[:most]} ..."


def unknown_words(prompt: str, tokenize: Tokenizer) -> list[str]:
    """Words that the vocabulary has only in pieces that mean nothing.

    That is any pieces in a vocabulary made for a small model, and of CLIP's single letters: of
    another script than Latin.
    """
    places = tokenize.offsets(prompt)
    firsts, lasts = [first for first, _ in places], [last for _, last in places]
    small = tokenize.vocab_size < _SMALL_VOCABULARY
    unknown = []
    for match in _WORD.finditer(prompt):
        start, stop = match.span()
        pieces = bisect.bisect_left(firsts, stop) - bisect.bisect_right(lasts, start)
        in_letters = not match[0].isascii() and pieces >= len(match[0])
        if pieces > 1 and (small or in_letters):
            unknown.append(match[0])
    return list(dict.fromkeys(unknown))


def _lab(name: str) -> np.ndarray:
    try:
        code = ImageColor.getrgb(name.lower())[:3]
    except ValueError:
        raise UserError(f"{name!r} is no colour; write it as CSS does, such as #7a2b1f") from None
    lab: np.ndarray = color.srgb_to_lab(np.array(code, np.float32) / np.float32(255.0))
    return lab
