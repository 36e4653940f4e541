"""The one training loop: it knows steps, checkpoints and metrics, not what is learned."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from colorjax import checkpoint, color, grids, optim, sharding
from colorjax.stages.stage import Batch, Stage
from colorjax.tracking import Tracker

Batches = Callable[[int], Any]  # from a step on; closed at the end


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
    key = jax.random.key(config.seed)
    abstract = jax.eval_shape(stage.init, key, stage.start)
    shardings = sharding.tree_shardings(abstract, mesh, config.sharding_rules)
    frozen = sharding.put(
        stage.frozen, jax.tree.map(lambda _: sharding.replicated(mesh), stage.frozen)
    )
    saved = checkpoint.Checkpoints(workdir / "checkpoints", config.keep_checkpoints)
    tracker = Tracker(workdir, name, saved.latest or 0, total_steps, jax.process_index() == 0)
    if saved.latest is None:
        state = jax.jit(stage.init, out_shardings=shardings)(key, stage.start)
    else:
        state = saved.restore(saved.latest, shardings, abstract)
        tracker.say(f"resumed from step {saved.latest} in '{workdir}'")

    def keyed(state: optim.TrainState, frozen: Any, batch: Batch) -> Any:
        return stage.step(state, frozen, batch, jax.random.fold_in(key, state.step))

    step = jax.jit(keyed, out_shardings=(shardings, None), donate_argnums=0)
    predict = jax.jit(stage.predict)
    first = int(state.step)
    stream = batches(first)
    try:
        feed = sharding.global_batches(stream, mesh)
        for n in range(first + 1, total_steps + 1):
            state, metrics = step(state, frozen, next(feed))
            if n == first + 1 or _due(n, config.log_every, total_steps):
                values = {k: float(v) for k, v in jax.device_get(metrics).items()}
                tracker.write(n, values, config[name].batch_size)
            if _due(n, config.sample_every, total_steps):
                columns = predict(optim.averaged(state), frozen, examples, key)
                _save_samples(workdir / "samples" / f"{n:07d}.png", columns, examples)
                tracker.restart_clock(n)
            if _due(n, config.checkpoint_every, total_steps):
                saved.save(n, state)
    finally:
        saved.close()
        tracker.close()
        stream.close()
    return state


def _due(step: int, every: int, total_steps: int) -> bool:
    """Every so many steps and at the last one; 0 means only then."""
    return step == total_steps or (every > 0 and step % every == 0)


def _save_samples(path: Path, columns: dict[str, Any], examples: Batch) -> None:
    """gray | truth | what the stage predicts, eight pictures."""
    if not columns or jax.process_index() != 0:
        return
    truth = np.asarray(examples["image"], np.float32) / 127.5 - 1.0
    gray = color.with_lightness(np.zeros_like(truth), color.lightness((truth + 1.0) / 2.0))
    gray = gray * 2.0 - 1.0
    shown = {"gray": gray, "truth": truth} | {k: np.asarray(v) for k, v in columns.items()}
    size = truth.shape[1]
    grids.save_grid(path, {k: v[:8] for k, v in shown.items()}, scale=max(1, 64 // size))
