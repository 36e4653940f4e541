"""What a stage's folder remembers: what it was begun with, and whether it is finished."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from colorjax import files
from colorjax.errors import UserError

LENGTH = ("total_steps", "epochs")
# What a run may go on with another value of: it changes how fast and how safely something is
# learned, or only where files lie (the weights themselves are known by their SHA-256).
OF_STAGE = (
    "accumulate",
    "batch_size",
    "clip_norm",
    "learning_rate",
    "max_skipped",
    "schedule",
    "spike_factor",
    "warmup_steps",
    "weight_decay",
)
OF_RUN = ("dtype", "init_from", "data.eval_split")
BATCH_SIZES = "batch_sizes"
_SCHEMA = {
    "type": "object",
    "properties": {
        "data": {"type": "object"},
        "model": {"type": "object"},
        "inputs": {"type": "object", "additionalProperties": {"type": "string"}},
        BATCH_SIZES: {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "array",
                "minItems": 2,
                "maxItems": 2,
                "items": {"type": "integer", "minimum": 0},
            },
        },
    },
}

Spans = Sequence[tuple[int, int]]  # from which step on batches had which size


def is_begun(directory: Path) -> bool:
    """Whether a stage has a checkpoint: without one there is nothing to go on with."""
    return latest_step(directory) > 0


def latest_step(directory: Path) -> int:
    """The newest step whose checkpoint has its name, whole or damaged; 0 where there is none."""
    names = [path.name for path in (directory / "checkpoints").glob("*") if path.is_dir()]
    return max((int(name) for name in names if re.fullmatch("[0-9]{1,18}", name)), default=0)


def remember(
    name: str,
    config: ConfigDict,
    inputs: Mapping[str, str],
    directory: Path,
    say: Callable[[str], None],
) -> None:
    """Writes what decides a stage's numbers into its folder, or compares with what stands there.

    Args:
        inputs: SHA-256 of each part whose weights the stage reads.
        say: hears what is another value now, and may be.

    Raises:
        UserError: the stage was begun with another value that a resumed run would mix in.
    """
    now = json.loads(json.dumps(_deciding(name, config, inputs)))
    before = _read(directory, say) if is_begun(directory) else {}
    if before:
        _compare_inputs(name, before, now["inputs"], directory)
        _compare(name, before, now, directory, say)
    if BATCH_SIZES in before:
        now[BATCH_SIZES] = before[BATCH_SIZES]
    files.write_text(directory / "config.json", json.dumps(now, indent=1) + "\n")


def _deciding(name: str, config: ConfigDict, inputs: Mapping[str, str]) -> dict[str, Any]:
    return {
        "seed": config.seed,
        "dtype": config.dtype,
        "init_from": config.init_from,
        "data": config.data.to_dict(),
        "model": {k: v for k, v in config.model.to_dict().items() if not k.endswith("colorize")},
        name: {k: v for k, v in config[name].to_dict().items() if k not in LENGTH},
        "inputs": dict(inputs),
    }


def _compare(
    name: str,
    before: Mapping[str, Any],
    now: Mapping[str, Any],
    directory: Path,
    say: Callable[[str], None],
) -> None:
    """Value by value; one that only this version or only that one has is no difference."""
    old, new = (
        flatten_dict({k: v for k, v in of.items() if k not in ("inputs", BATCH_SIZES)}, sep=".")
        for of in (before, now)
    )
    changed = [key for key in new if key in old and old[key] != new[key]]
    free = {*OF_RUN, *(f"{name}.{key}" for key in OF_STAGE)}
    # Without clipping the optimizer's state is another tree.
    if bool(old.get(f"{name}.clip_norm")) != bool(new.get(f"{name}.clip_norm")):
        free.discard(f"{name}.clip_norm")
    fixed = [f"{key}={old[key]!r}, not {new[key]!r}" for key in changed if key not in free]
    if fixed:
        raise UserError(
            f"'{directory}' was begun with {'; '.join(fixed)}: a run cannot go on with another "
            "value; give another --workdir, or delete that folder to begin again"
        )
    for key in changed:
        say(f"{key} is {new[key]!r} from here on, and was {old[key]!r}")


def _read(directory: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """What a begun stage remembers, and nothing where that is damaged: its checkpoints are not."""
    path = directory / "config.json"
    if not path.exists():
        return {}
    try:
        return dict(files.read_json(path, _SCHEMA, advice="it is written anew"))
    except UserError as error:
        say(f"{error}, and not compared with the settings of this command")
        return {}


def batch_sizes(name: str, directory: Path, batch_size: int) -> Spans:
    """From which step on the batches of a begun stage had which size; `batch_size` if unknown."""
    silent: Callable[[str], None] = lambda text: None
    before = _read(directory, silent) if is_begun(directory) else {}
    if BATCH_SIZES in before:
        return [(step, size) for step, size in before[BATCH_SIZES]]
    return [(0, before.get(name, {}).get("batch_size", batch_size))]


def going_on(spans: Spans, step: int, batch_size: int) -> Spans:
    """The sizes of a stage that goes on from a step, which may be before the last of `spans`."""
    kept = [span for span in spans if span[0] < step] or [(0, batch_size)]
    return kept if kept[-1][1] == batch_size else [*kept, (step, batch_size)]


def pictures_taken(spans: Spans, step: int) -> int:
    """How many pictures the batches of all steps up to `step` have had."""
    ends = [*(start for start, _ in spans[1:]), step]
    return sum(
        max(0, min(end, step) - start) * size
        for (start, size), end in zip(spans, ends, strict=True)
    )


def remember_batch_sizes(directory: Path, spans: Spans) -> None:
    """Adds to what a stage's folder remembers."""
    path = directory / "config.json"
    content = files.read_json(path, advice="give another --workdir")
    if content.get(BATCH_SIZES) != [list(span) for span in spans]:
        files.write_text(path, json.dumps(content | {BATCH_SIZES: spans}, indent=1) + "\n")


def is_finished(name: str, inputs: Mapping[str, str], directory: Path, total_steps: int) -> bool:
    """Whether a stage has made its steps, with the weights that it would read today.

    Raises:
        UserError: those weights have been made anew since.
    """
    file = directory / "FINISHED"
    text = file.read_text("utf-8", errors="replace").strip() if file.is_file() else ""
    if not re.fullmatch("[0-9]{1,18}", text) or int(text) < total_steps:
        return False
    _compare_inputs(name, _read(directory, lambda text: None), inputs, directory)
    return True


def finish(directory: Path, total_steps: int) -> None:
    """Marks a stage as trained for so many steps."""
    files.write_text(directory / "FINISHED", f"{total_steps}\n")


def _compare_inputs(
    name: str, before: Mapping[str, Any], inputs: Mapping[str, str], directory: Path
) -> None:
    known = before.get("inputs", inputs)
    changed = [part for part in inputs if known.get(part) != inputs[part]]
    if changed or known.keys() != dict(inputs).keys():
        parts = ", ".join(changed) or "other parts"
        raise UserError(
            f"stage {name!r} in '{directory}' was trained on weights that have been made anew "
            f"since ({parts}); delete that folder to train it again, or give another --workdir"
        )
