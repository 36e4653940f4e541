"""Which results are there already: by the note in them of what they were made of, and how."""

import argparse
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from colorjax import __version__
from colorjax.colorize.chroma import hints
from colorjax.colorize.files import encoding, saving
from colorjax.colorize.jobs import Outcome, Request
from colorjax.colorize.words.instances import NAMED, MaskSource
from colorjax.errors import UserError
from colorjax.release import sums

FORMAT = 2  # another number when the same settings come to give other pictures
INPUT, VERSION, MODEL_NAME = "input", "version", "model_name"
CAPTION, BATCH = "caption", "batch"
_TOLD_ONLY = (INPUT, VERSION, MODEL_NAME, CAPTION, BATCH)  # the same picture may have others
_WITHOUT_EFFECT = ("batch_size",)  # on the bytes of a result


def made_by(
    digest: str,
    method: str,
    seed: int,
    settings: Mapping[str, Any],
    name: str = "",
) -> dict[str, Any]:
    """What decides a result beside the photograph and the prompt, as a note says it.

    Args:
        digest: of the model, see `digest_of_model`.
        settings: the value of every setting of the method.
        name: what the model is called.
    """
    about: dict[str, Any] = {"colorjax": FORMAT, "model": digest} | batched(1)
    about |= {VERSION: __version__, MODEL_NAME: name, "method": method, "seed": seed}
    about |= {name: value for name, value in settings.items() if name not in _WITHOUT_EFFECT}
    plain: dict[str, Any] = json.loads(json.dumps(about))
    return plain


def batched(size: int) -> dict[str, int]:
    """How many pictures the program took: it decides how numbers are rounded, nothing else."""
    return {BATCH: size}


def of_request(request: Request, masks: MaskSource | None = None) -> dict[str, Any]:
    """What decides a result of one photograph beside `made_by`, as a note says it."""
    about: dict[str, Any] = {"prompt": request.prompt}
    if masks is not None:
        about["masks"] = digest_of_masks(masks)
    if request.hints is not None:
        about["hints"] = digest_of_hints(request.hints)
    if request.inside is not None:
        about["only_masked"] = digest_of_masks(request.inside)
    if request.page:
        about["page"] = request.page + 1
    if request.restore:
        about["restore"] = True
    return about


def of_photograph(outcome: Outcome) -> dict[str, Any]:
    """What a note says once a photograph was read: its digest, and its caption if it has one."""
    caption = None if outcome.job is None else outcome.job.caption
    return {INPUT: outcome.digest} | ({} if caption is None else {CAPTION: caption})


def of_files(args: argparse.Namespace) -> dict[str, Any]:
    """What of a command line decides how results are written, where it is not as usual."""
    about: dict[str, Any] = {"keep_profile": True} if args.keep_profile else {}
    if args.frames:
        about["frames"] = args.keyframes
    if args.quality != encoding.QUALITY:
        about["quality"] = args.quality
    return about


def differences(there: Mapping[str, Any], note: Mapping[str, Any]) -> list[str]:
    """The names of what two notes say otherwise, and that makes another picture."""
    names = {*there, *note} - set(_TOLD_ONLY)
    return sorted(name for name in names if there.get(name) != note.get(name))


def is_finished(output: Path, note: Mapping[str, Any], source: Path) -> bool:
    """Whether a file is what these settings make of a photograph."""
    there = saving.note_of(output)
    if there is None or differences(there, note):
        return False
    try:
        with source.open("rb") as file:
            return there.get(INPUT) == hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return False  # which reading it will tell


def digest_of_model(directory: Path) -> str:
    """SHA-256 of a release's checksums, which stand for its weights, sizes and tokenizer.

    Raises:
        UserError: it has none.
    """
    path = directory / sums.CHECKSUMS
    if not path.is_file():
        raise UserError(f"'{directory}' has no {sums.CHECKSUMS}: the release is incomplete")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def digest_of_hints(source: hints.HintSource) -> str:
    """SHA-256 of a file of hints, of strokes' pixels or of a list of points."""
    if isinstance(source, str | os.PathLike):
        return str(digest_of_masks(source))
    if isinstance(source, Image.Image):
        return str(digest_of_masks(np.asarray(source)))
    text = json.dumps([dict(point) for point in source], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def digest_of_masks(masks: MaskSource | None) -> str | None:
    """Masks by their name, or SHA-256 of the array or the files that they are."""
    if masks is None or (isinstance(masks, str) and masks in NAMED):
        return masks
    total = hashlib.sha256()
    if isinstance(masks, np.ndarray):
        total.update(repr((masks.shape, masks.dtype.str)).encode() + masks.tobytes())
        return total.hexdigest()
    root = Path(masks)
    for path in sorted(root.rglob("*")) if root.is_dir() else [root]:
        if path.is_file():
            name = os.fsencode(path.relative_to(root) if path != root else "")
            total.update(name + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()
