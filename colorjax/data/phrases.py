"""Phrases that name one object, with or without its colour, and where their tokens are.

A prompt with commas is read as L-CAD's release reads it: each part is a phrase. In a free sentence
the phrases are objects with their colours: "a man in a red shirt riding a white horse" has "red
shirt" and "white horse"; "the car is blue" is one phrase, "a black and white cat" has one with two
colours. They are found by rules and lists of words (`lexicon`), made for COCO's captions; of 215
phrases in 200 of these, read one by one, 213 were right and 5 more were not found. It is no parser
of English: a verb that is not listed stays in the phrase, "a red and a blue car" gives "blue car"
only, and a colour that could be of either of two things ("the cat on the mat is black") is left.
"""

import functools
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool

from colorjax.data import lexicon
from colorjax.data.words import Words
from colorjax.errors import UserError

# Words after "an".
_AN = re.compile(r"(?!uni|use|usu|uti|eu|one|once|ufo|ukulele)[aeiou]|hour|honest|hono|heir")


@dataclass(frozen=True)
class ColourPhrase:
    """`text[start:stop]` of a sentence; without `cut` the object stays and its colour is gone."""

    start: int
    stop: int
    cut: tuple[int, int]


@functools.lru_cache(maxsize=1 << 13)
def colour_phrases(sentence: str) -> tuple[ColourPhrase, ...]:
    """The phrases of a free sentence that name an object and its colour, from left to right."""
    words = Words(sentence)
    phrases: list[ColourPhrase] = []
    i = 0
    while i < len(words):
        end = words.group_at(i)
        noun = words.noun_end(end)
        if end == i:
            i += 1
            continue
        phrase = _predicate(words, i, end) if noun == end or words.is_verbal(end) else None
        if noun > end and not phrase:
            phrase = _attribute(words, i, end, noun)
        if phrase and (not phrases or phrases[-1].stop <= phrase.start):
            phrases.append(phrase)
        i = noun
    return tuple(phrases)


def _attribute(words: Words, start: int, end: int, noun: int) -> ColourPhrase | None:
    """The colours of words `start` to `end` and the noun after them, unless it is no object."""
    colours, head = set(words.words[start:end]), words[noun - 1]
    if colours <= lexicon.MEDIUM_COLOURS and head in lexicon.MEDIA:
        return None
    if colours <= lexicon.PEOPLE_COLOURS and noun == end + 1 and head in lexicon.PEOPLE:
        return None
    first = end + (words[end] in lexicon.OF_ONE_COLOUR and noun > end + 1)
    cut = words.starts[start], words.starts[first]
    return ColourPhrase(words.starts[start], words.ends[noun - 1], cut)


def _predicate(words: Words, start: int, end: int) -> ColourPhrase | None:
    """The noun whose colours are words `start` to `end`, as in "the car is red"."""
    link, through = _link(words, start)
    if link == start or words.words[start - 1 : end] == ["in", "black", "and", "white"]:
        return None
    first = link
    while first > max(0, link - 3) and words.in_noun(first - 1):
        if words.colour_at(first - 1):
            return None
        if words.is_verbal(first - 1):
            break
        first -= 1
    if first == link or words[link - 1] in lexicon.MEDIA:
        return None
    before = first - 1
    while words[before] in lexicon.DETERMINERS:
        before -= 1
    # "the cat on the mat is black": it could be about either.
    if words[before] in lexicon.PREPOSITIONS - through:
        return None
    if words[end] == "in" and words[end + 1] in ("color", "colour"):
        end += 2
    cut = _predicate_cut(words, link, start, end)
    return ColourPhrase(words.starts[first], words.ends[end - 1], cut)


def _link(words: Words, start: int) -> tuple[int, frozenset[str]]:
    """The first word of what joins a noun to the colour at word `start`, itself if nothing does.

    Also the prepositions that may stand before the noun: "a room with walls painted white".
    """
    i, through = start, frozenset({"of"})
    if words[i - 1] in ("in", "wearing"):
        i -= 1
        if words[i] == "in" and words[i - 1] in lexicon.DRESSED:
            i -= 1
    elif words[i - 1] in lexicon.LINKED_PARTICIPLES:
        i, through = i - 1, frozenset({"of", "with"})
    verb = i
    while words[i - 1] in lexicon.COPULAS or (i < verb and words[i - 1] in ("has", "have")):
        i -= 1
    if i < verb and words[i - 1] in ("that", "which", "who"):
        return i - 1, frozenset({"of", "with"})
    return i, frozenset() if i < verb else through


def _predicate_cut(words: Words, link: int, start: int, end: int) -> tuple[int, int]:
    """What to leave out of "the car is red and old", "the car is red and drives away"."""
    after = words[end + 1]
    if words[end] == "and" and after:
        if words.in_noun(end + 1) and not words.is_predicate(end + 1):
            if words[start - 1] in lexicon.COPULAS:
                return words.starts[start], words.starts[end + 1]
        elif after not in lexicon.DETERMINERS | lexicon.PREPOSITIONS:
            return words.ends[link - 1], words.ends[end]
    return words.ends[link - 1], words.ends[end - 1]


def without_colours(sentence: str, phrases: Sequence[ColourPhrase]) -> str:
    """The sentence without the colours of those of its phrases that are given."""
    for phrase in sorted(phrases, key=lambda phrase: phrase.start, reverse=True):
        start, stop = phrase.cut
        before, after = sentence[:start], sentence[stop:]
        if article := re.search(r"\b[Aa]n?(?= +$)", before):
            letter, right = article[0][0], _AN.match(after.lower())
            before = before[: article.start()] + letter + ("n" if right else "") + " "
        sentence = before + after
    return sentence


def partial(caption: str, rng: np.random.Generator) -> str:
    """A description that leaves some colours out, as L-CAD's partial level.

    Of several phrases one to all but one lose their colour, a single one loses it; a caption
    without any comes back as it is.
    """
    phrases = colour_phrases(caption)
    if not phrases:
        return caption
    count = int(rng.integers(1, len(phrases))) if len(phrases) > 1 else 1
    chosen = rng.choice(len(phrases), count, replace=False)
    return without_colours(caption, [phrases[i] for i in chosen])


def partials(caption: str) -> list[str]:
    """Everything that `partial` can make of a caption."""
    phrases = colour_phrases(caption)
    counts = range(1, len(phrases)) if len(phrases) > 1 else (1,)
    chosen = [some for count in counts for some in itertools.combinations(phrases, count)]
    return [without_colours(caption, list(some)) for some in chosen] if phrases else [caption]


def instance_phrases(prompt: str) -> list[str]:
    """The phrases of a prompt that name one object each, such as a mask shows.

    The parts between commas; of a prompt without commas its colour phrases, or all of it if there
    is none, or but an article beside it ("the red cup").
    """
    if "," in prompt:
        return [part.strip() for part in prompt.split(",") if part.strip()]
    phrases = colour_phrases(prompt)
    rest = prompt[: phrases[0].start] + prompt[phrases[-1].stop :] if phrases else ""
    if rest.strip().lower() in ("", "a", "an", "the") and len(phrases) < 2:
        return [prompt.strip()] if prompt.strip() else []
    return [prompt[phrase.start : phrase.stop] for phrase in phrases]


def without_article(phrase: str) -> str:
    """The phrase without an article before it.

    An article draws as much attention as the colour beside it and says nothing: attention that is
    pushed into a mask should not go there. The release keeps it.
    """
    first, _, rest = phrase.partition(" ")
    return rest.lstrip() if rest and first.lower() in ("a", "an", "the") else phrase


@runtime_checkable
class Tokenizer(Protocol):
    """What `spans` needs of `tokenizer.Tokenizer`, which imports this module."""

    max_length: int

    def offsets(self, text: str) -> list[tuple[int, int]]: ...


def spans(
    tokenizer: Tokenizer, prompt: str, phrases: Sequence[str]
) -> Bool[np.ndarray, "k length"]:
    """Which of a prompt's tokens, counted from BOS at 0, are each phrase's.

    Commas, BOS and EOS are nobody's: of the release's example "the blue cup, the red cup, the
    yellow cup" the phrases have the tokens 1 to 3, 5 to 7 and 9 to 11 (L-CAD's code; the paper
    says nothing). A phrase that is there twice stands for its first place, then for its second.

    Raises:
        UserError: a phrase is empty, not in the prompt, or cut off by the tokenizer's length.
    """
    offsets = tokenizer.offsets(prompt)
    count = tokenizer.max_length - 2  # besides BOS and EOS
    tokens = np.zeros((len(phrases), tokenizer.max_length), bool)
    for row, (start, stop) in zip(tokens, _places(prompt, phrases), strict=True):
        own = [i for i, (first, last) in enumerate(offsets) if first < stop and last > start]
        if not own or own[-1] >= count:
            raise UserError(
                f"the phrase {prompt[start:stop]!r} is not within the first {count} tokens of the "
                "prompt, which are all that the model reads; shorten the prompt"
            )
        row[own[0] + 1 : own[-1] + 2] = True
    return tokens


def _places(prompt: str, phrases: Sequence[str]) -> list[tuple[int, int]]:
    """Where each phrase is, without overlaps: the longest choose first, equals from the left."""
    places: dict[int, tuple[int, int]] = {}
    for i in sorted(range(len(phrases)), key=lambda i: (-len(phrases[i]), i)):
        pattern = rf"(?<!\w){re.escape(phrases[i].strip())}(?!\w)"
        matches = re.finditer(pattern, prompt, re.IGNORECASE) if phrases[i].strip() else ()
        free = (
            match.span()
            for match in matches
            if all(match.end() <= a or b <= match.start() for a, b in places.values())
        )
        if (place := next(free, None)) is None:
            raise UserError(
                f"the phrase {phrases[i]!r} is not in the prompt {prompt!r}, or not as often as "
                "it is asked for; give phrases that the prompt has"
            )
        places[i] = place
    return [places[i] for i in range(len(phrases))]
