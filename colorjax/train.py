"""Training: `python -m colorjax.train --config=configs/lcad.py[:variant,...] [--workdir=DIR]`.

Runs the configuration's stages in order, each in `workdir/<stage>`: a stage resumes from its
latest checkpoint, and a finished one is skipped. What the stages learn is collected in
`workdir/release`, which `colorize` and `evaluate` take as `--model`. Any value of the
configuration can be set: `--config.latent.learning_rate=1e-4`.

SIGTERM saves the current step and ends with exit code 75: start the same command to go on. On
several hosts the same command runs on each, see `launch/`. `--profile=20:3` traces three steps,
`--wandb=PROJECT` logs to Weights & Biases too.
"""

import contextlib
import functools
import importlib
import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from colorjax import errors, flags, inherit, loop, optim, progress, release
from colorjax.data import captions, pipeline, records, tokenizer
from colorjax.devices import compile_cache, processes, sharding
from colorjax.errors import UserError
from colorjax.models.unet import REMAT_CHOICES
from colorjax.stages.stage import Stage
from colorjax.types import Params

STAGES = ("clip", "vae", "luminance", "text_to_image", "latent", "cold", "ranker")
EXAMPLES = 8
FINISH_EXAMPLES = 512


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv if arguments is None else arguments
    if {"--help", "-help", "-h"} & set(arguments):
        print(__doc__)
        return 0
    config = flags.parse(arguments)
    workdir = Path(flags.WORKDIR.value or f"runs/{config.name}")
    for name in config.stages:
        if name not in STAGES or name not in config:
            known = ", ".join(stage for stage in STAGES if stage in config)
            raise UserError(f"stage {name!r} is unknown to this configuration; it has {known}")
    watch = loop.Watch(*flags.profile_window(), flags.WANDB.value)
    compile_cache.setup()
    processes.join(
        flags.DISTRIBUTED.value,
        flags.COORDINATOR.value,
        flags.NUM_PROCESSES.value,
        flags.PROCESS_ID.value,
        flags.HEARTBEAT.value,
    )
    mesh = sharding.make_mesh(config.mesh.data, config.mesh.fsdp, config.mesh.dcn)
    processes.check_shared(workdir)
    with jax.set_mesh(mesh), processes.Stop() as stop:
        for name in config.stages:
            run_stage(name, config, workdir, mesh, stop, watch)
            if stop.asked:
                return processes.STOPPED
    return 0


def run_stage(
    name: str,
    config: ConfigDict,
    workdir: Path,
    mesh: Mesh,
    stop: processes.Stop | None = None,
    watch: loop.Watch = loop.Watch(),
) -> None:
    """Trains one stage to its end, or until `stop`, and adds what it learned to the release."""
    options, directory = config[name], workdir / name
    count = check(name, config, mesh)
    total_steps = options.total_steps or math.ceil(options.epochs * count / options.batch_size)
    weights = find_weights(name, config, workdir)
    if progress.is_finished(name, weights["inputs"], directory, total_steps):
        say(f"[{name}] finished before, skipped; delete '{directory}' to train it again")
        return
    tokens = find_tokenizer(config, workdir)
    inputs = weights["inputs"]
    processes.on_first(lambda: progress.remember(name, config, inputs, directory), directory.name)
    stage = build(name, config, weights, total_steps)
    text = weights["sizes"].get("text_encoder", config.model.text_encoder)
    tokenize = tokenizer.Tokenizer(tokens, text["max_position_embeddings"])
    batches = functools.partial(train_batches, config, options, tokenize)
    examples = caption_examples(config, tokenize, EXAMPLES)
    state = loop.run(
        stage, name, config, mesh, batches, examples, directory, total_steps, stop, watch
    )
    if int(state.step) < total_steps:
        say(f"[{name}] stopped at step {int(state.step)}; start the same command to go on")
        return
    params = jax.tree.map(sharding.to_host, optim.averaged(state))
    sample = options.copy_and_resolve_references()
    sample.batch_size = min(FINISH_EXAMPLES, count)
    with contextlib.closing(train_batches(config, sample, tokenize, 0, alone=True)) as first:
        batch = next(first)
    parts, changes = stage.finish(params, stage.frozen, batch)
    sizes = config.model.to_dict() | weights["sizes"] | changes | {"method": config.method}
    given = release.locate(config.init_from) if config.init_from else None

    def write() -> None:
        release.write(workdir / "release", sizes, parts, tokens, inherit=given)
        progress.finish(directory, total_steps)

    processes.on_first(write, "writing the release")
    say(f"[{name}] finished; {', '.join(parts)} in '{workdir / 'release'}'")


def say(message: str) -> None:
    if processes.is_first():
        print(message, flush=True)


def check(name: str, config: ConfigDict, mesh: Mesh) -> int:
    """The number of training records; every mistake that can be seen before compiling is told."""
    records.open_split(config.data.directory, config.data.eval_split)
    if config.dtype not in ("float32", "bfloat16"):
        raise UserError(f"dtype is {config.dtype!r}; it must be 'float32' or 'bfloat16'")
    if config.remat not in REMAT_CHOICES:
        raise UserError(f"remat is {config.remat!r}; it must be one of {', '.join(REMAT_CHOICES)}")
    batch_size, devices = config[name].batch_size, mesh.size
    if batch_size < 1 or batch_size % devices:
        raise UserError(
            f"{name}.batch_size is {batch_size}; it must be a positive multiple of the number of "
            f"devices, {devices}"
        )
    options = config[name]
    if options.accumulate < 1 or options.batch_size % (devices * options.accumulate):
        raise UserError(
            f"{name}.accumulate is {options.accumulate}; it must divide the pictures of a device, "
            f"{batch_size // devices}"
        )
    if name == "clip" and options.accumulate > 1:
        raise UserError("clip.accumulate must be 1: its loss compares all pictures of a batch")
    return len(records.open_split(config.data.directory, config.data.train_split))


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
    sizes = inherit.sizes(config.model.to_dict(), [*own, *given], module.STARTS_FROM)
    return {"parts": parts, "start": start, "sizes": sizes, "inputs": inputs}


def build(name: str, config: ConfigDict, weights: dict[str, Params], total_steps: int) -> Stage:
    config = config.copy_and_resolve_references()
    with config.unlocked():
        config.model.update(weights["sizes"])
    module = stage_module(name)
    return module.build(config, config[name], weights["parts"], weights["start"], total_steps)


def stage_module(name: str) -> ModuleType:
    return importlib.import_module(f"colorjax.stages.{name}")


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
    train = functools.partial(tokenizer.train, tokenizer.everyday_corpus(), made, size)
    processes.on_first(train, "training the tokenizer")
    return made


def train_batches(
    config: ConfigDict, options: ConfigDict, tokenize: Any, start_step: int, alone: bool = False
) -> Any:
    """This process's part of the batches from a step on; all of each one if `alone`."""
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
        gray_share=options.gray_share,
        start_step=start_step,
        process_index=0 if alone else jax.process_index(),
        process_count=1 if alone else jax.process_count(),
    )


def caption_examples(config: ConfigDict, tokenize: Any, count: int) -> dict[str, np.ndarray]:
    """The first evaluation pictures with the token ids of every caption level."""
    examples: dict[str, np.ndarray] = {}
    for level in captions.LEVELS:
        batch = next(
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
        examples |= {"image": batch["image"], level: batch["input_ids"]}
    return examples


if __name__ == "__main__":
    errors.run(main)
