"""A release goes on learning from a folder of pictures: what comes before the stage, and after.

The pictures are prepared in the run's own folder, the model is the release's, and what the held-out
ones were before and after is told and shown at the end.
"""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from colorjax import files, release
from colorjax.data import records
from colorjax.devices import processes
from colorjax.errors import UserError, say
from colorjax.methods import diffusing_colors, registry
from colorjax.prepare import assembly, planning, zero_shot
from colorjax.prepare.run import prepare
from colorjax.train import held_out, samples

STAGES = {"lcad": "latent", "diffusing_colors": "cold"}
FACTOR = 1.25  # of the model's size: what random crops are cut of
WALK_STEPS = 10  # where a release walks by a distilled UNet, which the new one is not distilled to
SOURCE = "pictures.json"  # of a run's folder: what was prepared
_SCHEMA = {
    "type": "object",
    "required": ["folder", "files"],
    "properties": {"folder": {"type": "string"}, "files": {"type": "object"}},
}


def is_wanted(config: ConfigDict) -> bool:
    """Whether the configuration is one of one's own pictures."""
    return isinstance(config.get("pictures"), str)


def begin(config: ConfigDict, workdir: Path) -> None:
    """Prepares the pictures, and completes the configuration by the release and by them.

    Raises:
        UserError: no folder or no release, one that cannot be used, or other pictures than those
            that the run was begun with.
    """
    folder = Path(config.pictures)
    if not config.pictures or not folder.is_dir():
        raise UserError(
            f"--config.pictures={config.pictures!r} is no folder; give one of colour pictures"
        )
    if not config.init_from:
        raise UserError("--config.init_from is missing: give the release to go on with, or bundled")
    directory = release.locate(config.init_from)
    adopt(config, release.read_config(directory))
    processes.on_first(lambda: _prepare(config, folder, directory, workdir), "the pictures")
    data = config.data
    data.directory = str(workdir / "data")
    held = records.open_split(data.directory, data.eval_split, "--config.data.eval_split")
    config.evaluate_pictures = min(config.evaluate_pictures, len(held))


def adopt(config: ConfigDict, of_release: Mapping[str, Any]) -> None:
    """Takes method, sizes and settings of a release for the configuration's.

    Raises:
        UserError: the release's method is unknown.
    """
    config.method = config.method or registry.of_release(of_release)
    config.stages = (STAGES[config.method],)
    known = {key: value for key, value in of_release.items() if key in config.model}
    with config.unlocked(), config.ignore_type():
        config.model.update(_tuples(known))
        if config.model.cold_colorize.num_steps == diffusing_colors.DISTILLED:
            config.model.cold_colorize.num_steps = WALK_STEPS


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(value) if isinstance(value, list) else value


def _prepare(config: ConfigDict, folder: Path, directory: Path, workdir: Path) -> None:
    """The pictures as records in `workdir/data`, unless they are there already."""
    now = {"folder": str(folder.resolve()), "files": _sizes(folder)}
    remembered, output = workdir / SOURCE, workdir / "data"
    if output.is_dir() and remembered.is_file():
        before = files.read_json(remembered, _SCHEMA, advice=f"delete '{workdir}' to begin again")
        if before != now:
            raise UserError(
                f"'{workdir}' was begun with other pictures than those of '{folder}': give another "
                "--workdir, or delete that folder to begin again"
            )
        return
    request = planning.Request(
        source="folder",
        input=folder,
        output=output,
        captions=Path(config.captions) if config.captions else None,
        short_side=round(FACTOR * config.model.image_size),
        captioner=_captioner(directory),
        hold_out=config.hold_out,
        overwrite=output.is_dir(),
    )
    summary = prepare(request)
    files.write_text(remembered, json.dumps(now, indent=1) + "\n")
    counts = records.read_manifest(output)["splits"]
    for split, outcome in summary.items():
        print(f"{split}: {counts[split]['records']} pictures, {outcome.captions} sentences")
        for reason, count in assembly.reasons(outcome.rejected).items():
            print(f"  left out: {count} {reason}")
    say(f"'{output / assembly.REJECTED}' names what was left out")


def _captioner(directory: Path) -> str | None:
    """What names pictures without captions; nothing does where the release cannot."""
    named = zero_shot.of_release(str(directory))
    try:
        zero_shot.load(directory.resolve())
    except UserError as error:
        say(f"{error}; pictures without captions have generic ones")
        return None
    return named


def _sizes(folder: Path) -> dict[str, int]:
    """Every visible file's bytes, by its path in the folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    named = {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths}
    return {name: size for name, size in named.items() if not name.startswith(".")}


def finish(config: ConfigDict, workdir: Path) -> None:
    """Tells and shows what the held-out pictures were before and after; the first process does."""
    directory = workdir / config.stages[0]
    rows = _measured(directory / "metrics.jsonl")
    if not processes.is_first() or len(rows) < 2:
        return
    (_, before), (step, after) = rows[0], rows[-1]
    print(f"{config.evaluate_pictures} held-out pictures, before and after {step} steps:")
    for name in sorted(before):
        print(f"  {name:32}{before[name]:9.2f}{after.get(name, float('nan')):9.2f}")
    sheets = [directory / held_out.SHEETS / f"{n:07d}.png" for n in (0, step)]
    if all(sheet.is_file() for sheet in sheets):
        path = workdir / "before_after.png"
        levels = {name.partition("/")[0] for name in before}
        files.write_bytes(path, _beside(sheets[0], sheets[1], len(samples.SHOWN), len(levels)))
        say(f"'{path}' shows them: gray, truth, then {', '.join(sorted(levels))}, each twice")
    say(f"the release is '{workdir / 'release'}'")


def _measured(path: Path) -> list[tuple[int, dict[str, float]]]:
    """The steps at which held-out pictures were measured, and the figures."""
    rows = []
    for line in path.read_text("utf-8").splitlines() if path.is_file() else ():
        row = json.loads(line)
        figures = {
            key.removeprefix(held_out.PREFIX): value
            for key, value in row.items()
            if key.startswith(held_out.PREFIX)
        }
        if figures:
            rows.append((int(row["step"]), figures))
    return rows


def _beside(before: Path, after: Path, shown: int, outputs: int) -> bytes:
    """Of two sheets of the same pictures one: each column of an output after that of the other."""
    with Image.open(before) as first, Image.open(after) as second:
        pixels = [np.asarray(sheet.convert("RGB")) for sheet in (first, second)]
    columns = [np.split(sheet, shown + outputs, axis=1) for sheet in pixels]
    pairs = [column for pair in zip(*columns, strict=True) for column in pair]
    picked = [columns[0][i] for i in range(shown)] + pairs[2 * shown :]
    encoded = io.BytesIO()
    Image.fromarray(np.concatenate(picked, axis=1)).save(encoded, "PNG")
    return encoded.getvalue()
