"""The one training loop: it knows steps, checkpoints and metrics, not what is learned."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from colorjax.devices import processes, sharding
from colorjax.maths.types import Params, PRNGKey
from colorjax.train import checkpoint, guard, held_out, optim, samples, tracking
from colorjax.train.evaluation import Evaluation
from colorjax.train.stages.stage import Batch, Stage


@runtime_checkable
class Batches(Protocol):
    """An endless stream of batches that holds threads until it is closed."""

    def __iter__(self) -> Iterator[Batch]: ...

    def __next__(self) -> Batch: ...

    def close(self) -> None: ...


Command = Callable[..., str]  # flags of the configuration -> what to type to go on with them


class Run(NamedTuple):
    """A stage on its way: what is trained, on what, how long, and where it is kept."""

    name: str
    stage: Stage
    config: ConfigDict
    mesh: Mesh
    directory: Path  # checkpoints, metrics and samples
    total_steps: int
    batches: Callable[[int], Batches]  # from a step on
    examples: Batch  # pictures for the samples
    stop: processes.Stop | None = None
    watch: tracking.Watch = tracking.Watch()
    command: Command = lambda **changes: "start the same command again"
    measured: held_out.Pictures | None = None  # held-out ones, every `evaluate_every` steps

    @property
    def options(self) -> ConfigDict:
        """The stage's own section of the configuration."""
        return self.config[self.name]


class Programs(NamedTuple):
    """The compiled functions of a stage and where its state lies."""

    init: Callable[[], optim.TrainState]
    step: Any  # (state, frozen, batch) -> (state, metrics); jitted, the state donated
    predict: Callable[..., dict[str, Any]]
    abstract: optim.TrainState
    shardings: optim.TrainState


class Instruments(NamedTuple):
    """What accompanies the steps of a run."""

    clock: tracking.Clock
    tracker: tracking.Tracker
    saved: checkpoint.Checkpoints


def programs(stage: Stage, options: ConfigDict, config: ConfigDict, mesh: Mesh) -> Programs:
    """A stage's functions on a mesh; nothing is computed yet.

    The randomness of a step is `fold_in(key(seed), step)`.
    """
    key = jax.random.key(config.seed)

    def init(start: Params) -> optim.TrainState:
        return optim.watched(stage.init(key, start))

    abstract = jax.eval_shape(init, stage.start)
    shardings = sharding.tree_shardings(abstract, mesh, config.sharding_rules)
    placed_init = jax.jit(init, out_shardings=shardings)
    guarded = optim.guarded(stage.step, options.spike_factor)

    def step(
        state: optim.TrainState, frozen: Params, batch: Batch
    ) -> tuple[optim.TrainState, optim.Metrics]:
        return guarded(state, frozen, batch, jax.random.fold_in(key, state.step))

    def predict(params: Params, frozen: Params, examples: Batch) -> dict[str, Any]:
        whole = sharding.gathered(params)

        def one(row: tuple[Batch, PRNGKey]) -> dict[str, Any]:
            example, own_key = jax.tree.map(lambda leaf: leaf[None], row[0]), row[1]
            return jax.tree.map(
                lambda rows: rows[0], stage.predict(whole, frozen, example, own_key)
            )

        # One after the other: the state is there as well, and a sample takes more than a step.
        keys = jax.random.split(key, len(jax.tree.leaves(examples)[0]))
        return jax.lax.map(one, (examples, keys))

    everywhere = sharding.replicated(mesh)
    return Programs(
        lambda: placed_init(stage.start),
        jax.jit(step, out_shardings=(shardings, everywhere), donate_argnums=0),
        jax.jit(predict, out_shardings=everywhere),
        abstract,
        shardings,
    )


def train(run: Run) -> optim.TrainState:
    """Trains a stage to its last step, from its latest undamaged checkpoint if there is one.

    The randomness and the batch of a step are functions of the step, so a resumed run equals an
    uninterrupted one bit for bit. When `stop` is asked, the step is saved and the state returned.

    Raises:
        UserError: too many steps in a row gave no usable gradient, or the disk refused something.
    """
    clock = tracking.Clock()
    compiled = programs(run.stage, run.options, run.config, run.mesh)
    frozen = place_frozen(run.stage.frozen, run.config, run.mesh)
    tracker = tracking.Tracker(
        run.directory, run.name, run.total_steps, run.watch.wandb, run.config
    )
    folder = run.directory / "checkpoints"
    saved = checkpoint.Checkpoints(folder, run.config.keep_checkpoints, tracker.say)
    first, state, lost_steps = 0, None, 0
    with clock.spent("restore"):
        if saved.latest is not None:
            first, state = saved.restore(compiled.shardings, compiled.abstract)
            tracker.say(f"resumed from step {first} in '{run.directory}'")
    failed = True
    try:
        lost_steps = tracker.open(first)
        with contextlib.closing(run.batches(first)) as stream:
            if state is None:
                with clock.spent("compile"):  # most of the time of the first weights
                    state = compiled.init()
            state = _steps(run, compiled, state, frozen, stream, Instruments(clock, tracker, saved))
        failed = False
    finally:
        with clock.spent("checkpoint"):
            saved.close(failed)
        clock.lost = lost_steps * tracker.seconds_per_step
        tracker.say(clock.line())
        tracker.close()
    return state


def _steps(
    run: Run,
    compiled: Programs,
    state: optim.TrainState,
    frozen: Params,
    stream: Batches,
    instruments: Instruments,
) -> optim.TrainState:
    """The steps from `state` to the last one, or to where the run is asked to stop."""
    (clock, tracker, saved), config = instruments, run.config
    first = n = int(state.step)
    slower = {f"{run.name}.learning_rate": run.options.learning_rate / 2}
    row = guard.Row(n, run.options.max_skipped, run.command(**slower))
    feed = sharding.global_batches(stream, run.mesh)
    trace, step = tracking.Trace(run.directory / "profile", first, run.watch), None
    evaluation = None
    if run.measured is not None and config.evaluate_every > 0:
        evaluation = Evaluation(run.directory, run.measured, compiled.predict, config, tracker)
        if n == 0:  # what there was before
            with clock.spent("evaluation"):
                evaluation.after(n, optim.averaged(state), frozen, state)
    # A signal may come at any time, but the step to stop at is the one whose `halt` is true: a
    # look at `stop.asked` alone would end the loop after a step that nobody has saved.
    halt = run.stop is not None and run.stop.asked
    while n < run.total_steps and not halt:
        n += 1
        with clock.spent("data"):
            batch = next(feed)
        if step is None:
            with clock.spent("compile"):
                step = compiled.step.lower(state, frozen, batch).compile()
                tracker.costs(step.cost_analysis(), jax.devices()[0].device_kind)
        trace.before(n)
        state, metrics = step(state, frozen, batch)
        trace.after(n, state)
        row.after(n, metrics)
        halt = run.stop is not None and run.stop.after_step()
        if n == first + 1 or halt or _due(n, config.log_every, run.total_steps):
            values = {name: float(value) for name, value in jax.device_get(metrics).items()}
            tracker.write(n, values, run.options.batch_size, clock.overhead)
        if config.sample_every > 0 and _due(n, config.sample_every, run.total_steps):
            with clock.spent("samples"):
                columns = compiled.predict(optim.averaged(state), frozen, run.examples)
                sheet = run.directory / "samples" / f"{n:07d}.png"
                samples.save_samples(sheet, columns)
        if evaluation is not None and _due(n, config.evaluate_every, run.total_steps):
            with clock.spent("evaluation"):
                evaluation.after(n, optim.averaged(state), frozen, state)
        with clock.spent("checkpoint"):
            saved.confirm()
            if halt or _due(n, config.checkpoint_every, run.total_steps):
                row.check()
                jax.block_until_ready(state)
                saved.save(n, state)
    return state


def place_frozen(frozen: Params, config: ConfigDict, mesh: Mesh) -> Params:
    """Frozen weights on the mesh, by the rules for `frozen/...`, matrices in the compute type."""
    narrow = optim.narrowed(jax.tree.map(np.asarray, frozen), config.dtype)
    rules = config.sharding_rules
    return sharding.put(narrow, sharding.tree_shardings({"frozen": narrow}, mesh, rules)["frozen"])


def _due(step: int, every: int, total_steps: int) -> bool:
    """Every so many steps and at the last one; 0 means only then."""
    return step == total_steps or (every > 0 and step % every == 0)
