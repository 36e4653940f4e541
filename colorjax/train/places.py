"""Where the weights lie that a stage begins with, and what to do where they are not.

They are in the run's own release, then in the one that it starts from (`init_from`); or an earlier
stage of the same run will make them.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from colorjax import release
from colorjax.devices import processes
from colorjax.errors import UserError, say
from colorjax.models.unet import UNet
from colorjax.train import expected
from colorjax.train.stages import STAGES
from colorjax.train.stages import learned as adapters

# The format by which `convert` makes a release that a method's training can start from.
FORMATS = {"lcad": "init-lcad", "diffusing_colors": "init-cold"}
INPUTS = {
    "init-lcad": "--input=stable-diffusion-v1-5",
    "init-cold": "--input=stable-diffusion-v1-5 --input=clip-vit-large-patch14",
}
FETCHED = {"init-lcad": "sd15", "init-cold": "sd15_cold"}


class Places(NamedTuple):
    """Directories of what a stage begins with; what earlier stages are to make has none yet."""

    parts: dict[str, Path]  # by part
    start: dict[str, tuple[str, Path]]  # by the role that the recipe gives: part and directory


def releases(config: ConfigDict, workdir: Path) -> tuple[list[Path], list[Path]]:
    """The run's own release, if it is begun, and the one that it starts from, if there is one."""
    own = [workdir / "release"] if (workdir / "release" / "config.json").exists() else []
    return own, [release.locate(config.init_from)] if config.init_from else []


def find(
    name: str, config: ConfigDict, workdir: Path, coming: Collection[str] = frozenset()
) -> Places:
    """Where the stage `name` finds its parts and what it starts from.

    Args:
        coming: parts that stages before it in this run will have made.

    Raises:
        UserError: a part that it needs is nowhere, with the command that makes it.
    """
    recipe, (own, initial) = STAGES[name], releases(config, workdir)
    places = Places({}, {})
    for part in (*recipe.needs, *recipe.may_use):
        # A text encoder that the stage adapts is the one before, not what it has made of it.
        adapted = part == adapters.TEXT and adapters.adapts_text(config[name])
        order = [*initial, *own] if adapted else [*own, *initial]
        directory = release.find_part(order, part)
        if directory is not None:
            places.parts[part] = directory
        elif part in recipe.needs and part not in coming:
            raise UserError(_missing(name, part, config, workdir))
    for role, candidates in recipe.starts_from.items():
        refused, asked = "", config.get("start_part")
        for part in (asked,) if asked in candidates else candidates:
            # What a stage makes itself is not what it starts from.
            directories = initial if part in recipe.makes else [*own, *initial]
            directory = release.find_part(directories, part)
            if directory is None:
                continue
            refused = refused or _extended_otherwise(part, role, config, directory)
            if part == "unet" and refused:
                continue
            places.start[role] = (part, directory)
            break
        comes = role in places.start or any(part in coming for part in candidates)
        if refused and not comes:
            raise UserError(refused)
        if recipe.must_start and not comes:
            raise UserError(_missing(name, candidates[-1], config, workdir))
        if refused and not coming and processes.is_first():
            part, directory = places.start[role]
            say(f"[{name}] {refused}; it starts from {part!r} of '{directory}' instead")
    return places


def _missing(name: str, part: str, config: ConfigDict, workdir: Path) -> str:
    """The sentence that says where a part could come from: a stage that makes it, or a release."""
    makers = [stage for stage, recipe in STAGES.items() if part in recipe.makes]
    if makers and makers[0] in config and makers[0] != name:
        return (
            f"stage {name!r} needs the part {part!r}, which '{workdir}/release' has not: make it "
            f"with python -m colorjax.train --config={_recipe(config, makers[0])}{_given(config)} "
            f"--workdir={workdir}, or give a release that has it by --config.init_from=DIR"
        )
    kind = FORMATS.get(config.method, FORMATS["lcad"])
    return (
        f"stage {name!r} needs the part {part!r} of a pretrained model: get one by python -m "
        f"colorjax.fetch {FETCHED[kind]} and give --config.init_from={FETCHED[kind]}, or a release "
        f"directory by --config.init_from=DIR, such as python -m colorjax.convert "
        f"--format={kind} {INPUTS[kind]} --output=DIR makes"
    )


def _recipe(config: ConfigDict, stage: str) -> str:
    recipe = config.get("recipe") or "FILE"
    return f"{recipe}{',' if ':' in recipe else ':'}stage={stage}"


def _given(config: ConfigDict) -> str:
    return f" --config.init_from={config.init_from}" if config.init_from else ""


def _extended_otherwise(part: str, role: str, config: ConfigDict, directory: Path) -> str:
    """Why a trained UNet cannot be gone on with: it has learned extensions that this one lacks.

    Empty where it can: extensions that are still zero, as of a release that was only converted, are
    no loss.
    """
    if part != "unet":
        return ""
    unet = release.read_config(directory)["unet"]
    lost = extended(unet) - wanted(role, config)
    if not lost or not learned(directory, lost):
        return ""
    told = f"the UNet of '{directory}' extends {', '.join(sorted(lost))}, which would have no place"
    if role != "unet":
        return f"{told}: give a release whose UNet is Stable Diffusion's"
    keys = [key for key in config.model.unet if key.startswith("cec") and key in unet]
    flags = " ".join(f"--config.model.unet.{key}={unet[key]!r}" for key in keys)
    return f"cec is {config.model.unet.cec!r}, but {told} (set {flags} to go on with it)"


def wanted(role: str, config: ConfigDict) -> set[str]:
    """The convolutions that the UNet of a role extends: L-CAD's alone does."""
    return extended(config.model.unet.to_dict()) if role == "unet" else set()


def extended(unet: Mapping[str, Any]) -> set[str]:
    """The convolutions that a UNet of these sizes extends."""
    blocks = unet.get("cec_convolutions", UNet.cec_convolutions)
    cec = unet.get("cec", UNet.cec)
    return {"conv_in": {"conv_in"}, "down_blocks": {"conv_in", *blocks}}.get(cec, set())


def is_extension(path: str, convolutions: Collection[str]) -> bool:
    """Whether a leaf is the extension of one of the convolutions."""
    return any(f"cec_{name}/" in path for name in convolutions)


def learned(directory: Path, convolutions: Collection[str]) -> bool:
    """Whether any extension of these convolutions in a release's UNet is not zero.

    Raises:
        UserError: the file has more than such a UNet can have.
    """
    from safetensors import safe_open

    release.check_size(directory, ["unet"], expected.of_part("unet", directory))
    with safe_open(directory / "unet.safetensors", framework="np") as file:
        every: list[str] = list(file.keys())
        names = [name for name in every if is_extension(name, convolutions)]
        return any(np.any(file.get_tensor(name)) for name in names)
