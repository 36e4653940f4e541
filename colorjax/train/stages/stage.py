"""What a training stage is, and how it is made of one loss and one optimizer."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from colorjax.maths import color
from colorjax.maths.types import Image, ImageBytes, Luminance, Params, PRNGKey
from colorjax.methods import vividness
from colorjax.train import optim

Batch = dict[str, Any]
Predict = Callable[[Params, Params, Batch, PRNGKey], dict[str, Image]]
Finish = Callable[[Params, Params, Batch], tuple[Params, dict[str, Any]]]


class Stage(NamedTuple):
    """A stage as a value: the functions by which the loop trains it, and the weights they need.

    `start` are weights to begin with, passed to `init`: as arguments, for a program must not hold
    gigabytes of constants. `frozen` weights are neither donated nor checkpointed.
    """

    init: Callable[[PRNGKey, Params], optim.TrainState]
    start: Params
    frozen: Params
    step: optim.Step
    predict: Predict  # columns of a grid of samples
    finish: Finish  # the parts of the release that it made, and sections of its configuration


class Weights(NamedTuple):
    """What a stage begins with."""

    parts: Params  # frozen parts by name
    start: Params  # weights to start from, by the role that the recipe gives them
    sizes: dict[str, Any]  # sections of the model's configuration that these weights decide
    inputs: dict[str, str]  # SHA-256 of each part that was read
    tokenize: Callable[[Sequence[str]], Any] | None = None  # texts to token ids


class Build(Protocol):
    """Makes a stage of a configuration whose `model` has the sizes of the weights.

    `options` is the stage's own section.

    Raises:
        UserError: a setting, or a combination of settings, that the stage cannot work with.
    """

    def __call__(
        self, config: ConfigDict, options: ConfigDict, weights: Weights, total_steps: int
    ) -> Stage: ...


def nothing(config: ConfigDict, options: ConfigDict, parts: Collection[str]) -> None:
    """The check of a stage that needs nothing beside its parts."""


class Recipe(NamedTuple):
    """What a stage needs, and what makes it: all that is known of it before weights are read."""

    build: Build
    makes: tuple[str, ...]  # parts that it adds to the release
    starts_from: Mapping[str, tuple[str, ...]]  # role -> parts it may start from, the best first
    needs: tuple[str, ...] = ()  # parts that stay as they are
    may_use: tuple[str, ...] = ()  # the same, where they are
    outdates: tuple[str, ...] = ()  # parts that were made of what it makes anew
    must_start: bool = False  # every role must have a part to start from
    accumulates: bool = True  # its loss is a mean over pictures, so a batch may come in parts
    selects: bool = False  # `trainable` may be a share of its network
    reads_latents: bool = False  # its loss takes latents that were cached
    remats: bool = False  # `remat` saves memory in it
    narrows: bool = True  # `dtype` is what it computes in
    # Raises UserError for what it lacks, of the configuration, its own section and the parts there
    # will be; "start" stands among them for anything to start from.
    check: Callable[[ConfigDict, ConfigDict, Collection[str]], None] = nothing


def single_loss_stage(
    *,
    init: Callable[[PRNGKey, Params], Params],
    loss: optim.Loss,
    options: ConfigDict,
    total_steps: int,
    predict: Predict,
    finish: Finish,
    start: Params | None = None,
    frozen: Params | None = None,
    tx: optax.GradientTransformation | None = None,
    dtype: Any = jnp.float32,
) -> Stage:
    """A stage that minimises one loss.

    Args:
        init: the parameters from a key and `start`.
        predict: the columns of a grid of samples, to be shown beside gray and truth.
        tx: the optimizer, by default the one that `options` describe.
        dtype: what the loss computes in, where its networks can.
    """
    tx = tx or optim.optimizer(options, total_steps)
    return Stage(
        init=lambda key, start: optim.create(init(key, start), tx, options.ema_decay),
        start={} if start is None else start,
        frozen={} if frozen is None else frozen,
        step=optim.make_step(loss, tx, options.ema_decay, options.accumulate, dtype),
        predict=beside_truth(predict),
        finish=finish,
    )


def beside_truth(predict: Predict) -> Predict:
    """The same pictures after the gray input and the truth; a stage without pictures has none."""

    def columns(params: Params, frozen: Params, batch: Batch, key: PRNGKey) -> dict[str, Image]:
        predicted = predict(params, frozen, batch, key)
        if not predicted:
            return {}
        image, luminance = image_and_luminance(batch["image"])
        return {"gray": vividness.gray_image(luminance), "truth": image, **predicted}

    return columns


def image_and_luminance(pixels: ImageBytes) -> tuple[Image, Luminance]:
    """Bytes to the image in [-1,1] and its luminance, on the device."""
    image = color.from_bytes(pixels)
    return image, color.luminance(image)
