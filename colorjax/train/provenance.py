"""What a stage's folder remembers: what it was begun with, and whether it is finished."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from colorjax import files
from colorjax.errors import UserError

LENGTH = ("total_steps", "epochs")


def remember(name: str, config: ConfigDict, inputs: Mapping[str, str], directory: Path) -> None:
    """Writes what decides a stage's numbers into its folder, or compares with what stands there.

    Args:
        inputs: SHA-256 of each part whose weights the stage reads.

    Raises:
        UserError: the stage was begun with another value, which a resumed run would mix in.
    """
    deciding = {
        "seed": config.seed,
        "dtype": config.dtype,
        "init_from": config.init_from,
        "data": config.data.to_dict(),
        "model": {k: v for k, v in config.model.to_dict().items() if not k.endswith("colorize")},
        name: {k: v for k, v in config[name].to_dict().items() if k not in LENGTH},
        "inputs": dict(inputs),
    }
    now = json.loads(json.dumps(deciding))
    file = directory / "config.json"
    if not file.exists():
        directory.mkdir(parents=True, exist_ok=True)
        files.write_text(file, json.dumps(now, indent=1) + "\n")
        return
    before = json.loads(file.read_text())
    _compare_inputs(name, before, now["inputs"], directory)
    for key in now:
        if not _agree(before.get(key, now[key]), now[key]):
            raise UserError(
                f"'{directory}' was begun with {key}={before.get(key)}, not {now[key]}; give "
                "another --workdir, or delete it to begin again"
            )


def _agree(before: Any, now: Any) -> bool:
    """Whether two values are the same; what only one version knows is no difference."""
    if isinstance(before, dict) and isinstance(now, dict):
        return all(_agree(before[key], now[key]) for key in before.keys() & now.keys())
    return bool(before == now)


def is_finished(name: str, inputs: Mapping[str, str], directory: Path, total_steps: int) -> bool:
    """Whether a stage has made its steps, with the weights that it would read today.

    Raises:
        UserError: those weights have been made anew since.
    """
    file = directory / "FINISHED"
    if not file.exists() or int(file.read_text()) < total_steps:
        return False
    begun = directory / "config.json"
    if begun.exists():
        _compare_inputs(name, json.loads(begun.read_text()), inputs, directory)
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
