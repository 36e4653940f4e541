"""Another photograph, or the same once more, with what made a result."""

import argparse
import hashlib
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from colorjax import files
from colorjax.colorize import finished
from colorjax.colorize.files import saving
from colorjax.data import captions
from colorjax.errors import UserError
from colorjax.methods import registry

# What a note has by digest only, so that it must be given again.
_DIGESTS = ("masks", "hints", "only_masked")
_FLAGS = (
    *("tint", "grid", "compare", "variations", "levels", "vividness_grid", "enhance", "restore"),
    *("keep_profile", "quality"),
)


_SWITCH, _TEXT = {"type": "boolean"}, {"type": "string", "maxLength": 100_000}
_WHOLE = {"type": "integer", "minimum": 1, "maximum": 10_000}
# A note is what somebody's picture says. What the settings of a method may be is theirs to check.
_NOTE = {
    "type": "object",
    "required": ["method", "seed"],
    "properties": {
        **dict.fromkeys(("method", "prompt", "tint", "enhance", finished.MODEL_NAME), _TEXT),
        **dict.fromkeys(("grid", "compare", "levels", "vividness_grid"), _SWITCH),
        **dict.fromkeys(("restore", "keep_profile"), _SWITCH),
        **dict.fromkeys(("variations", "quality", "page", finished.BATCH), _WHOLE),
        "seed": {"type": "integer"},
    },
}
# Names of models that may be anybody's: one would be downloaded, the other's programs run.
_FOREIGN = re.compile(r"hub:.*|.*\.cjx", re.IGNORECASE | re.DOTALL)


def note_in(path: Path) -> Mapping[str, Any]:
    """What a result says of itself.

    Raises:
        UserError: it is not there, or says nothing.
    """
    if path.is_dir():
        raise UserError(f"'{path}' is a folder; give a picture that colorjax made")
    if not path.is_file():
        raise UserError(f"'{path}' does not exist; give a picture that colorjax made")
    note = saving.note_of(path)
    if note is None:
        raise UserError(
            f"'{path}' does not say how it was made: it is no result of colorjax, was made with "
            "--plain, or another program has taken it out"
        )
    return note


def told(note: Mapping[str, Any]) -> Iterator[str]:
    """A note for people to read, a line for each thing."""
    for name, value in sorted(note.items()):
        yield f"{name}: {value if isinstance(value, str) else json.dumps(value)}"


def adopt(args: argparse.Namespace) -> Mapping[str, Any]:
    """Sets the values of a command line to those that made the result that it names.

    Raises:
        UserError: the result says nothing or what cannot be, the command line says something else
            itself, or the model is one that only a person should choose.
    """
    note = note_in(args.like)
    files.check_json(note, _NOTE, args.like, "give another result, or the flags themselves")
    method = registry.find(note["method"])
    args.method, args.seed = method.name, note["seed"]
    if args.prompt is None and note.get("prompt") not in (None, captions.SCARCE[0]):
        args.prompt = note["prompt"]
    for row in method.settings:
        if row.name in note and getattr(args, row.name, None) is None:
            setattr(args, row.name, row.parse(note[row.name]))
    if note.get("masks") is None:
        for name in ("refine_step_size", "refine_objective", "replay", "mask_steps"):
            setattr(args, name, None)  # without effect
    elif note["masks"] in ("attention", "clipseg"):
        args.masks = note["masks"]
    for name in _FLAGS:
        if name in note:
            setattr(args, name, note[name])
    args.batch = note.get(finished.BATCH)
    if args.batch is not None and args.batch > 1:
        args.batch_size = args.batch
    if "page" in note:
        args.pages = str(note["page"])
    model = note.get(finished.MODEL_NAME)
    if args.model == "bundled" and model:
        if _FOREIGN.fullmatch(model):
            raise UserError(
                f"'{args.like}' says that model {model!r} made it, which a picture alone shall not "
                f"choose; if you trust that model, add --model={shlex.quote(model)}"
            )
        args.model = model
    return note


def remarks(like: Mapping[str, Any], note: Mapping[str, Any], source: Any) -> Iterator[str]:
    """Sentences about what is otherwise than in the result, so that the picture will differ."""
    for name in finished.differences(like, note):
        if name in _DIGESTS:
            yield _otherwise(name, is_noted=name in like, is_asked=name in note)
        elif name == "model":
            yield f"the model's weights are others than the result's ({like.get('model_name')!r})"
        elif name == "doubt":
            yield "the result is a map of doubt: the colouring beside it is made instead"
        else:
            yield f"{name} is {note.get(name)!r}, the result's {like.get(name)!r}"
    if like.get(finished.VERSION) != note.get(finished.VERSION):
        yield (
            f"the result was made by colorjax {like.get(finished.VERSION)}, this is "
            f"{note.get(finished.VERSION)}: colours may differ a little"
        )
    digest = hashlib.sha256(Path(source).read_bytes()).hexdigest()
    if digest != like.get(finished.INPUT):
        yield "the photograph is another one than the result's"


def _otherwise(name: str, *, is_noted: bool, is_asked: bool) -> str:
    if not is_asked:
        return f"the result was made with --{name}, which is not given"
    if not is_noted:
        return f"the result was made without --{name}"
    return f"--{name} is another than the result's"
