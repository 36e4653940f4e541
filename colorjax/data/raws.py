"""Raw files of cameras and DNG, by LibRaw, which the extra colorjax[raw] brings."""

from io import BytesIO
from typing import Any

import numpy as np
from jaxtyping import Float

SUFFIXES = (".dng", ".nef", ".cr2", ".cr3", ".arw", ".orf", ".rw2", ".raf", ".pef")
_SRGB = (2.4, 12.92)  # power and slope of its curve


def size(data: bytes) -> tuple[int, int]:
    """Width and height of the developed picture.

    Raises:
        Exception: whatever LibRaw raises for a file that it cannot read.
    """
    with _opened(data) as raw:
        turned = raw.sizes.flip in (5, 6)
        sides = (raw.sizes.width, raw.sizes.height)
        return sides[::-1] if turned else sides


def read(data: bytes) -> Float[np.ndarray, "h w 3"]:
    """sRGB in [0,1], upright, developed by the camera's own white balance and brightness.

    Raises:
        Exception: whatever LibRaw raises for a file that it cannot read.
    """
    with _opened(data) as raw:
        levels = raw.postprocess(
            use_camera_wb=True, no_auto_bright=True, output_bps=16, gamma=_SRGB
        )
    return np.divide(levels, np.float32(65535.0), dtype=np.float32)


def _opened(data: bytes) -> Any:
    import rawpy  # of the extra, and slow to load

    return rawpy.imread(BytesIO(data))
