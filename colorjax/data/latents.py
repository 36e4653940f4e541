"""Latents that were made once, before training: what stands of them beside the pictures.

A record of a split with cached latents has views in the place of its picture: its crops, each as
it is and mirrored, as lossless PNG files (the luminance is read of them), and beside each the
moments of its posterior by the VAE's encoder. The manifest says which VAE's.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from colorjax.data import records, transforms
from colorjax.errors import UserError

SECTION = "latents"  # of a manifest
_TYPE = np.dtype("<f4")
Moments = Float32[np.ndarray, "h w c"]


class Cache(NamedTuple):
    """What a split's cached latents are of."""

    sha256: str  # of the VAE's file in its release
    size: int  # pixels of a view's side
    crops: int  # random crops of each picture; 0 where it has the model's size as it is
    shape: tuple[int, int, int]  # of the moments


def of_split(directory: str | Path, split: str) -> Cache | None:
    """What a prepared directory says of a split's latents; None if it has pictures.

    Raises:
        UserError: the manifest is missing or damaged.
    """
    section = records.read_manifest(directory).get(SECTION, {}).get(split)
    if section is None:
        return None
    return Cache(section["sha256"], section["size"], section["crops"], tuple(section["shape"]))


def check(cache: Cache, directory: str | Path, size: int, changed_share: float) -> None:
    """Checks that views can be given out as they are.

    Raises:
        UserError: they have another size, or pictures are to have other colours.
    """
    if cache.size != size:
        raise UserError(
            f"the latents of '{directory}' are of {cache.size} pixels, and the model's pictures "
            f"have {size}: cache them again, by a release of that size"
        )
    if changed_share:
        raise UserError(
            f"the latents of '{directory}' are of pictures as they are: turned_share and "
            "gray_share must be 0 with them, or train on the pictures"
        )


def pack(pixels: transforms.Image, moments: Moments) -> records.View:
    """A view as a record holds it."""
    return [transforms.encode_png(pixels), np.ascontiguousarray(moments, _TYPE).tobytes()]


def draw(
    record: records.Record, rng: np.random.Generator, cache: Cache
) -> tuple[transforms.Image, Moments]:
    """One of a record's crops and, with probability one half, its mirror image, as moments too.

    Of a single crop it draws what `transforms.for_training` does: the same rng gives the same view.
    """
    assert record.views is not None  # the manifest says that there are some
    crop = int(rng.integers(cache.crops)) if cache.crops > 1 else 0
    flipped = rng.random() < 0.5
    image, moments = record.views[2 * crop + flipped]
    return transforms.decode(image), np.frombuffer(moments, _TYPE).reshape(cache.shape)
