"""What of a UNet a stage learns: a share of its leaves, or low-rank adapters of matrices.

Adapters may be the text encoder's too, beside the UNet's or instead.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from colorjax.errors import UserError
from colorjax.maths.types import Params, PRNGKey
from colorjax.methods import lora
from colorjax.train import optim
from colorjax.train.stages.stage import Weights

TEXT = "text_encoder"
Unet = Callable[[PRNGKey, Params], Params]  # all of a UNet, fresh or that of `start`


class Learned(NamedTuple):
    """The learned weights, apart from the frozen ones."""

    init: Unet  # of the learned ones alone
    frozen: Params  # parts by name
    whole: Callable[[Params, Params], Params]  # learned and frozen weights to the parts
    parts: Callable[[Params, Params], Params]  # the same, to what a release gets


def of_unet(part: str, unet: Unet, options: ConfigDict, weights: Weights, seed: int) -> Learned:
    """The leaves of `part` that `trainable` names, or adapters where there is a `lora_rank`."""
    make = _adapters if options.get("lora_rank", 0) else _share
    return make(part, unet, options, weights, jax.random.key(seed))


def _share(part: str, unet: Unet, options: ConfigDict, weights: Weights, key: PRNGKey) -> Learned:
    if tuple(options.trainable) == (".*",):  # nothing of it is frozen: it has no second program
        frozen: Params = weights.parts | {part: {}}
    else:
        # The frozen share belongs to `frozen`: no gradient, no moments, no checkpoint.
        share = jax.jit(lambda key, start: optim.split(unet(key, start), options.trainable)[1])
        frozen = weights.parts | {part: share(key, weights.start)}

    def whole(params: Params, frozen: Params) -> Params:
        return frozen | {part: optim.merge(params, frozen[part])}

    return Learned(
        lambda key, start: optim.split(unet(key, start), options.trainable)[0],
        frozen,
        whole,
        lambda params, frozen: {part: whole(params, frozen)[part]},
    )


def _adapters(
    part: str, unet: Unet, options: ConfigDict, weights: Weights, key: PRNGKey
) -> Learned:
    rank, targets = options.lora_rank, options.lora_targets
    scale = (options.lora_alpha or rank) / rank
    frozen = weights.parts | {part: jax.jit(unet)(key, weights.start)}
    adaptable = {name: frozen[name] for name in (part, *[TEXT] * adapts_text(options))}

    def init(key: PRNGKey, start: Params) -> Params:
        # Only the shapes of the parts are looked at.
        return lora.init(key, adaptable, rank, targets)

    def whole(params: Params, frozen: Params) -> Params:
        return lora.applied(frozen, params, scale)

    def parts(params: Params, frozen: Params) -> Params:
        merged, own = whole(params, frozen), params | {lora.SCALE: np.float32(scale)}
        # A part without adapters is as it was, and none of this stage's making.
        changed = [name for name in adaptable if name == part or name in params]
        return {name: merged[name] for name in changed} | {name_of(options): own}

    return Learned(init, frozen, whole, parts)


def adapts_text(options: Any) -> bool:
    """Whether adapters are to be the text encoder's too: a target says so by its first word."""
    rank, targets = options.get("lora_rank", 0), options.get("lora_targets", ())
    return bool(rank) and any(target.startswith(f"{TEXT}/") for target in targets)


def name_of(options: Any) -> str:
    """The part of a release that adapters become: `lora`, or `lora_NAME` by the option's.

    Raises:
        UserError: it is no name.
    """
    name = options.get("lora_name", "")
    if name and not name.isidentifier():
        raise UserError(
            f"lora_name is {name!r}; it must be of letters, digits and underscores, such as garden"
        )
    return f"{lora.PART}_{name}" if name else lora.PART
