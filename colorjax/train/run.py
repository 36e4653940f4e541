"""The way of one stage: its checks, its weights, its training, its share of the release."""

import contextlib
import functools
import math
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from colorjax import errors, files, release
from colorjax.data import captions, pipeline, records, tokenizer
from colorjax.devices import processes, sharding
from colorjax.errors import UserError, one_of
from colorjax.models.unet import REMAT_CHOICES
from colorjax.train import (
    cached,
    evaluation,
    held_out,
    loop,
    optim,
    places,
    provenance,
    ranges,
    tracking,
)
from colorjax.train.loop import Command, Run
from colorjax.train.stages import STAGES
from colorjax.train.stages.stage import Stage, Weights
from colorjax.train.weights import find_tokenizer, find_weights, terms

EXAMPLES = 8
FINISH_EXAMPLES = 512
DTYPES = ("float32", "bfloat16")
# What a stage writes to in its folder that is no single file: files are replaced, links and all.
_WRITTEN = ("checkpoints", "events", "profile", "samples", held_out.SHEETS, "best")


def run_stage(
    name: str,
    config: ConfigDict,
    workdir: Path,
    mesh: Mesh,
    stop: processes.Stop | None = None,
    watch: tracking.Watch = tracking.Watch(),
    *,
    command: Command = lambda **changes: "the same command",
) -> None:
    """Trains one stage to its end, or until `stop`, and adds what it learned to the release.

    `check` has found the configuration sound. `command` is told to who has to start again, with
    other values of the configuration.

    Raises:
        UserError: the data, the weights or the folder do not fit the configuration.
    """
    options, directory = config[name], workdir / name
    for written in _WRITTEN:
        files.check_links(workdir, directory / written)
    files.check_links(workdir, workdir / "release")
    spans = provenance.batch_sizes(name, directory, options.batch_size)
    total_steps = steps(config, name, spans, provenance.latest_step(directory))
    tokens, weights = find_tokenizer(config, workdir), find_weights(name, config, workdir)
    cached.check_weights(config, weights.inputs)
    if provenance.is_finished(name, weights.inputs, directory, total_steps):
        say(f"[{name}] finished before, skipped; delete '{directory}' to train it again")
        return
    processes.on_first(
        functools.partial(_remember, name, config, weights, directory), directory.name
    )
    text = weights.sizes.get("text_encoder", config.model.text_encoder)
    tokenize = tokenizer.Tokenizer(tokens, text["max_position_embeddings"], text["vocab_size"])
    stage = build(name, config, weights._replace(tokenize=tokenize), total_steps)
    run = Run(
        name=name,
        stage=stage,
        config=config,
        mesh=mesh,
        directory=directory,
        total_steps=total_steps,
        batches=functools.partial(_batches_from, config, name, tokenize, directory, spans),
        examples=caption_examples(config, tokenize, EXAMPLES),
        measured=held_out_pictures(config, tokenize),
        stop=stop,
        watch=watch,
        command=command,
    )
    state = loop.train(run)
    if int(state.step) < total_steps:
        say(f"[{name}] stopped at step {int(state.step)}; start the same command to go on")
        return
    _release(run, state, weights, tokens, tokenize)
    processes.on_first(lambda: provenance.finish(directory, total_steps), "finishing the stage")
    say(f"[{name}] finished")


def _release(
    run: Run,
    state: optim.TrainState,
    weights: Weights,
    tokens: Path,
    tokenize: pipeline.Tokenize,
) -> None:
    """Adds what a stage learned to the release, and its best step's to one beside it."""
    config, name, workdir = run.config, run.name, run.directory.parent
    initial = release.locate(config.init_from) if config.init_from else None

    outdated = STAGES[name].outdates

    def add(state: optim.TrainState, folder: str, inherit: Path | None) -> None:
        parts, changes = finish(run.stage, state, config, name, tokenize)
        sizes = config.model.to_dict() | weights.sizes | changes | {"method": config.method}
        sizes |= terms(config, workdir)
        processes.on_first(
            lambda: release.write(
                workdir / folder, sizes, parts, tokens, inherit=inherit, without=outdated
            ),
            "writing the release",
        )
        say(f"[{name}] {', '.join(parts)} in '{workdir / folder}'")

    add(state, "release", initial)
    if not config.keep_best:
        return
    compiled = loop.programs(run.stage, run.options, config, run.mesh)
    like = compiled.abstract, compiled.shardings
    best = evaluation.best_state(run.directory, config.keep_best, *like)
    if best is not None:
        add(best, "release_best", workdir / "release")


def _remember(name: str, config: ConfigDict, weights: Weights, directory: Path) -> None:
    def tell(text: str) -> None:
        say(f"[{name}] {text}")

    provenance.remember(name, config, weights.inputs, directory, tell)


def steps(config: ConfigDict, name: str, spans: provenance.Spans, begun: int) -> int:
    """How many steps a stage has: as many as it is told, or as its epochs need.

    Args:
        spans: of the batches until step `begun`, from which on they have the size of `config`.
    """
    options = config[name]
    if options.total_steps:
        return int(options.total_steps)
    count = len(records.open_split(config.data.directory, config.data.train_split))
    left = options.epochs * count - provenance.pictures_taken(spans, begun)
    return begun + max(0, math.ceil(left / options.batch_size))


def _batches_from(
    config: ConfigDict,
    name: str,
    tokenize: pipeline.Tokenize,
    directory: Path,
    spans: provenance.Spans,
    first: int,
) -> pipeline.TrainBatches:
    """The batches of the steps after `first`, whatever size those before it had."""
    options = config[name]
    going_on = provenance.going_on(spans, first, options.batch_size)
    processes.on_first(
        lambda: provenance.remember_batch_sizes(directory, going_on), "writing the batch size"
    )
    batches = train_batches(config, options, tokenize, 0)
    batches.go_on_at(provenance.pictures_taken(going_on, first))
    return batches


def say(message: str) -> None:
    """Prints on process 0."""
    if processes.is_first():
        for line in message.splitlines():
            errors.say(line)


def check(name: str, config: ConfigDict, mesh: Mesh) -> None:
    """Checks of a stage what can be seen before any stage begins.

    Raises:
        UserError: missing data, an unknown choice, or a batch that the devices cannot share.
    """
    ranges.check(config, name)
    held_out.check(config)
    _check_data(config)
    cached.check_stage(name, config)
    for key in ("eval_split", "train_split"):
        records.open_split(config.data.directory, config.data[key], f"--config.data.{key}")
    sharding.check_rules(config.sharding_rules)
    one_of("dtype", config.dtype, DTYPES)
    one_of("remat", config.remat, REMAT_CHOICES)
    options, devices = config[name], mesh.size
    if options.batch_size < 1 or options.batch_size % devices:
        raise UserError(
            f"{name}.batch_size is {options.batch_size}; it must be a positive multiple of the "
            f"number of devices, {devices}"
        )
    if options.accumulate < 1 or options.batch_size % (devices * options.accumulate):
        raise UserError(
            f"{name}.accumulate is {options.accumulate}; it must divide the pictures of a device, "
            f"{options.batch_size // devices}"
        )
    if not STAGES[name].accumulates and options.accumulate > 1:
        raise UserError(
            f"{name}.accumulate is {options.accumulate}; it must be 1, since the loss of this "
            "stage compares all pictures of a batch"
        )

    if not STAGES[name].selects and tuple(options.trainable) != (".*",):
        raise UserError(
            f"{name}.trainable is {tuple(options.trainable)}; this stage trains all of its "
            "network: leave it out"
        )


def _check_data(config: ConfigDict) -> None:
    directory = config.data.directory
    if not Path(directory).is_dir() and config.get("prepare"):
        raise UserError(
            f"there is no data directory {directory!r}; make it for pictures of "
            f"{config.model.image_size} pixels by python -m colorjax.prepare {config.prepare} "
            f"--output={directory}; docs/data.md says where its pictures come from"
        )


def check_needs(config: ConfigDict, workdir: Path) -> None:
    """Checks that every stage will find what it needs, before the first one trains.

    Raises:
        UserError: weights are nowhere and no earlier stage makes them, or an option of the run is
            one that none of its stages has.
    """
    recipes = [STAGES[name] for name in config.stages]
    for key, none, can in (
        ("remat", "none", [recipe.remats for recipe in recipes]),
        ("dtype", "float32", [recipe.narrows for recipe in recipes]),
    ):
        if config[key] != none and not any(can):
            raise UserError(
                f"{key} is {config[key]!r}, which stage {', '.join(config.stages)} has not: "
                f"leave it at {none!r}"
            )
    coming: set[str] = set()
    for name, recipe in zip(config.stages, recipes, strict=True):
        where = places.find(name, config, workdir, coming)
        candidates = {part for parts in recipe.starts_from.values() for part in parts}
        starts = {"start"} if where.start or candidates & coming else set()
        recipe.check(config, config[name], {*where.parts, *coming, *starts})
        coming |= set(recipe.makes)


def build(name: str, config: ConfigDict, weights: Weights, total_steps: int) -> Stage:
    """A stage of the configuration, with the sizes of its weights in the place of the preset's."""
    config = config.copy_and_resolve_references()
    with config.unlocked():
        config.model.update(weights.sizes)
    return STAGES[name].build(config, config[name], weights, total_steps)


def finish(
    stage: Stage,
    state: optim.TrainState,
    config: ConfigDict,
    name: str,
    tokenize: pipeline.Tokenize,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parts that a trained stage gives to the release, and what it measured of them.

    It measures on the first training pictures, the same on every process.
    """
    params = jax.tree.map(sharding.to_host, optim.averaged(state))
    options = config[name].copy_and_resolve_references()
    count = len(records.open_split(config.data.directory, config.data.train_split))
    options.batch_size = min(FINISH_EXAMPLES, count)
    with contextlib.closing(train_batches(config, options, tokenize, 0, alone=True)) as batches:
        return stage.finish(params, stage.frozen, next(batches))


def train_batches(
    config: ConfigDict,
    options: ConfigDict,
    tokenize: pipeline.Tokenize,
    start_step: int,
    *,
    alone: bool = False,
) -> pipeline.TrainBatches:
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
        partial_share=options.partial_share,
        turned_share=options.turned_share,
        gray_share=options.gray_share,
        start_step=start_step,
        process_index=0 if alone else jax.process_index(),
        process_count=1 if alone else jax.process_count(),
    )


def caption_examples(
    config: ConfigDict, tokenize: pipeline.Tokenize, count: int
) -> dict[str, np.ndarray]:
    """The first evaluation pictures with the token ids of every caption level."""
    return _held_out(config, tokenize, count).examples


def held_out_pictures(config: ConfigDict, tokenize: pipeline.Tokenize) -> held_out.Pictures | None:
    """The pictures that are measured while a stage trains; None where none are."""
    if not config.evaluate_every:
        return None
    return _held_out(config, tokenize, config.evaluate_pictures)


def _held_out(config: ConfigDict, tokenize: pipeline.Tokenize, count: int) -> held_out.Pictures:
    examples: dict[str, np.ndarray] = {}
    said: dict[str, list[str]] = {}
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
        said[level] = batch["captions"]
    return held_out.Pictures(examples, said)
