"""What a stage begins with: parts and vocabulary, from releases, and the sizes of their model.

The sizes are those of the releases, not the preset's: a section of a release's `config.json`
describes one of its parts. What a configuration still decides is `cec` and the like: which
extended convolutions the UNet gets.
"""

import functools
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from colorjax import release
from colorjax.devices import processes
from colorjax.errors import UserError
from colorjax.models.unet import UNet
from colorjax.train import vocabulary
from colorjax.train.stages.stage import stage_module
from colorjax.types import Params

OF_UNET = ("unet", "schedule", "prediction_type")
SECTIONS: dict[str, tuple[str, ...]] = {
    "text_encoder": ("text_encoder",),
    "image_encoder": ("image_encoder", "projection_dim"),
    "vae": ("vae", "scaling_factor"),
    "text_to_image_unet": OF_UNET,
    "unet": OF_UNET,
}
# A stage that trains the part decides its section.
OF_TRAINED = {"cold_unet": "cold", "ranker": "ranker"}
# What a part was made for, besides its own section.
BELONGS = {
    "luminance_encoder": ("vae", "block_out_channels"),
    "unet": ("text_encoder", "hidden_size"),
}


def model_sizes(
    model: Mapping[str, Any], directories: Sequence[Path], trained: Collection[str]
) -> dict[str, Any]:
    """The sections of `model` that change, each from the first directory with that part.

    Args:
        model: a training configuration's `model`.
        directories: releases, the preferred one first.
        trained: the parts that a stage trains: with the UNet among them, `cec` stays the model's.

    Raises:
        UserError: weights that do not belong together, or that the model has no place for.
    """
    found: dict[str, Any] = {}
    places: dict[str, Path] = {}
    for part, keys in SECTIONS.items():
        directory = release.find_part(directories, part)
        if directory is not None:
            config = release.read_config(directory)
            found |= {key: _tuples(config[key]) for key in keys if key in config}
            places[part] = directory
    for part, key in OF_TRAINED.items():
        directory = release.find_part(directories, part)
        if directory is not None and part not in trained:
            found[key] = _tuples(release.read_config(directory)[key])
    _check_belonging(found, directories)
    if "unet" in found and "unet" in trained:
        found["unet"] = found["unet"] | _cec(model, found["unet"], places.get("unet"))
    if places:
        _check_image_size(model, found, next(iter(places.values())))
    return found


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(value) if isinstance(value, list) else value


def _check_belonging(found: Mapping[str, Any], directories: Sequence[Path]) -> None:
    for part, (section, key) in BELONGS.items():
        directory = release.find_part(directories, part)
        if directory is None or section not in found:
            continue
        made_for = release.read_config(directory).get(section, {}).get(key)
        if made_for is not None and _tuples(made_for) != found[section][key]:
            raise UserError(
                f"the {part} of '{directory}' was made for a {section} with {key} "
                f"{_tuples(made_for)}, not {found[section][key]}; give another --workdir, or a "
                "release that has both by --config.init_from"
            )


def _cec(
    model: Mapping[str, Any], unet: Mapping[str, Any], directory: Path | None
) -> dict[str, Any]:
    """The model's, which may add extended convolutions to those there are, but not drop any."""
    wanted = {key: value for key, value in model["unet"].items() if key.startswith("cec")}
    lost = _extended(unet) - _extended({**unet, **wanted})
    if directory and lost:
        told = " ".join(f"--config.model.unet.{key}={unet[key]!r}" for key in wanted if key in unet)
        raise UserError(
            f"cec is {wanted['cec']!r}, but the UNet of '{directory}' extends "
            f"{', '.join(sorted(lost))}, which would have no place; set {told}"
        )
    return wanted


def _extended(unet: Mapping[str, Any]) -> set[str]:
    """The convolutions that a UNet extends."""
    blocks = unet.get("cec_convolutions", UNet.cec_convolutions)
    cec = unet.get("cec", UNet.cec)
    return {"conv_in": {"conv_in"}, "down_blocks": {"conv_in", *blocks}}.get(cec, set())


def _check_image_size(model: Mapping[str, Any], found: Mapping[str, Any], directory: Path) -> None:
    levels = [
        len(found.get(part, model[part])["block_out_channels"]) - 1 for part in ("vae", "unet")
    ]
    least = 2 ** sum(levels)
    if model["image_size"] % least:
        raise UserError(
            f"image_size is {model['image_size']}, but the networks with the weights of "
            f"'{directory}' halve it {sum(levels)} times; set --config.model.image_size to a "
            f"multiple of {least}"
        )


def find_weights(name: str, config: ConfigDict, workdir: Path) -> dict[str, Params]:
    """Frozen parts and start weights of a stage, their digests, and the sizes of their model.

    Raises:
        UserError: weights that the stage needs are nowhere.
    """
    module = stage_module(name)
    own = [workdir / "release"] if (workdir / "release" / "config.json").exists() else []
    given = [release.locate(config.init_from)] if config.init_from else []
    parts: Params = {}
    start: Params = {}
    inputs: dict[str, str] = {}
    for part in module.NEEDS:
        directory = release.find_part([*own, *given], part)
        if directory is None:
            raise UserError(_missing(name, part, config, workdir))
        parts[part] = release.read_part(directory, part)
        inputs[part] = release.digest(directory, part)
    for part in getattr(module, "MAY_USE", ()):
        directory = release.find_part([*own, *given], part)
        if directory is not None:
            parts[part] = release.read_part(directory, part)
            inputs[part] = release.digest(directory, part)
    for role, names in module.STARTS_FROM.items():
        for part in names:
            # What a stage makes itself is not what it starts from.
            makes = part in (role, f"{name}_{role}")
            directory = release.find_part(given if makes else [*own, *given], part)
            if directory is not None:
                start[role] = release.read_part(directory, part)
                inputs[part] = release.digest(directory, part)
                break
        if role not in start and module.MUST_START:
            raise UserError(_missing(name, names[-1], config, workdir))
    sizes = model_sizes(config.model.to_dict(), [*own, *given], module.STARTS_FROM)
    return {"parts": parts, "start": start, "sizes": sizes, "inputs": inputs}


def _missing(name: str, part: str, config: ConfigDict, workdir: Path) -> str:
    makers = {"text_encoder": "clip", "text_to_image_unet": "text_to_image"}
    maker = makers.get(part, part.removesuffix("_encoder"))
    if maker in config and maker != name:
        return (
            f"stage {name!r} needs the part {part!r}, which '{workdir}/release' has not: make it "
            f"with python -m colorjax.train --config=configs/lcad.py:tiny,stage={maker} "
            f"--workdir={workdir}, or give a release by --config.init_from=DIR"
        )
    return (
        f"stage {name!r} needs the part {part!r} of a pretrained model: give a release directory "
        "that has it by --config.init_from=DIR"
    )


def find_tokenizer(config: ConfigDict, workdir: Path) -> Path:
    """The folder with the vocabulary; a configuration that trains its own towers makes one."""
    directories = [Path(config.tokenizer)] if config.tokenizer else []
    directories.append(workdir / "release" / "tokenizer")
    if config.init_from:
        directories.append(release.locate(config.init_from) / "tokenizer")
    for directory in directories:
        if (directory / "vocab.json").exists():
            return directory
    if "clip" not in config:
        raise UserError(
            "there is no tokenizer: give a folder with vocab.json and merges.txt by "
            "--config.tokenizer=DIR, or a release by --config.init_from=DIR"
        )
    made = workdir / "release" / "tokenizer"
    size = config.model.text_encoder.vocab_size
    train = functools.partial(vocabulary.train, vocabulary.everyday_corpus(), made, size)
    processes.on_first(train, "training the tokenizer")
    return made
