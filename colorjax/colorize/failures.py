"""What goes wrong with one photograph, told in a sentence, so that the others go on."""

import errno
from typing import Any

import cv2
import jax
import numpy as np

from colorjax.colorize.files.photos import Source, name_of
from colorjax.errors import UserError, first_line


def of_picture(source: Source, error: Exception) -> UserError:
    """A sentence about a photograph.

    Without the traceback, whose frames would keep the photograph's arrays in memory.
    """
    if isinstance(error, UserError):
        return error.with_traceback(None)
    name = name_of(source)
    if is_of_memory(error):
        return UserError(
            f"there is too little memory for '{name}': lower --batch_size, make the picture "
            "smaller, or give colorjax more memory"
        )
    told = UserError(f"'{name}' cannot be coloured ({first_line(error)})")
    told.__cause__ = error.with_traceback(None)
    return told


def is_of_memory(error: BaseException) -> bool:
    """Whether an error of ours, XLA's, OpenCV's or the system's says that memory is short."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, cv2.error):
        return "nsufficient memory" in str(error)
    said = str(error)
    return isinstance(error, jax.errors.JaxRuntimeError) and (
        "RESOURCE_EXHAUSTED" in said or "ut of memory" in said
    )


def refuse_infinite(source: Source, computed: Any) -> None:
    """Raises `UserError` if a model's small pictures hold what is no number, which is black."""
    if not all(np.isfinite(part).all() for part in jax.tree.leaves(computed)):
        raise UserError(
            f"the model's colours for '{name_of(source)}' are not finite, so nothing is saved: "
            "take a lower --guidance_scale, or other weights"
        )
