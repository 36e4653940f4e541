"""Frames of a film: colours carried along the motion, so that they do not flicker.

Every frame is coloured by the same noise. What the frame before has is brought along by dense
optical flow (DIS, Kroeger et al. 2016, by OpenCV) and takes the place of the frame's own colours as
far as the flow can be trusted: where both frames are of one lightness there, and where the flow
back leads to the same place. A scene begins anew where the histogram of lightness jumps.
"""

import dataclasses
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Float

from colorjax.colorize.chroma import recombine
from colorjax.colorize.chroma.recombine import Chroma
from colorjax.colorize.jobs import Job, Outcome
from colorjax.colorize.painters import Colouring

SIDE = 256  # of the square whose area motion is measured at, in pixels, if the model's is less
MOST_TRUST = 0.9  # so that what the flow gets wrong is forgotten, by a tenth a frame
CUT = 0.5  # of the histograms' distance, in 0..1, of two frames of different scenes
_SAME_LIGHTNESS = 6.0  # of L: a difference beyond it is no longer the same thing
_SAME_PLACE = 1.0  # of pixels, there and back
_BINS = 32


class Frame(NamedTuple):
    """What of a frame the next one needs."""

    lightness: Float[np.ndarray, "h w"]
    carried: Float[np.ndarray, "h w 2"]
    own: Float[np.ndarray, "h w 2"]  # as the model coloured it alone


@dataclass
class Film:
    """Frames in their order; tells how much less they flicker."""

    painter: Colouring
    scenes: int = 0
    _before: Frame | None = None
    _changes: list[tuple[float, float]] = field(default_factory=list)

    def carried(self, outcome: Outcome) -> Outcome:
        """A frame's outcome with the colours that its scene has already."""
        if outcome.job is None:
            return outcome
        seed, (raw, *_) = outcome.computed
        chroma = at_working_size(outcome.job, recombine.chroma_of(raw, outcome.job.small))
        chroma = self._next(chroma)
        return dataclasses.replace(outcome, computed=(seed, [chroma]))

    def _next(self, chroma: Chroma) -> Chroma:
        before = self._before
        if before is None or is_cut(before.lightness, chroma.lightness):
            self.scenes += 1
            self._before = Frame(chroma.lightness, chroma.ab, chroma.ab)
            return chroma
        flow, trust = motion(chroma.lightness, before.lightness)
        along = warped(before.carried, flow)
        share = (MOST_TRUST * trust)[..., None]
        ab = share * along + (1.0 - share) * chroma.ab
        self._changes.append(
            (change(ab, along, trust), change(chroma.ab, warped(before.own, flow), trust))
        )
        self._before = Frame(chroma.lightness, ab, chroma.ab)
        return Chroma(ab, chroma.lightness)

    @property
    def figures(self) -> dict[str, float]:
        """The mean change of colour from frame to frame along the motion, in units of ab: as the
        frames are, and as they would be one by one."""
        if not self._changes:
            return {}
        carried, alone = np.mean(self._changes, axis=0)
        return {"flicker": round(float(carried), 3), "flicker_one_by_one": round(float(alone), 3)}


def in_order(path: Path) -> tuple[list[Any], str]:
    """A key that sorts frames by their numbers: 2 before 10."""
    parts = re.split(r"(\d+)", path.name)
    return [int(part) if part.isdecimal() else part.lower() for part in parts], str(path)


def at_working_size(job: Job, chroma: Chroma) -> Chroma:
    """A frame's chroma at the size that motion is measured at."""
    height, width = job.lightness.shape
    area = max(SIDE * SIDE, chroma.lightness.size)
    scale = min(1.0, (area / (height * width)) ** 0.5)
    size = max(12, round(height * scale)), max(12, round(width * scale))  # DIS takes no less
    return recombine.enlarged(chroma, recombine.to_model_size(job.lightness, *size))


def is_cut(before: Float[np.ndarray, "h w"], after: Float[np.ndarray, "h2 w2"]) -> bool:
    """Whether two frames are of different scenes, or of different films."""
    if before.shape != after.shape:
        return True
    histograms = [
        np.histogram(light, _BINS, (0.0, 100.0))[0] / light.size for light in (before, after)
    ]
    return bool(np.abs(histograms[0] - histograms[1]).sum() / 2.0 > CUT)


def motion(
    here: Float[np.ndarray, "h w"], there: Float[np.ndarray, "h w"]
) -> tuple[Float[np.ndarray, "h w 2"], Float[np.ndarray, "h w"]]:
    """Where each pixel of one frame lies in the other, in pixels from its place, and how far that
    can be trusted, in [0,1]."""
    frames = [np.round(light * np.float32(2.55)).astype(np.uint8) for light in (here, there)]
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow = dis.calc(frames[0], frames[1], None)  # type: ignore[call-overload]
    back = dis.calc(frames[1], frames[0], None)  # type: ignore[call-overload]
    unlike = (warped(there, flow) - here) / _SAME_LIGHTNESS
    astray = np.linalg.norm(flow + warped(back, flow), axis=-1) / _SAME_PLACE
    trust: np.ndarray = np.exp(-(unlike**2) - astray**2).astype(np.float32)
    return flow, trust


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
    ab: Float[np.ndarray, "h w 2"],
    along: Float[np.ndarray, "h w 2"],
    trust: Float[np.ndarray, "h w"],
) -> float:
    """The mean distance of colours from those that were there before, where the flow is right."""
    distance = np.linalg.norm(ab - along, axis=-1)
    return float((trust * distance).sum() / max(float(trust.sum()), 1e-6))
