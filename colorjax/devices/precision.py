"""What networks compute in where nobody trains: by name, and by what the device is good at."""

from typing import Any

import jax
import jax.numpy as jnp

from colorjax.errors import one_of

AUTO = "auto"
DTYPES = (AUTO, "float32", "bfloat16")


def compute_type(name: str) -> Any:
    """The type of a name; "auto" is bfloat16 on TPUs and GPUs and float32 elsewhere.

    CPUs have no units for bfloat16: it takes as long there, and more memory.

    Raises:
        UserError: an unknown name.
    """
    one_of("dtype", name, DTYPES)
    if name == AUTO:
        name = "bfloat16" if jax.default_backend() in ("tpu", "gpu") else "float32"
    return jnp.dtype(name)
