"""A study with people, as L-CAD's and most papers' tables have: pairs to choose from, and a test.

The page shows two painters' results of one photograph and asks which follows the text better and
which looks real. Who made which stands in a second file, which no rater sees.
"""

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

import numpy as np

from colorjax import files
from colorjax.errors import UserError
from colorjax.evaluate import gallery
from colorjax.evaluate.gallery import Shown
from colorjax.evaluate.measuring import GRAY
from colorjax.evaluate.report import SMALL, page

PAGE, KEY = "study.html", "key.json"
QUESTIONS = {"obeys": "follows the text better", "real": "looks more real"}
SIDES = ("left", "right")
LEVEL = 0.95
_SIDE = {"enum": list(SIDES)}
_KEY_SCHEMA = {
    "type": "object",
    "required": ["study", "pairs"],
    "properties": {
        "study": {"type": "string"},
        "pairs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["picture", *SIDES],
                "properties": {side: {"type": "string"} for side in SIDES},
            },
        },
    },
}
_ANSWERS_SCHEMA = {
    "type": "object",
    "required": ["study", "answers"],
    "properties": {
        "study": {"type": "string"},
        "answers": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": dict.fromkeys(QUESTIONS, _SIDE),
                "additionalProperties": False,
            },
        },
    },
}


class Pair(NamedTuple):
    """One question: a picture's place, and which painter is on which side."""

    place: int
    left: str
    right: str


def draw(painters: Sequence[str], pictures: int, count: int, seed: int) -> list[Pair]:
    """Pairs at random: other pictures, every two painters equally often, sides by chance.

    Raises:
        UserError: fewer than two painters, or fewer pictures than pairs.
    """
    if len(painters) < 2:
        raise UserError("a study compares two models or more; give another --model or --outputs")
    if not 1 <= count <= pictures:
        raise UserError(f"--pairs is {count}; it must be in 1..{pictures}, the number of pictures")
    rng = np.random.default_rng(seed)
    every = list(itertools.combinations(painters, 2))
    places = rng.choice(pictures, count, replace=False)
    pairs = []
    for number, place in enumerate(places):
        one, other = every[number % len(every)]
        if rng.random() < 0.5:
            one, other = other, one
        pairs.append(Pair(int(place), one, other))
    rng.shuffle(pairs)
    return [Pair(int(place), str(left), str(right)) for place, left, right in pairs]


def write(folder: Path, pairs: Sequence[Pair], shown: Mapping[int, Shown]) -> None:
    """Writes the page that raters open and the key that they do not.

    Raises:
        UserError: the disk refuses.
    """
    key = [
        {"picture": shown[pair.place].key, "left": pair.left, "right": pair.right} for pair in pairs
    ]
    identity = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    questions = [
        {
            "caption": shown[pair.place].caption,
            "gray": gallery.data_uri(shown[pair.place].versions[GRAY]),
            "left": gallery.data_uri(shown[pair.place].versions[pair.left]),
            "right": gallery.data_uri(shown[pair.place].versions[pair.right]),
        }
        for pair in pairs
    ]
    # Within a script's element "</" could end it early, and "<!--" keep it from ending.
    content = json.dumps({"study": identity, "pairs": questions}).replace("<", "\\u003c")
    side = next(iter(shown.values())).versions[GRAY].shape[0]
    text = Template(page("study.html")).substitute(
        style=page("style.css"), size="small" if side <= SMALL else "large", study=content
    )
    files.write_text(folder / PAGE, text)
    files.write_text(folder / KEY, json.dumps({"study": identity, "pairs": key}, indent=1) + "\n")


class Verdict(NamedTuple):
    """What raters said of two painters in one question."""

    question: str
    painter: str
    other: str
    votes: int  # for the painter
    of: int
    low: float  # Wilson's 95 % interval of its share
    high: float
    p: float  # of no preference, exact and two-sided

    def line(self) -> str:
        """As the command prints it."""
        share = 100.0 * self.votes / self.of
        return (
            f"{QUESTIONS[self.question]}: {self.painter} {share:.1f} % ({self.votes} of {self.of}) "
            f"against {self.other}, 95 % interval {100 * self.low:.1f} to {100 * self.high:.1f} %, "
            f"p {self.p:.2g}"
        )


def results(folder: Path, paths: Sequence[Path]) -> list[Verdict]:
    """The verdict on every two painters in both questions, over all answers.

    The interval and the test take answers for independent: with few raters, who each give many,
    they are narrower than they should be.

    Raises:
        UserError: a file is missing, damaged, or of another study.
    """
    key = files.read_json(folder / KEY, _KEY_SCHEMA, advice="give the folder that --study made")
    votes: dict[tuple[str, str, str], list[bool]] = {}
    for path in paths:
        answered = files.read_json(path, _ANSWERS_SCHEMA, advice="save the answers again")
        if answered["study"] != key["study"] or len(answered["answers"]) != len(key["pairs"]):
            raise UserError(f"'{path}' answers another study than that of '{folder}'")
        for pair, answer in zip(key["pairs"], answered["answers"], strict=True):
            first, second = sorted((pair["left"], pair["right"]))
            for question, side in answer.items():
                votes.setdefault((question, first, second), []).append(pair[side] == first)
    if not votes:
        raise UserError("there is no answer in these files; give the ones that raters saved")
    return [_verdict(*names, chosen) for names, chosen in sorted(votes.items())]


def _verdict(question: str, painter: str, other: str, chosen: list[bool]) -> Verdict:
    from scipy import stats

    test: Any = stats.binomtest(sum(chosen), len(chosen), 0.5)
    interval = test.proportion_ci(LEVEL, method="wilson")
    return Verdict(
        question,
        painter,
        other,
        sum(chosen),
        len(chosen),
        float(interval.low),
        float(interval.high),
        float(test.pvalue),
    )
