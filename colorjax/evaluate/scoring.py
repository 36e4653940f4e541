"""One program that measures a batch: every row of the table, every measure, every network."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Float, Int32

from colorjax.devices import replicas
from colorjax.evaluate.networks import INCEPTION, Networks
from colorjax.maths import ciede2000, color, metrics, regions
from colorjax.maths.types import Array, Params
from colorjax.models import perceptual
from colorjax.models.inception import Inception
from colorjax.models.layers import apply
from colorjax.models.perceptual import Lpips

LPIPS_SIDE = 64  # smaller pictures are enlarged to it, or VGG16's last maps have nothing to see
HIGH_SHARE = 95.0  # percentile of a picture's colour errors
NAMES = {"vgg16": "lpips", "alexnet": "lpips_alex"}
Shown = Float[Array, "b h w 3"]  # [0,1]
Values = dict[str, Array]


class Measured(NamedTuple):
    """A batch as it is measured.

    Attributes:
        rows: the pictures of every row of the table, in [0,1].
        masks: where captions' phrases are; None where that is not known.
        instances: masks of instances, for the CDR; None without.
        input_ids: the captions as CLIP reads them; None without CLIP.
    """

    rows: Float[Array, "b r h w 3"]
    truth: Shown
    masks: Float[Array, "b k h w"] | None = None
    instances: Float[Array, "b m h w"] | None = None
    input_ids: Int32[Array, "b n"] | None = None


Program = Callable[[Measured], Values]


def program(networks: Networks, mesh: Mesh | None = None) -> Program:
    """The measures of a batch as one jitted program, each device of the mesh with a share.

    Returns arrays of pictures by rows: `mse`, `psnr`, `ssim`, `ssim_225`, `colourfulness`,
    `chroma_error`, `ciede2000`, `ciede2000_95`, and where there is what they need `lpips`,
    `lpips_alex`, `clip_score`, `cdr`, `region_labs` and features by network, `features_vgg16`.
    """
    run = functools.partial(_measure, networks)
    if mesh is None:
        jitted: Any = jax.jit(run)
        params = jax.device_put(networks.params)
        return lambda measured: jax.device_get(jitted(params, measured))
    parted = replicas.program(run, mesh, replicas.WHOLE, replicas.CUT)
    placed = replicas.place(networks.params, mesh, replicas.WHOLE)

    def measure(measured: Measured) -> Values:
        values: Values = replicas.to_host(
            parted(placed, replicas.place(measured, mesh, replicas.CUT))
        )
        return values

    return measure


def _measure(networks: Networks, params: Params, measured: Measured) -> Values:
    """All rows of a batch: one after another, so that the memory is that of one."""
    # What is shown is 8-bit, so that is what is measured.
    truth = measured.truth
    lab = color.srgb_to_lab(truth)
    taps = {name: _taps(name, params, truth) for name in networks.lpips}
    text = None
    if networks.clip is not None:
        assert measured.input_ids is not None
        text = networks.clip.embed_text(params["clip"], measured.input_ids)

    def row(image: Shown) -> Values:
        image = jnp.round(image * 255.0) / 255.0
        values = _distances(image, truth, lab)
        own_lab = color.srgb_to_lab(image)
        if measured.masks is not None:
            values["region_labs"] = regions.region_means(own_lab, measured.masks)
        if measured.instances is not None:
            pair = own_lab[..., 1:], lab[..., 1:]
            values["cdr"] = regions.colour_discrepancy_ratio(*pair, measured.instances)
        for name, of_truth in taps.items():
            own = _taps(name, params, image)
            values[NAMES[name]] = apply(Lpips(name), params[name], own, of_truth, method="between")
            if name == "vgg16":
                values["features_vgg16"] = perceptual.pooled(own)
        if networks.inception:
            unit = color.from_unit(image)
            values["features_inception"] = apply(Inception(), params[INCEPTION], unit)
        if networks.clip is not None and text is not None:
            embedded = networks.clip.embed_image(params["clip"], color.from_unit(image))
            values["clip_score"] = metrics.clip_score(embedded, text)
        return values

    rows = jax.lax.map(row, jnp.moveaxis(measured.rows, 1, 0))
    return {name: jnp.moveaxis(value, 0, 1) for name, value in rows.items()}


def _distances(image: Shown, truth: Shown, lab: Float[Array, "b h w 3"]) -> Values:
    """What needs no weights."""
    error = metrics.mse(image, truth)
    difference = ciede2000.difference(color.srgb_to_lab(image), lab)
    difference = difference.reshape(len(difference), -1)
    return {
        "mse": error,
        "psnr": metrics.psnr_per_image(error),
        "ssim": metrics.ssim(image, truth),
        "ssim_225": metrics.ssim(image, truth, metrics.CT2_DATA_RANGE),
        "colourfulness": metrics.colourfulness(image),
        "chroma_error": metrics.chroma_error(image, truth),
        "ciede2000": difference.mean(axis=1),
        "ciede2000_95": jnp.percentile(difference, HIGH_SHARE, axis=1),
    }


def _taps(backbone: str, params: Params, image: Shown) -> Any:
    enlarged = perceptual.enlarged(color.from_unit(image), LPIPS_SIDE)
    return apply(Lpips(backbone), params[backbone], enlarged, method="taps")
