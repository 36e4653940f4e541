"""What is measured of each picture, on the device: its decodes at every scale of its colour."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from colorjax.data import pipeline
from colorjax.errors import UserError
from colorjax.maths import cold_diffusion, color, metrics
from colorjax.maths.schedule import split_moments
from colorjax.maths.types import Array, Image, Latents, Params
from colorjax.methods import lcad

Tables = dict[str, Any]  # arrays by name, a row for each picture

SCALES = tuple(round(0.2 * i, 1) for i in range(11))
LEAST_COLOURFULNESS = 15.0  # below it ratios to s = 1 are mostly noise
LEAST_CHROMA = 5.0  # of pixels that have a hue


def colourful_pictures(
    directory: Path, split: str, size: int, batch_size: int, limit: int
) -> Iterator[Float[np.ndarray, "b H W 3"]]:
    """The split's first pictures with a colourfulness above 15, in [-1, 1], in full batches.

    All batches have one size, for one program; what does not fill the last one is left out.

    Raises:
        UserError: fewer than a batch of them.
    """
    waiting: list[np.ndarray] = []
    count = 0
    batches = pipeline.eval_batches(
        directory, split, size=size, batch_size=batch_size, level="none", tokenize=_no_tokens
    )
    for batch in batches:
        rgb = batch["image"][: int(batch["weights"].sum())].astype(np.float32) / 255.0
        keep = np.asarray(metrics.colourfulness(jnp.asarray(rgb))) > LEAST_COLOURFULNESS
        waiting += list(color.from_unit(rgb[keep]))
        while len(waiting) >= batch_size and count < limit:
            yield np.stack(waiting[:batch_size])
            waiting, count = waiting[batch_size:], count + batch_size
        if count >= limit:
            return
    if not count:
        raise UserError(
            f"'{directory}' has only {len(waiting)} pictures of split {split!r} with a "
            f"colourfulness above {LEAST_COLOURFULNESS:g}; give a --batch_size of at most that"
        )


def _no_tokens(texts: Any) -> np.ndarray:
    return np.zeros((len(texts), 0), np.int32)


def measure(model: lcad.LCAD, params: Params, image: Image) -> Tables:
    """The measures of a batch of pictures.

    Returns:
        `colourfulness`, `chroma`, `hue_drift` and `luma_mse` [b, scales]; `latents`, `residual`
        [b, places, channels] and `lab` [b, places, 3] for the probe, a place being a latent's
        pixel; `shown` [b, scales, H, W, 3], the decodes in [0,1].
    """
    gray = color.gray(color.lightness(color.to_unit(image)))
    z_color, z_gray = (_latents(model, params, of) for of in (image, color.from_unit(gray)))

    def decoded(scale: Float[Array, ""]) -> Float[Array, "b H W 3"]:
        raw = lcad.decode(model, params, cold_diffusion.rescale(z_color, z_gray, scale), None)
        return jnp.clip(color.to_unit(raw), 0.0, 1.0)

    # One scale after the other: the decoder's maps at all of them would be eleven times as large.
    pictures = jax.lax.map(decoded, jnp.asarray(SCALES))
    reference = color.srgb_to_lab(pictures[SCALES.index(1.0)])

    def of_pictures(picture: Float[Array, "b H W 3"]) -> dict[str, Float[Array, "b"]]:
        lab = color.srgb_to_lab(picture)
        luma = color.gray(lab[..., :1])
        return {
            "colourfulness": metrics.colourfulness(picture),
            "chroma": chroma(lab).mean(axis=(1, 2)),
            "hue_drift": hue_drift(lab, reference),
            "luma_mse": metrics.mse(luma, gray),
        }

    measured = jax.lax.map(of_pictures, pictures)
    side = model.vae.factor
    cells = color.srgb_to_lab(color.to_unit(image))
    count, height, width = z_color.shape[:3]
    cells = cells.reshape(count, height, side, width, side, 3).mean(axis=(2, 4))
    return {
        **{name: values.T for name, values in measured.items()},
        "latents": z_color.reshape(count, height * width, -1),
        "residual": (z_color - z_gray).reshape(count, height * width, -1),
        "lab": cells.reshape(count, height * width, 3),
        "shown": pictures.swapaxes(0, 1),
    }


def _latents(model: lcad.LCAD, params: Params, image: Image) -> Latents:
    mean, _ = split_moments(lcad.encode_image(model, params, image))
    return mean * model.scaling_factor


def chroma(lab: Float[Any, "*batch 3"]) -> Float[Any, "*batch"]:
    """The distance from gray, in Lab's units."""
    return jnp.sqrt(jnp.square(lab[..., 1:]).sum(axis=-1))


def hue_drift(lab: Float[Any, "b h w 3"], reference: Float[Any, "b h w 3"]) -> Float[Any, " b"]:
    """Mean angle in degrees between the hues of pixels that have one in both; 0 where none has.

    A pixel has a hue if its chroma is above 5: nearer to gray the angle is mostly noise.
    """
    both = (chroma(lab) > LEAST_CHROMA) & (chroma(reference) > LEAST_CHROMA)
    hues = [jnp.arctan2(of[..., 2], of[..., 1]) for of in (lab, reference)]
    # Into -pi..pi before the absolute value: hues of 179 and -179 degrees are 2 degrees apart.
    turn = jnp.abs(jnp.mod(hues[0] - hues[1] + jnp.pi, 2.0 * jnp.pi) - jnp.pi)
    total = jnp.where(both, turn, 0.0).sum(axis=(1, 2))
    return jnp.degrees(total / jnp.maximum(both.sum(axis=(1, 2)), 1))
