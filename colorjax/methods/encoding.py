"""The VAE's encoder for pictures on the host: what is made once, before training."""

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float32, UInt8

from colorjax import release
from colorjax.maths import color
from colorjax.methods import stable_diffusion
from colorjax.release import shapes

Encoder = Callable[[UInt8[np.ndarray, "b s s 3"]], Float32[np.ndarray, "b h w c"]]


def encoder(directory: Path) -> Encoder:
    """What makes the posterior's moments, unscaled and in float32, of pictures' bytes.

    A batch of another size than the first compiles again.

    Raises:
        UserError: the release has no VAE, or a damaged one.
    """
    config = release.read_config(directory)
    model = stable_diffusion.build(config)
    expected = shapes.kept("base", config, lambda key: stable_diffusion.init(model, key))
    params = stable_diffusion.load_parts(directory, ("vae",), expected, np.float32)
    params = jax.device_put(params)
    encode = jax.jit(
        lambda params, pixels: stable_diffusion.encode_image(
            model, params, color.from_bytes(pixels)
        )
    )
    return lambda pixels: np.asarray(encode(params, pixels))
