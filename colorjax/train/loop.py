"""The one training loop: it knows steps, checkpoints and metrics, not what is learned."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from colorjax.devices import processes, sharding
from colorjax.errors import UserError
from colorjax.train import checkpoint, optim, samples, tracking
from colorjax.train.stages.stage import Batch, Stage

Batches = Callable[[int], Any]  # from a step on; closed at the end


class Programs(NamedTuple):
    """The compiled functions of a stage and where its state lies."""

    init: Callable[[], optim.TrainState]
    step: Any  # (state, frozen, batch) -> (state, metrics); jitted, the state donated
    predict: Callable[..., dict[str, Any]]
    abstract: optim.TrainState
    shardings: optim.TrainState


def programs(stage: Stage, options: ConfigDict, config: ConfigDict, mesh: Mesh) -> Programs:
    """A stage's functions on a mesh; nothing is computed yet.

    The randomness of a step is `fold_in(key(seed), step)`.
    """
    key = jax.random.key(config.seed)

    def init(start: Any) -> optim.TrainState:
        return optim.watched(stage.init(key, start))

    abstract = jax.eval_shape(init, stage.start)
    shardings = sharding.tree_shardings(abstract, mesh, config.sharding_rules)
    made = jax.jit(init, out_shardings=shardings)
    guarded = optim.guarded(stage.step, options.spike_factor)

    def step(state: optim.TrainState, frozen: Any, batch: Batch) -> Any:
        return guarded(state, frozen, batch, jax.random.fold_in(key, state.step))

    def predict(params: Any, frozen: Any, examples: Batch) -> Any:
        return stage.predict(optim.gathered(params), frozen, examples, key)

    everywhere = sharding.replicated(mesh)
    return Programs(
        lambda: made(stage.start),
        jax.jit(step, out_shardings=(shardings, everywhere), donate_argnums=0),
        jax.jit(predict, out_shardings=everywhere),
        abstract,
        shardings,
    )


def run(
    stage: Stage,
    name: str,
    config: ConfigDict,
    mesh: Mesh,
    batches: Batches,
    examples: Batch,
    workdir: Path,
    total_steps: int,
    stop: processes.Stop | None = None,
    watch: tracking.Watch = tracking.Watch(),
) -> optim.TrainState:
    """Trains a stage to `total_steps`, from its latest undamaged checkpoint if there is one.

    The randomness and the batch of a step are functions of the step, so a resumed run equals an
    uninterrupted one bit for bit. When `stop` is asked, the step is saved and the state returned.

    Raises:
        UserError: too many steps in a row gave no usable gradient, or a checkpoint failed.
    """
    clock = tracking.Clock()
    made = programs(stage, config[name], config, mesh)
    frozen = place_frozen(stage.frozen, config, mesh)
    tracker = tracking.Tracker(
        workdir, name, total_steps, processes.is_first(), watch.wandb, config
    )
    saved = checkpoint.Checkpoints(workdir / "checkpoints", config.keep_checkpoints, tracker.say)
    first, state = 0, None
    with clock.spent("restore"):
        if saved.latest is not None:
            first, state = saved.restore(made.shardings, made.abstract)
            tracker.say(f"resumed from step {first} in '{workdir}'")
    lost_steps = tracker.open(first)
    if state is None:
        state = made.init()
    stream = batches(first)
    try:
        feed = sharding.global_batches(stream, mesh)
        step, trace, n = None, tracking.Trace(workdir / "profile", first, watch), first
        while n < total_steps and not (stop is not None and stop.asked):
            n += 1
            with clock.spent("data"):
                batch = next(feed)
            if step is None:
                with clock.spent("compile"):
                    step = made.step.lower(state, frozen, batch).compile()
                    tracker.costs(step.cost_analysis(), jax.devices()[0].device_kind)
            trace.before(n)
            state, metrics = step(state, frozen, batch)
            trace.after(n, state)
            halt = stop is not None and stop.after_step()
            if n == first + 1 or halt or _due(n, config.log_every, total_steps):
                values = {k: float(v) for k, v in jax.device_get(metrics).items()}
                tracker.write(n, values, config[name].batch_size, clock.overhead)
                check_skipped(values, config[name].max_skipped, n)
            if _due(n, config.sample_every, total_steps):
                with clock.spent("samples"):
                    columns = made.predict(optim.averaged(state), frozen, examples)
                    samples.save_samples(workdir / "samples" / f"{n:07d}.png", columns, examples)
            with clock.spent("checkpoint"):
                saved.settle()
                if halt or _due(n, config.checkpoint_every, total_steps):
                    jax.block_until_ready(state)
                    saved.save(n, state)
    finally:
        with clock.spent("checkpoint"):
            saved.close()
        clock.lost = lost_steps * tracker.seconds_per_step
        tracker.say(clock.line())
        tracker.close()
        stream.close()
    return state


def place_frozen(frozen: Any, config: ConfigDict, mesh: Mesh) -> Any:
    """Frozen weights on the mesh, by the rules for `frozen/...`, matrices in the compute type."""
    narrow = jax.tree.map(lambda leaf: optim.narrowed(np.asarray(leaf), config.dtype), frozen)
    rules = config.sharding_rules
    return sharding.put(narrow, sharding.tree_shardings({"frozen": narrow}, mesh, rules)["frozen"])


def check_skipped(metrics: dict[str, float], most: int, step: int) -> None:
    """Raises `UserError` if more than `most` steps in a row were skipped."""
    if metrics["skipped_in_a_row"] >= most > 0:
        raise UserError(
            f"{int(metrics['skipped_in_a_row'])} steps in a row up to step {step} gave no finite "
            "loss and gradient, or a spike: the weights are as before them; lower the learning "
            "rate, or look at the data, and start again from the last checkpoint"
        )


def _due(step: int, every: int, total_steps: int) -> bool:
    """Every so many steps and at the last one; 0 means only then."""
    return step == total_steps or (every > 0 and step % every == 0)
