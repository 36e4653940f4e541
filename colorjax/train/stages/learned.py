"""What of a UNet a stage learns: a share of its leaves, or low-rank adapters of its matrices."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from colorjax.maths.types import Params, PRNGKey
from colorjax.methods import lora
from colorjax.train import optim
from colorjax.train.stages.stage import Weights

PART = "unet"
Unet = Callable[[PRNGKey, Params], Params]  # all of a UNet, fresh or that of `start`


class Learned(NamedTuple):
    """The learned weights, apart from the frozen ones."""

    init: Unet  # of the learned ones alone
    frozen: Params  # parts by name
    whole: Callable[[Params, Params], Params]  # learned and frozen weights to the parts
    parts: Callable[[Params, Params], Params]  # the same, to what a release gets


def of_unet(unet: Unet, options: ConfigDict, weights: Weights, seed: int) -> Learned:
    """The leaves that `trainable` names, or adapters where there is a `lora_rank`."""
    make = _adapters if options.get("lora_rank", 0) else _share
    return make(unet, options, weights, jax.random.key(seed))


def _share(unet: Unet, options: ConfigDict, weights: Weights, key: PRNGKey) -> Learned:
    # The frozen share belongs to `frozen`: no gradient, no moments, no checkpoint.
    share = jax.jit(lambda key, start: optim.split(unet(key, start), options.trainable)[1])

    def whole(params: Params, frozen: Params) -> Params:
        return frozen | {PART: optim.merge(params, frozen[PART])}

    return Learned(
        lambda key, start: optim.split(unet(key, start), options.trainable)[0],
        weights.parts | {PART: share(key, weights.start)},
        whole,
        lambda params, frozen: {PART: whole(params, frozen)[PART]},
    )


def _adapters(unet: Unet, options: ConfigDict, weights: Weights, key: PRNGKey) -> Learned:
    rank, targets = options.lora_rank, options.lora_targets
    scale = (options.lora_alpha or rank) / rank

    def init(key: PRNGKey, start: Params) -> Params:
        # Only the shapes of the UNet are looked at.
        return lora.init(key, {PART: unet(key, start)}, rank, targets)

    def whole(params: Params, frozen: Params) -> Params:
        return lora.applied(frozen, params, scale)

    def parts(params: Params, frozen: Params) -> Params:
        own = params | {lora.SCALE: np.float32(scale)}
        return {PART: whole(params, frozen)[PART], lora.PART: own}

    frozen = weights.parts | {PART: jax.jit(unet)(key, weights.start)}
    return Learned(init, frozen, whole, parts)
