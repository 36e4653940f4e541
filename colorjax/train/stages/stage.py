"""What a training stage is, and the plain way to make one: one loss, one optimizer."""

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from colorjax.maths.color import luminance
from colorjax.train import optim
from colorjax.types import Image, ImageBytes, Luminance, Params, PRNGKey

Batch = dict[str, Any]
MODULES = {"cold": "cold_diffusion"}


class Stage(NamedTuple):
    """A stage as a value.

    `start` are weights to begin with, given to `init`: arguments, for a program must not hold
    gigabytes of constants. `frozen` weights are neither donated nor checkpointed.
    """

    init: Callable[[PRNGKey, Params], optim.TrainState]
    start: Params
    frozen: Params
    step: optim.Step
    predict: Callable[[Params, Params, Batch, PRNGKey], dict[str, Image]]  # columns of a grid
    finish: Callable[[Params, Params, Batch], tuple[Params, dict[str, Any]]]  # parts, config


def plain(
    init: Callable[[PRNGKey, Params], Params],
    loss: optim.Loss,
    start: Params,
    frozen: Params,
    options: ConfigDict,
    total_steps: int,
    tx: optax.GradientTransformation | None = None,
    dtype: Any = jnp.float32,
    **rest: Any,
) -> Stage:
    """`dtype` is what the loss computes in, where its networks can."""
    tx = tx or optim.optimizer(options, total_steps)
    return Stage(
        init=lambda key, start: optim.create(init(key, start), tx, options.ema_decay),
        start=start,
        frozen=frozen,
        step=optim.make_step(loss, tx, options.ema_decay, options.accumulate, dtype),
        **rest,
    )


def image_and_luminance(pixels: ImageBytes) -> tuple[Image, Luminance]:
    """Bytes to the image in [-1,1] and its luminance, on the device."""
    image = pixels.astype("float32") / 127.5 - 1.0
    return image, luminance(image)


def stage_module(name: str) -> ModuleType:
    return importlib.import_module(f"colorjax.train.stages.{MODULES.get(name, name)}")
