"""The measuring of held-out pictures between a stage's steps, and the best step's checkpoint."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from colorjax.maths import color
from colorjax.maths.types import Params
from colorjax.train import checkpoint, held_out, optim, samples, tracking


class Evaluation:
    """Measures held-out pictures at a step, and keeps the best step's state."""

    def __init__(
        self,
        directory: Path,
        pictures: held_out.Pictures,
        predict: Callable[..., dict[str, Any]],
        config: ConfigDict,
        tracker: tracking.Tracker,
    ) -> None:
        """`predict` is the stage's own, of averaged and frozen weights and examples."""
        self._pictures, self._predict, self._tracker = pictures, predict, tracker
        self._vgg16 = held_out.vgg16(config)
        if self._vgg16 is None:
            tracker.say("held-out pictures are measured without a Frechet distance: no VGG16")
        self._sheets = directory / held_out.SHEETS
        self._best = held_out.Best(directory, config.keep_best) if config.keep_best else None

    def after(self, n: int, averaged: Params, frozen: Params, state: optim.TrainState) -> None:
        """The figures of step n, in the stream of metrics; the state is saved if it is the best.

        Raises:
            UserError: the stage does not measure what `keep_best` names, or the disk is full.
        """
        columns = jax.device_get(self._predict(averaged, frozen, self._pictures.examples))
        shown = {name: np.asarray(columns[name], np.float32) for name in samples.SHOWN}
        outputs = held_out.with_lightness(columns, self._pictures)
        shown |= {name: np.asarray(color.from_unit(one)) for name, one in outputs.items()}
        samples.save_samples(self._sheets / f"{n:07d}.png", shown)
        figures = held_out.measure(columns, self._pictures, self._vgg16)
        named = {held_out.PREFIX + name: value for name, value in figures.items()}
        self._tracker.record(n, named)
        listed = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        self._tracker.say(f"held out at step {n}: {listed}")
        if self._best is not None and self._best.improves(n, figures):
            jax.block_until_ready(state)
            saved = checkpoint.Checkpoints(self._best.directory, 1)
            saved.save(n, state)
            saved.close()
            self._best.remember()
            self._tracker.say(f"step {n} is the best so far")


def best_state(directory: Path, metric: str, abstract: Any, shardings: Any) -> Any:
    """The state of a run's best step, placed as `shardings` says; None if none was measured.

    Raises:
        UserError: its checkpoint is damaged.
    """
    best = held_out.Best(directory, metric)
    if best.step < 0:
        return None
    saved = checkpoint.Checkpoints(best.directory, 1)
    state = saved.restore(shardings, abstract)[1]
    saved.close()
    return state
