"""A stage of a configuration, from its checks to its release."""

import contextlib
import functools
import math
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from colorjax import release
from colorjax.data import captions, pipeline, records, tokenizer
from colorjax.devices import processes, sharding
from colorjax.errors import UserError
from colorjax.models.unet import REMAT_CHOICES
from colorjax.train import loop, optim, provenance, tracking
from colorjax.train.stages.stage import Stage, stage_module
from colorjax.train.weights import find_tokenizer, find_weights
from colorjax.types import Params

EXAMPLES = 8
FINISH_EXAMPLES = 512


def run_stage(
    name: str,
    config: ConfigDict,
    workdir: Path,
    mesh: Mesh,
    stop: processes.Stop | None = None,
    watch: tracking.Watch = tracking.Watch(),
) -> None:
    """Trains one stage to its end, or until `stop`, and adds what it learned to the release."""
    options, directory = config[name], workdir / name
    count = check(name, config, mesh)
    total_steps = options.total_steps or math.ceil(options.epochs * count / options.batch_size)
    weights = find_weights(name, config, workdir)
    if provenance.is_finished(name, weights["inputs"], directory, total_steps):
        say(f"[{name}] finished before, skipped; delete '{directory}' to train it again")
        return
    tokens = find_tokenizer(config, workdir)
    inputs = weights["inputs"]
    processes.on_first(lambda: provenance.remember(name, config, inputs, directory), directory.name)
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
        provenance.finish(directory, total_steps)

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


def build(name: str, config: ConfigDict, weights: dict[str, Params], total_steps: int) -> Stage:
    config = config.copy_and_resolve_references()
    with config.unlocked():
        config.model.update(weights["sizes"])
    module = stage_module(name)
    return module.build(config, config[name], weights["parts"], weights["start"], total_steps)


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
