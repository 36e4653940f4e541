"""What a stage begins with: parts and vocabulary, from releases, and the sizes of their model.

The sizes are those of the releases, not the preset's: a section of a release's `config.json`
describes one of its parts. What a configuration still decides is `cec` and the like: which
extended convolutions the UNet gets.
"""

import functools
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict

from colorjax import release
from colorjax.data.tokenizer import FILES
from colorjax.devices import processes
from colorjax.errors import UserError
from colorjax.maths.types import Params
from colorjax.train import expected, places, vocabulary
from colorjax.train.stages import STAGES
from colorjax.train.stages.stage import Weights

OF_UNET = ("unet", "schedule", "prediction_type")
SECTIONS: dict[str, tuple[str, ...]] = {
    "text_encoder": ("text_encoder",),
    "image_encoder": ("image_encoder", "projection_dim"),
    "vae": ("vae", "scaling_factor"),
    "text_to_image_unet": OF_UNET,
    "unet": OF_UNET,
}
# A stage that trains the part decides its section.
OF_TRAINED = {
    "cold_unet": "cold",
    "distilled_unet": "distilled",
    "consistency_unet": "consistency",
    "ranker": "ranker",
}
# What a part was made for, besides its own section.
BELONGS = {
    "luminance_encoder": ("vae", "block_out_channels"),
    "unet": ("text_encoder", "hidden_size"),
}


def find_weights(name: str, config: ConfigDict, workdir: Path) -> Weights:
    """What the stage `name` begins with: from the run's own release, then from `init_from`.

    Raises:
        UserError: weights that the stage needs are nowhere, or do not belong together.
    """
    recipe, where = STAGES[name], places.find(name, config, workdir)
    inputs: dict[str, str] = {}

    own, initial = places.releases(config, workdir)

    def read(part: str, directory: Path) -> Params:
        inputs[part] = release.digest(directory, part)
        # What this run has written itself need not be compared with itself.
        model = expected.of_part(part, directory) if directory in initial else None
        return release.read_part(directory, part, model=model)

    parts = {part: read(part, directory) for part, directory in where.parts.items()}
    start = {role: read(*place) for role, place in where.start.items()}
    for role, (part, _) in where.start.items():
        if part == "unet":
            start[role] = _with_extensions(places.wanted(role, config), start[role])
    anew = {*recipe.starts_from, *recipe.makes, *recipe.outdates}
    sizes = model_sizes(config.model.to_dict(), [*own, *initial], anew)
    return Weights(parts, start, sizes, inputs)


def terms(config: ConfigDict, workdir: Path) -> dict[str, Any]:
    """What a release says beside its sizes of the weights that a run starts from: it is kept.

    Licence and origin, and the subjects that its image tower tells apart.
    """
    own, initial = places.releases(config, workdir)
    kept: dict[str, Any] = {}
    for keys in (("licence", "origin"), ("subjects",)):
        for directory in (*initial, *own):
            described = release.read_config(directory)
            if keys[0] in described:
                kept |= {key: described[key] for key in keys if key in described}
                break
    return kept


def _with_extensions(wanted: Collection[str], unet: Params) -> Params:
    """A UNet with these extensions only: the others that it has are all zero."""
    flat = flatten_dict(unet, sep="/")
    kept = {
        path: leaf
        for path, leaf in flat.items()
        if "cec_" not in path or places.is_extension(path, wanted)
    }
    tree: Params = unflatten_dict(kept, sep="/")
    return tree


def model_sizes(
    model: Mapping[str, Any], directories: Sequence[Path], trained: Collection[str]
) -> dict[str, Any]:
    """The sections of `model` that change, each from the first directory with that part.

    Args:
        model: a training configuration's `model`.
        directories: releases, the preferred one first.
        trained: the parts that a stage trains: with the UNet among them, `cec` stays the model's.

    Raises:
        UserError: weights that do not belong together.
    """
    sizes: dict[str, Any] = {}
    first: Path | None = None
    for part, keys in SECTIONS.items():
        directory = release.find_part(directories, part)
        if directory is not None:
            config = release.read_config(directory)
            sizes |= {key: _tuples(config[key]) for key in keys if key in config}
            first = first or directory
    for part, key in OF_TRAINED.items():
        directory = release.find_part(directories, part)
        if directory is not None and part not in trained:
            sizes[key] = _tuples(release.read_config(directory)[key])
    _check_belonging(sizes, directories)
    if "unet" in sizes and "unet" in trained:
        wanted = {key: value for key, value in model["unet"].items() if key.startswith("cec")}
        sizes["unet"] = sizes["unet"] | wanted
    if first is not None:
        _check_image_size(model, sizes, first)
    return sizes


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(value) if isinstance(value, list) else value


def _check_belonging(sizes: Mapping[str, Any], directories: Sequence[Path]) -> None:
    for part, (section, key) in BELONGS.items():
        directory = release.find_part(directories, part)
        if directory is None or section not in sizes:
            continue
        expected = release.read_config(directory).get(section, {}).get(key)
        if expected is not None and _tuples(expected) != sizes[section][key]:
            raise UserError(
                f"the {part} of '{directory}' was made for a {section} with {key} "
                f"{_tuples(expected)}, not {sizes[section][key]}; give another --workdir, or a "
                "release that has both by --config.init_from"
            )


def _check_image_size(model: Mapping[str, Any], sizes: Mapping[str, Any], directory: Path) -> None:
    levels = [
        len(sizes.get(part, model[part])["block_out_channels"]) - 1 for part in ("vae", "unet")
    ]
    least = 2 ** sum(levels)
    if model["image_size"] % least:
        raise UserError(
            f"image_size is {model['image_size']}, but the networks with the weights of "
            f"'{directory}' halve it {sum(levels)} times; set --config.model.image_size to a "
            f"multiple of {least}"
        )


def find_tokenizer(config: ConfigDict, workdir: Path) -> Path:
    """The folder with the vocabulary; a configuration that trains its own towers makes one.

    Raises:
        UserError: there is none, and the towers are another's, who used theirs.
    """
    directories = [Path(config.tokenizer)] if config.tokenizer else []
    directories.append(release.tokenizer(workdir / "release", FILES))
    if config.init_from:
        directories.append(release.tokenizer(release.locate(config.init_from), FILES))
    for directory in directories:
        if (directory / "vocab.json").exists():
            return directory
    if "clip" not in config:
        raise UserError(
            "there is no tokenizer: give a folder with vocab.json and merges.txt by "
            "--config.tokenizer=DIR, or a release by --config.init_from=DIR"
        )
    own = workdir / "release" / "tokenizer"
    size = config.model.text_encoder.vocab_size
    train = functools.partial(vocabulary.train, vocabulary.everyday_corpus(), own, size)
    processes.on_first(train, "training the tokenizer")
    return own
