"""Faded photographs: by which gain their chroma comes back, and how far that is to be trusted.

A faded photograph has the share f of its chroma ab, and noise n of its file: ab' = f ab + n. Its
gain is 1/f, and T0 = 1 - f is where it stands on the way of cold diffusion, 1 for gray. All of this
is ours; that Diffusing Colors begins with faded colours is its authors' application.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from colorjax.maths import color
from colorjax.maths.types import Array, Image

SECTION = "fading"  # of a release: whether its ranker was trained on gains, `by_ranker`
GAINS = tuple(float(gain) for gain in 2.0 ** (np.arange(11) / 2.0))  # 1 to 32
# What is believed of a faded photograph before it is looked at, in the logarithm: a gain around 2,
# by Student's distribution, whose tails leave room for one that is nearly gray; and that its true
# colourfulness lies around the photographs' mean. Chosen on 300 training pictures of CIFAR-10.
USUAL_GAIN, GAIN_SPREAD, FREEDOM = 2.0, 0.45, 2.0
COLOURFULNESS_SPREAD = 0.8
NOISE = 0.5  # of a and b in a file of 8 bits, or a good JPEG
MODEL_ERROR = 10.0  # of a colouring's a and b


def scaled(image: Image, scales: Float[Array, "b k"]) -> Float[Array, "b k H W 3"]:
    """Pictures in [-1,1] with their chroma times k scales each, at their own lightness."""
    lab = color.srgb_to_lab(jnp.clip(color.to_unit(image), 0.0, 1.0))[:, None]
    ab = lab[..., 1:] * scales[..., None, None, None]
    lightness = jnp.broadcast_to(lab[..., :1], (*ab.shape[:-1], 1))
    fitted = color.fit_gamut(jnp.concatenate([lightness, ab], axis=-1))
    versions: Array = color.from_unit(jnp.clip(color.lab_to_srgb(fitted), 0.0, 1.0))
    return versions


def faded(image: Image, share: Float[Array, " b"]) -> Image:
    """Pictures in [-1,1] with a share of their chroma, as a file of 8 bits holds them."""
    versions = scaled(image, share[:, None])[:, 0]
    return jnp.round((versions + 1.0) * 127.5) / 127.5 - 1.0


def gain(
    scores: Float[Array, "b k"] | None,
    colourfulness: Float[Array, "b k"],
    usual: Float[Array, ""] | float,
) -> Float[Array, " b"]:
    """The geometric mean of `GAINS` by their probability.

    The logarithm of a gain's probability is the sum of what is believed of gains, of what is
    believed of the colourfulness that the picture has with it, and of what a ranker says.

    Args:
        scores: the ranker's, of the versions at `GAINS`; None without a ranker that knows gains.
        colourfulness: of the versions.
        usual: the photographs' mean.
    """
    place = jnp.log(jnp.asarray(GAINS) / USUAL_GAIN) / GAIN_SPREAD
    away = jnp.log(jnp.maximum(colourfulness, 1e-3) / usual) / COLOURFULNESS_SPREAD
    evidence = -0.5 * jnp.square(away)
    evidence -= 0.5 * (FREEDOM + 1.0) * jnp.log1p(jnp.square(place) / FREEDOM)
    if scores is not None:
        evidence += scores
    share = jnp.exp(evidence - evidence.max(axis=1, keepdims=True))
    share /= share.sum(axis=1, keepdims=True)
    return jnp.exp(share @ jnp.log(jnp.asarray(GAINS)))


def weights(t_start: Float[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray]:
    """By which numbers the faded chroma ab' and the model's are multiplied, to be added then.

    With f = 1 - T0, ab'/f and the model's are two estimates of the true chroma, with errors of
    `NOISE` / f and `MODEL_ERROR`; the mixture of least error weighs them by one over the squares.
    Where no colour is left, T0 = 1, all is the model's.
    """
    share = 1.0 - t_start
    model, noise = np.float32(MODEL_ERROR**2), np.float32(NOISE**2)
    both = model * share**2 + noise
    return model * share / both, noise / both
