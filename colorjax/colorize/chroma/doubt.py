"""Where the colours are a guess: how far samples of one photograph lie apart."""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from colorjax.colorize.chroma.recombine import Chroma

SAMPLES = 8
FULL = 40.0  # the end of the map's scale, in units of ab: the same for all maps
_MOST_SIDE = 1024  # of a map, in pixels: it has no finer detail
_LEGEND = 28


def spread(samples: Sequence[Chroma]) -> Float[np.ndarray, "h w"]:
    """The standard deviation of ab in each pixel, in CIE Lab's units.

    The root of the sum of the unbiased variances of a and b: for samples around a mean it is how
    far one of them lies from it, as a root mean square.
    """
    ab = np.stack([sample.ab for sample in samples]).astype(np.float64)
    deviation: np.ndarray = np.sqrt(ab.var(axis=0, ddof=1).sum(axis=-1))
    return deviation.astype(np.float32)


def figures(doubt: Float[np.ndarray, "h w"]) -> dict[str, float]:
    """The map in numbers: its mean, and what 95 percent of the pixels stay below."""
    return {
        "doubt_mean": round(float(doubt.mean()), 3),
        "doubt_95": round(float(np.percentile(doubt, 95)), 3),
    }


def drawn(doubt: Float[np.ndarray, "h w"], height: int, width: int) -> UInt8[np.ndarray, "H W 3"]:
    """The map as a picture of a photograph's shape with its scale below; dark is certain."""
    shown = mapped(doubt, height, width)
    size = (shown.shape[1], shown.shape[0])
    page = Image.new("RGB", (max(size[0], 160), size[1] + _LEGEND), "white")
    page.paste(Image.fromarray(shown), (0, 0))
    bar = np.tile(np.linspace(0.0, FULL, 120, dtype=np.float32), (8, 1))
    page.paste(Image.fromarray(_coloured(bar)), (16, size[1] + 4))
    draw = ImageDraw.Draw(page)
    for value, left in ((0, 14), (FULL / 2, 70), (FULL, 130)):
        draw.text((left, size[1] + 13), f"{value:g}", fill="black")
    return np.asarray(page)


def mapped(doubt: Float[np.ndarray, "h w"], height: int, width: int) -> UInt8[np.ndarray, "H W 3"]:
    """The map alone, of a photograph's shape and at most 1024 pixels on its longer side."""
    shrink = min(1.0, _MOST_SIDE / max(height, width))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    smooth = cv2.resize(np.asarray(doubt, np.float32), size, interpolation=cv2.INTER_LINEAR)
    return _coloured(smooth)


def _coloured(doubt: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    levels = np.round(np.clip(doubt / FULL, 0.0, 1.0) * 255).astype(np.uint8)
    return np.ascontiguousarray(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)[..., ::-1])
