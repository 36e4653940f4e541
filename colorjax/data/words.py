"""A sentence's words and what rules tell of each: colours, nouns, verbs. See `phrases`."""

import re

from colorjax.data import lexicon

_WORD = re.compile(r"\w+(?:['’-]\w+)*|[^\w\s]")
_MOST_WORDS = 4  # of a noun and its adjectives after the colours


class Words:
    """A sentence's words in lower case, and what can be told of each."""

    def __init__(self, text: str) -> None:
        matches = list(_WORD.finditer(text))
        self.words = [match[0].lower() for match in matches]
        self.starts = [match.start() for match in matches]
        self.ends = [match.end() for match in matches]

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, i: int) -> str:
        return self.words[i] if 0 <= i < len(self.words) else ""

    def colour_at(self, i: int) -> int:
        """How many words from word `i` on name one colour, its shade included; or 0."""
        n = i
        while self[n] in lexicon.SHADES:
            n += 1
        word, after = self[n], self[n + 1]
        parts = word.split("-")
        if len(parts) > 1:
            if parts[-1] in lexicon.OF_ONE_COLOUR:  # red-haired
                parts.pop()
            mixed = set(parts) <= lexicon.COLOURS | lexicon.SHADES | {"and"}
            is_colour = parts[-1] in lexicon.COLOURS and mixed or parts[-1] in lexicon.COLORED
            return n + 1 - i if is_colour else 0
        if word in ("colored", "coloured") and n > i:  # brightly colored
            return n + 1 - i
        if after in lexicon.COLORED and (word in lexicon.MANY or self.in_noun(n)):
            return n + 2 - i
        misleading = after in lexicon.FOODS.get(word, ()) or (
            self[n - 1] in lexicon.NOT_AFTER.get(word, ())
        )
        return n + 1 - i if word in lexicon.COLOURS and not misleading else 0

    def group_at(self, i: int) -> int:
        """The end of a run of colours such as "light blue, red and white"; `i` without one."""
        end = i
        while n := self.colour_at(end):
            joint = end + n
            while joint < end + n + 2 and self[joint] in ("and", "or", ",", "&", "/"):
                joint += 1
            if not self.colour_at(joint):
                return end + n
            end = joint
        return end

    def in_noun(self, i: int) -> bool:
        """Whether word `i` may be in a noun: it is no verb, preposition, determiner or sign."""
        word = self[i]
        ends = (
            lexicon.CONJUNCTIONS,
            lexicon.DETERMINERS,
            lexicon.PREPOSITIONS,
            lexicon.COPULAS,
            lexicon.AUXILIARIES,
            lexicon.VERBS - lexicon.ING_NOUNS,
        )
        adverb = word.endswith("ly") and word not in lexicon.LY_NOUNS
        return bool(word) and not adverb and not any(word in words for words in ends)

    def is_verbal(self, i: int) -> bool:
        """Whether word `i` is a participle and not one of the nouns in -ing and -ed."""
        nouns = lexicon.ING_NOUNS | lexicon.ED_NOUNS
        return self[i].endswith(("ing", "ed")) and self[i] not in nouns

    def is_predicate(self, i: int) -> bool:
        """Whether word `i`, which may be a noun, is a verb after the noun before it."""
        word = self[i]
        if word.endswith(("s", "ing")) and self[i + 1] in lexicon.ARTICLES:
            return True  # a verb and its object
        plural = re.search(r"[^su]s$", self[i - 1])
        return word in lexicon.EITHER_WITH_S or bool(plural and word in lexicon.PLAIN_EITHER)

    def noun_end(self, i: int) -> int:
        """The end of the noun, with its adjectives, that starts at word `i`; `i` without one."""
        end = i
        while end < i + _MOST_WORDS and self.in_noun(end):
            more = self.in_noun(end + 1)
            if end > i and (self.colour_at(end) or self.is_predicate(end)):
                break
            # "a parked car", "a running dog", but "a car parked here", "a dog running home".
            if self.is_verbal(end) and (not more or (end > i and self[end].endswith("ing"))):
                break
            end += 1
        return end
