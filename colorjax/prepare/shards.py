"""Making one shard of records: the unit of work that processes, machines and restarts share.

A shard is a function of its items and the options alone, so whoever makes it, its bytes are the
same. Beside the shard stands a JSON file with its checksum and what was left out; that file is
written last, and while it is missing the shard counts as not made.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from colorjax import files
from colorjax.data import captions, colour_names, records
from colorjax.errors import UserError
from colorjax.prepare import captioner, validation, zero_shot
from colorjax.prepare.sources import Entry, Item, Rejected, Rejection

Histogram = dict[str, Counter[str]]
_REGIONS = ("object", "surround", "either")
_COUNTS = {"type": "object", "additionalProperties": {"type": "integer"}}
_OUTCOME = {
    "type": "object",
    "required": ["shard", "rejected", "gray", "captions", "colours"],
    "properties": {
        "shard": {
            "type": "object",
            "required": ["file", "records", "sha256"],
            "additionalProperties": False,
            "properties": {
                "file": {"type": "string"},
                "records": {"type": "integer"},
                "sha256": {"type": "string"},
            },
        },
        "rejected": {"type": "array"},
        "gray": {"type": "integer"},
        "captions": {"type": "integer"},
        "colours": {
            "type": "object",
            "required": list(_REGIONS),
            "properties": dict.fromkeys(_REGIONS, _COUNTS),
        },
    },
}


@dataclass(frozen=True)
class Options:
    """What decides the bytes of records.

    Attributes:
        short_side: see `validation.check`.
        drop_gray: gray pictures are left out; they are counted in any case.
        measured: captions are measured from the pixels and the class, see `captions.phrase`.
        captioner: folder of a captioner that describes the pictures, see `captioner.load`, or what
            `zero_shot.of_release` names.
        captioner_sees: what it is shown of them, "colour" or "gray".
    """

    short_side: int | None = None
    drop_gray: bool = True
    measured: bool = False
    captioner: str | None = None
    captioner_sees: str = "colour"


@dataclass(frozen=True)
class Task:
    """One shard to make in a directory."""

    directory: str
    split: str
    index: int
    count: int
    items: Sequence[Item]
    options: Options

    @property
    def path(self) -> Path:
        return Path(self.directory, records.shard_name(self.split, self.index, self.count))


@dataclass
class Outcome:
    """What became of a task's items.

    Attributes:
        shard: the file.
        rejected: what was left out.
        gray: how many decoded pictures were gray, dropped or not.
        captions: how many sentences people wrote, or where a captioner did how many there are.
        colours: for measured captions, pictures with each colour word by region.
    """

    shard: records.Shard | None = None
    rejected: list[Rejection] = field(default_factory=list)
    gray: int = 0
    captions: int = 0
    colours: Histogram = field(default_factory=lambda: {name: Counter() for name in _REGIONS})


def make(task: Task, tick: Callable[[], Any] = lambda: None) -> None:
    """Writes the shard and its outcome; `tick` is called after every item."""
    outcome, options = Outcome(), task.options
    examples = _records(task, outcome, tick)
    if options.captioner is not None:
        examples = _counted(_captioned(examples, options), outcome)
    outcome.shard = records.write_shard(task.path, examples)
    # Not `asdict(outcome)`, which would count the items of its counters.
    content = {
        "shard": asdict(outcome.shard),
        "rejected": [asdict(rejection) for rejection in outcome.rejected],
        "gray": outcome.gray,
        "captions": outcome.captions,
        "colours": outcome.colours,
    }
    files.write_text(outcome_file(task), json.dumps(content) + "\n")


def outcome_file(task: Task) -> Path:
    """Where the outcome of a task is: beside its shard."""
    return task.path.with_suffix(".json")


def read_outcome(task: Task) -> Outcome | None:
    """The outcome of a task that was made and whose shard still has its checksum, else None."""
    try:
        stored = files.read_json(outcome_file(task), _OUTCOME, advice="it is made again")
        if records.sha256(task.path) != stored["shard"]["sha256"]:
            return None
    except (FileNotFoundError, UserError):
        return None
    return Outcome(
        shard=records.Shard(**stored["shard"]),
        rejected=[Rejection(**rejection) for rejection in stored["rejected"]],
        gray=stored["gray"],
        captions=stored["captions"],
        colours={name: Counter(words) for name, words in stored["colours"].items()},
    )


def _records(task: Task, outcome: Outcome, tick: Callable[[], Any]) -> Iterator[records.Record]:
    for item in task.items:
        if isinstance(item, Rejection):
            outcome.rejected.append(item)
        else:
            try:
                yield _record(item, task.options, outcome)
            except Rejected as rejected:
                outcome.rejected.append(Rejection(item.key, rejected.reason, rejected.detail))
        tick()


def _captioned(examples: Iterator[records.Record], options: Options) -> Iterator[records.Record]:
    assert options.captioner is not None
    model = zero_shot.model_of(options.captioner)
    if model is not None:
        return zero_shot.add_captions(examples, zero_shot.load(model))
    machine = captioner.load(options.captioner, options.captioner_sees)
    return captioner.add_captions(examples, machine)


def _counted(examples: Iterator[records.Record], outcome: Outcome) -> Iterator[records.Record]:
    """The records, whose sentences are counted in the place of the source's."""
    count = 0
    for record in examples:
        count += sum(map(len, record.captions.values()))
        yield record
    outcome.captions = count


def _record(entry: Entry, options: Options, outcome: Outcome) -> records.Record:
    checked = validation.check(entry.content.read(), entry.content.name, options.short_side)
    outcome.gray += checked.gray
    if checked.gray and options.drop_gray:
        raise Rejected("gray")
    outcome.captions += len(entry.captions)
    sentences = {"complete": list(entry.captions)} if entry.captions else {}
    if options.measured:
        words = colour_names.region_colours(checked.pixels)
        for region, present in zip(_REGIONS, (words[:1], words[1:], set(words)), strict=True):
            outcome.colours[region].update(present)
        sentences = captions.phrase(*words, entry.label) if entry.label else {}
    return records.Record(entry.key, checked.data, entry.label, sentences, entry.pairs)
