"""The one training loop: it knows steps, checkpoints and metrics, not what is learned."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from colorjax import checkpoint, grids, optim, sharding
from colorjax.stages.stage import Batch, Stage
from colorjax.tracking import Tracker

Batches = Callable[[int], Iterator[Batch]]  # from a step on


def run(
    stage: Stage,
    name: str,
    config: ConfigDict,
    mesh: Mesh,
    batches: Batches,
    examples: Batch,
    workdir: Path,
    total_steps: int,
) -> optim.TrainState:
    """Trains a stage to `total_steps`, from its latest checkpoint if there is one.

    The randomness of a step is `fold_in(key(seed), step)`, and the batch is a function of the
    step too, so a resumed run equals an uninterrupted one bit for bit.
    """
    tracker = Tracker(workdir, name, total_steps, active=jax.process_index() == 0)
    key = jax.random.key(config.seed)
    abstract = jax.eval_shape(stage.init, key)
    shardings = sharding.tree_shardings(abstract, mesh, config.sharding_rules)
    frozen = sharding.put(
        stage.frozen, jax.tree.map(lambda _: sharding.replicated(mesh), stage.frozen)
    )
    saved = checkpoint.Checkpoints(workdir / "checkpoints", config.keep_checkpoints)
    if saved.latest is None:
        state = jax.jit(stage.init, out_shardings=shardings)(key)
    else:
        state = saved.restore(saved.latest, shardings, abstract)
        tracker.say(f"resumed from step {saved.latest} in '{workdir}'")

    def keyed(state: optim.TrainState, frozen: Any, batch: Batch) -> Any:
        return stage.step(state, frozen, batch, jax.random.fold_in(key, state.step))

    step = jax.jit(keyed, out_shardings=(shardings, None), donate_argnums=0)
    predict = jax.jit(stage.predict)
    first = int(state.step)
    stream = batches(first) if first < total_steps else iter(())
    try:
        feed = sharding.global_batches(stream, mesh)
        for n in range(first + 1, total_steps + 1):
            state, metrics = step(state, frozen, next(feed))
            if n % config.log_every == 0 or n in (first + 1, total_steps):
                values = {k: float(v) for k, v in jax.device_get(metrics).items()}
                tracker.write(n, values, config[name].batch_size)
            if n % config.sample_every == 0 or n == total_steps:
                columns = predict(optim.averaged(state), frozen, examples, key)
                _save_samples(workdir / "samples" / f"{n:07d}.png", columns, examples)
            if n % config.checkpoint_every == 0 or n == total_steps:
                saved.save(n, state)
    finally:
        saved.close()
        tracker.close()
        if hasattr(stream, "close"):
            stream.close()
    return state


def _save_samples(path: Path, columns: dict[str, Any], examples: Batch) -> None:
    """gray | truth | what the stage predicts, eight pictures."""
    if not columns or jax.process_index() != 0:
        return
    truth = np.asarray(examples["image"], np.float32) / 127.5 - 1.0
    gray = np.repeat(truth @ np.array([[0.299], [0.587], [0.114]], np.float32), 3, axis=-1)
    shown = {"gray": gray, "truth": truth} | {k: np.asarray(v) for k, v in columns.items()}
    size = truth.shape[1]
    grids.save_grid(path, {k: v[:8] for k, v in shown.items()}, scale=max(1, 64 // size))
