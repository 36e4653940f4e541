"""Where things go from one frame to the next, and how far that can be trusted.

Dense optical flow (DIS, Kroeger et al. 2016, by OpenCV), trusted where both frames are of one
lightness, and where the flow back leads to the same place.
"""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float

SIDE = 256  # of the square whose area motion is measured at, in pixels, if the model's is less
CUT = 0.5  # of the histograms' distance, in 0..1, of two frames of different scenes
_SAME_LIGHTNESS = 6.0  # of L: a difference beyond it is no longer the same thing
_SAME_PLACE = 1.0  # of pixels, there and back
_BINS = 32
_LEAST_SIDE = 12  # DIS takes no less


class Motion(NamedTuple):
    """From one frame to another.

    Attributes:
        flow: where each pixel of the one lies in the other, in pixels from its place.
        trust: how far that can be trusted, in [0,1].
    """

    flow: Float[np.ndarray, "h w 2"]
    trust: Float[np.ndarray, "h w"]


def working_size(height: int, width: int, area: int) -> tuple[int, int]:
    """(height, width) that motion is measured at, of a frame's shape; `area` is the model's."""
    scale = min(1.0, (max(SIDE * SIDE, area) / (height * width)) ** 0.5)
    return max(_LEAST_SIDE, round(height * scale)), max(_LEAST_SIDE, round(width * scale))


def is_cut(before: Float[np.ndarray, "h w"], after: Float[np.ndarray, "h2 w2"]) -> bool:
    """Whether two frames are of different scenes, by their lightness, or of different films."""
    if before.shape != after.shape:
        return True
    histograms = [
        np.histogram(light, _BINS, (0.0, 100.0))[0] / light.size for light in (before, after)
    ]
    return bool(np.abs(histograms[0] - histograms[1]).sum() / 2.0 > CUT)


def between(
    here: Float[np.ndarray, "h w"], there: Float[np.ndarray, "h w"]
) -> tuple[Motion, Motion]:
    """The motion from one frame to another, and back, by their lightness."""
    frames = [np.round(light * np.float32(2.55)).astype(np.uint8) for light in (here, there)]
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow = dis.calc(frames[0], frames[1], None)  # type: ignore[call-overload]
    back = dis.calc(frames[1], frames[0], None)  # type: ignore[call-overload]
    return (
        Motion(flow, _trust(here, there, flow, back)),
        Motion(back, _trust(there, here, back, flow)),
    )


def _trust(
    here: np.ndarray, there: np.ndarray, flow: np.ndarray, back: np.ndarray
) -> Float[np.ndarray, "h w"]:
    unlike = (warped(there, flow) - here) / _SAME_LIGHTNESS
    astray = np.linalg.norm(flow + warped(back, flow), axis=-1) / _SAME_PLACE
    trust: np.ndarray = np.exp(-(unlike**2) - astray**2).astype(np.float32)
    return trust


def warped(values: np.ndarray, flow: Float[np.ndarray, "h w 2"]) -> np.ndarray:
    """What lies where the flow leads to; beyond the rim it is the rim's."""
    height, width = flow.shape[:2]
    down, right = np.mgrid[:height, :width].astype(np.float32)
    places = (right + flow[..., 0], down + flow[..., 1])
    return cv2.remap(
        np.ascontiguousarray(values, np.float32),
        *places,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )


def change(
    ab: Float[np.ndarray, "h w 2"], before: Float[np.ndarray, "h w 2"], motion: Motion
) -> float:
    """The mean distance of a frame's colours from those that were there before, where the flow,
    from the frame to the one before, is right: its flicker, in units of ab."""
    distance = np.linalg.norm(ab - warped(before, motion.flow), axis=-1)
    return float((motion.trust * distance).sum() / max(float(motion.trust.sum()), 1e-6))
