"""Batches of the few sizes that programs are compiled for, and parameters where they run."""

from typing import Any

import jax
import numpy as np

from colorjax.inputs import Pictures
from colorjax.maths.types import Params

PHRASES = 8  # their number is filled up to a multiple of it: few numbers of them compile anew


def size(count: int, least: int, batch_size: int) -> int:
    """How many pictures a program takes for so many: the least that there are programs for, such
    as one on each device, or a full batch."""
    if count > batch_size:
        raise ValueError(f"{count} pictures for batches of {batch_size}")
    return least if count <= least else batch_size


def filled(pictures: Pictures, count: int) -> Pictures:
    """So many pictures, the missing ones black; what is None stays so."""
    if pictures.masks is not None and pictures.spans is None:
        raise ValueError("masks need the spans of the phrases that they are of")

    def rows(array: Any, fill: float = 0.0) -> Any:
        return None if array is None else _rows(np.asarray(array), count, fill)

    return Pictures(
        lightness=rows(pictures.lightness)[..., None],
        input_ids=rows(pictures.input_ids),
        seed=rows(np.broadcast_to(np.asarray(pictures.seed, np.uint32), len(pictures.lightness))),
        spans=rows(_phrases(pictures.spans)),
        masks=rows(_phrases(pictures.masks)),
        faded=rows(pictures.faded),
        t_start=rows(_float32(pictures.t_start), fill=1.0),
    )


def moved(params: Params) -> Params:
    """A tree of host arrays on the default device.

    Leaf by leaf, and each is let go: the host never holds all of it beside the device's copy, which
    on a CPU is the same memory.
    """
    for name in params:
        leaf = params[name]
        params[name] = moved(leaf) if isinstance(leaf, dict) else jax.device_put(leaf)
    return params


def _rows(array: np.ndarray, count: int, fill: float) -> np.ndarray:
    padding = [(0, count - len(array))] + [(0, 0)] * (array.ndim - 1)
    return np.pad(array, padding, constant_values=fill)


def _phrases(array: Any) -> Any:
    """Filled up to a multiple of `PHRASES` phrases; those without tokens have no effect."""
    if array is None:
        return None
    padding = [(0, 0)] * array.ndim
    padding[1] = (0, -array.shape[1] % PHRASES)
    return np.pad(array, padding)


def _float32(array: Any) -> Any:
    return None if array is None else np.asarray(array, np.float32)
