"""The VAE's and the text encoder on the host: what is made once, before training."""

import functools
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float32, Int32, UInt8

from colorjax import release
from colorjax.maths import color
from colorjax.maths.types import Params
from colorjax.methods import stable_diffusion
from colorjax.release import shapes

TextEncoder = Callable[[Int32[np.ndarray, "b n"]], Float32[np.ndarray, "b n d"]]
Encoder = Callable[[UInt8[np.ndarray, "b s s 3"]], Float32[np.ndarray, "b h w c"]]


def encoder(directory: Path) -> Encoder:
    """What makes the posterior's moments, unscaled and in float32, of pictures' bytes.

    A batch of another size than the first compiles again.

    Raises:
        UserError: the release has no VAE, or a damaged one.
    """
    model, params = _loaded(directory, "vae")
    encode = jax.jit(
        lambda params, pixels: stable_diffusion.encode_image(
            model, params, color.from_bytes(pixels)
        )
    )
    return lambda pixels: np.asarray(encode(params, pixels))


def text_encoder(directory: Path) -> TextEncoder:
    """What makes the last hidden states, in float32, of token ids.

    A batch of another size than the first compiles again.

    Raises:
        UserError: the release has no text encoder, or a damaged one.
    """
    model, params = _loaded(directory, "text_encoder")
    encode = jax.jit(lambda params, ids: stable_diffusion.encode_text(model, params, ids))
    return lambda ids: np.asarray(encode(params, ids), np.float32)


def _loaded(directory: Path, part: str) -> tuple[stable_diffusion.StableDiffusion, Params]:
    config = release.read_config(directory)
    model = stable_diffusion.build(config)
    init = functools.partial(stable_diffusion.init, model)
    expected = shapes.kept("base", config, init)
    params = stable_diffusion.load_parts(directory, (part,), expected, np.float32)
    return model, jax.device_put(params)
