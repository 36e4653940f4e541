"""The few sizes that a model works at."""

import math
from collections.abc import Sequence

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
