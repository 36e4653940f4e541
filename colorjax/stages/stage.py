"""What a training stage is, and the plain way to make one: one loss, one optimizer."""

from collections.abc import Callable
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from colorjax import optim
from colorjax.color import luminance
from colorjax.errors import UserError
from colorjax.types import Image, ImageBytes, Luminance, Params, PRNGKey

Batch = dict[str, Any]


class Stage(NamedTuple):
    """A stage as a value. `frozen` weights are neither donated nor checkpointed."""

    init: Callable[[PRNGKey], optim.TrainState]
    frozen: Params
    step: optim.Step
    predict: Callable[[Params, Params, Batch, PRNGKey], dict[str, Image]]  # columns of a grid
    finish: Callable[[Params, Params, Batch], tuple[Params, dict[str, Any]]]  # parts, config


def plain(
    init: Callable[[PRNGKey], Params],
    loss: optim.Loss,
    frozen: Params,
    options: ConfigDict,
    total_steps: int,
    **rest: Any,
) -> Stage:
    tx = optim.optimizer(options, total_steps)
    return Stage(
        init=lambda key: optim.create(init(key), tx, options.ema_decay),
        frozen=frozen,
        step=optim.make_step(loss, tx, options.ema_decay),
        **rest,
    )


def image_and_luminance(pixels: ImageBytes) -> tuple[Image, Luminance]:
    """Bytes to the image in [-1,1] and its luminance, on the device."""
    image = pixels.astype("float32") / 127.5 - 1.0
    return image, luminance(image)


def start_from(fresh: Params, given: Params, may_lack: str = "cec_") -> Params:
    """`given` weights in the tree of `fresh` ones; only leaves named `may_lack` may be new.

    Raises:
        UserError: a leaf more, a leaf less or another shape.
    """
    from flax.traverse_util import flatten_dict, unflatten_dict

    ours, theirs = flatten_dict(fresh, sep="/"), flatten_dict(given, sep="/")
    missing = sorted(k for k in ours if k not in theirs and may_lack not in k)
    unknown = sorted(k for k in theirs if k not in ours)
    shapes = sorted(k for k in ours.keys() & theirs.keys() if ours[k].shape != theirs[k].shape)
    if missing or unknown or shapes:
        raise UserError(
            "the weights to start from are of another model: "
            f"missing {missing[:3]}, unknown {unknown[:3]}, other shapes {shapes[:3]} "
            f"({len(missing)}, {len(unknown)} and {len(shapes)} in all)"
        )
    return unflatten_dict(ours | theirs, sep="/")
