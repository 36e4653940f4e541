"""Training: `python -m colorjax.train --config=configs/lcad.py[:variant,...] [--workdir=DIR]`.

Runs the configuration's stages in order, each in `workdir/<stage>`: a stage resumes from its
latest checkpoint, and a finished one is skipped. What the stages learn is collected in
`workdir/release`, which `colorize` and `evaluate` take as `--model`. Any value of the
configuration can be set: `--config.latent.learning_rate=1e-4`.
"""

import functools
import importlib
import math
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from jax.sharding import Mesh
from ml_collections import ConfigDict, config_flags

from colorjax import errors, loop, optim, release, sharding
from colorjax.data import pipeline, records, tokenizer
from colorjax.errors import UserError
from colorjax.stages.stage import Stage
from colorjax.types import Params

CONFIG = config_flags.DEFINE_config_file("config", None, "Configuration file, variants by colon.")
WORKDIR = flags.DEFINE_string("workdir", "", "Where the run lives; runs/<config name> if empty.")
STAGES = ("clip", "vae", "luminance", "base", "latent")
EXAMPLES = 8
FINISH_EXAMPLES = 512


def main() -> int:
    config = CONFIG.value
    if config is None:
        raise UserError("--config is missing; give one such as --config=configs/lcad.py:tiny")
    workdir = Path(WORKDIR.value or f"runs/{config.name}")
    for name in config.stages:
        if name not in STAGES:
            raise UserError(f"stage {name!r} is unknown; there are {', '.join(STAGES)}")
    mesh = sharding.make_mesh(config.mesh.data, config.mesh.fsdp)
    with jax.set_mesh(mesh):
        for name in config.stages:
            run_stage(name, config, workdir, mesh)
    return 0


def run_stage(name: str, config: ConfigDict, workdir: Path, mesh: Mesh) -> None:
    """Trains one stage to its end and adds what it learned to the release."""
    options = config[name]
    directory = workdir / name
    if (directory / "FINISHED").exists():
        print(f"[{name}] finished before, skipped; delete '{directory}' to train it again")
        return
    total_steps = options.total_steps or _steps(config, options)
    tokenize = tokenizer.Tokenizer(
        _tokenizer(config, workdir), config.model.text_encoder.max_position_embeddings
    )
    stage, sizes = build(name, config, workdir, total_steps)
    batches = functools.partial(_batches, config, options, tokenize)
    examples = _examples(config, tokenize, EXAMPLES)
    state = loop.run(stage, name, config, mesh, batches, examples, directory, total_steps)
    if jax.process_index() == 0:
        params = jax.device_get(optim.averaged(state))
        sample = jax.tree.map(jnp.asarray, _examples(config, tokenize, FINISH_EXAMPLES))
        parts, changes = stage.finish(params, stage.frozen, sample)
        sizes = sizes | changes | {"method": config.method}
        release.write(workdir / "release", sizes, parts, _tokenizer(config, workdir))
        (directory / "FINISHED").write_text(f"{total_steps}\n")
        print(f"[{name}] finished; {', '.join(parts)} in '{workdir / 'release'}'", flush=True)


def build(name: str, config: ConfigDict, workdir: Path, total_steps: int) -> tuple[Stage, dict]:
    """The stage and the model's sizes, with weights from the run's release or `init_from`.

    Raises:
        UserError: weights that the stage needs are nowhere.
    """
    module = importlib.import_module(f"colorjax.stages.{name}")
    own = [workdir / "release"] if (workdir / "release" / "config.json").exists() else []
    given = [release.locate(config.init_from)] if config.init_from else []
    parts: Params = {}
    sizes: dict[str, Any] = config.model.to_dict()
    for part in module.NEEDS:
        directory = release.find_part([*own, *given], part)
        if directory is None:
            raise UserError(_missing(name, part, config, workdir))
        parts[part] = release.read_part(directory, part)
        if part == "vae":
            sizes["scaling_factor"] = release.read_config(directory)["scaling_factor"]
    start = _start(module.STARTS_FROM, own, given)
    if config.name == "lcad" and name == "latent" and "unet" not in start:
        raise UserError(_missing(name, "unet", config, workdir))
    with config.unlocked():
        config.model = ConfigDict(sizes)
    return module.build(config, config[name], parts, start, total_steps), sizes


def _start(wanted: dict[str, tuple[str, ...]], own: list[Path], given: list[Path]) -> Params:
    """Weights a stage begins with: of the model it continues, else of an earlier stage."""
    start = {}
    for role, names in wanted.items():
        for part in names:
            directory = release.find_part(given if part == role else [*own, *given], part)
            if directory is not None:
                start[role] = release.read_part(directory, part)
                break
    return start


def _missing(name: str, part: str, config: ConfigDict, workdir: Path) -> str:
    makers = {"text_encoder": "clip", "unet": "base"}
    maker = makers.get(part, part.removesuffix("_encoder"))
    if maker in config:
        return (
            f"stage {name!r} needs the part {part!r}, which '{workdir}/release' has not: make it "
            f"with python -m colorjax.train --config=configs/lcad.py:tiny,stage={maker} "
            f"--workdir={workdir}, or give a release by --config.init_from=DIR"
        )
    return (
        f"stage {name!r} needs the part {part!r} of a pretrained model: give a release directory "
        "by --config.init_from=DIR"
    )


def _steps(config: ConfigDict, options: ConfigDict) -> int:
    count = len(records.open_split(config.data.directory, config.data.train_split))
    return math.ceil(options.epochs * count / options.batch_size)


def _tokenizer(config: ConfigDict, workdir: Path) -> Path:
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
    tokenizer.train(tokenizer.everyday_corpus(), made, config.model.text_encoder.vocab_size)
    return made


def _batches(config: ConfigDict, options: ConfigDict, tokenize: Any, start_step: int) -> Any:
    return pipeline.train_batches(
        config.data.directory,
        config.data.train_split,
        size=config.model.image_size,
        batch_size=options.batch_size,
        seed=config.seed,
        tokenize=tokenize,
        crop=None if config.data.crop == "none" else config.data.crop,
        scarce_share=options.scarce_share,
        drop_share=options.drop_share,
        start_step=start_step,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


def _examples(config: ConfigDict, tokenize: Any, count: int) -> dict[str, np.ndarray]:
    """The first evaluation pictures with the token ids of every caption level."""
    levels = ("complete", "partial", "scarce", "none")
    batches = {
        level: next(
            pipeline.eval_batches(
                config.data.directory,
                config.data.eval_split,
                size=config.model.image_size,
                batch_size=count,
                level=level,
                tokenize=tokenize,
                limit=count,
            )
        )
        for level in levels
    }
    ids = {level: batch["input_ids"] for level, batch in batches.items()}
    return {"image": batches["none"]["image"], **ids}


def parse_flags(arguments: list[str]) -> list[str]:
    """Absl's flags, with a mistake told in one sentence; an unknown key names the nearest."""
    try:
        rest = flags.FLAGS(arguments)
        if CONFIG.value is not None:
            _ = CONFIG.value.stages  # a file that could not be loaded says so here
        return rest
    except (flags.Error, AttributeError, KeyError, ValueError, TypeError, OSError) as error:
        raise UserError(
            f"the command line cannot be used: {' '.join(str(error).split())}"
        ) from error


def run() -> int:
    parse_flags(sys.argv)
    return main()


if __name__ == "__main__":
    errors.run(run)
