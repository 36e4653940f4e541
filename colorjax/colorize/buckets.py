"""The few sizes that a model works at, and what tells one photograph from another."""

import hashlib
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

Size = tuple[int, int]  # height, width

ASPECTS = (1 / 2, 2 / 3, 1.0, 3 / 2, 2.0)  # width over height


def buckets(image_size: int, multiple: int) -> tuple[Size, ...]:
    """The few (height, width) that a model works at: multiples of `multiple`, about one area."""
    side = image_size / multiple
    sizes = []
    for aspect in ASPECTS:
        height = max(1, round(side / math.sqrt(aspect)))
        width = max(1, round(side * math.sqrt(aspect)))
        sizes.append((height * multiple, width * multiple))
    return tuple(dict.fromkeys(sizes))


def bucket_for(height: int, width: int, sizes: Sequence[Size]) -> Size:
    """The bucket whose aspect ratio is nearest."""
    aspect = math.log(width / height)
    return min(sizes, key=lambda size: abs(math.log(size[1] / size[0]) - aspect))


def fingerprint(lightness: Float[np.ndarray, "h w"]) -> int:
    """32 bits of what a picture shows: SHA-256 of its size and lightness, in 1/100 of L."""
    digest = hashlib.sha256(np.asarray(lightness.shape, "<i4").tobytes())
    digest.update(np.round(lightness * 100.0).astype("<i2").tobytes())
    return int.from_bytes(digest.digest()[:4], "little")
