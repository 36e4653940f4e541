"""Colours between two keyframes, brought along the motion from both, as far as it is trusted."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float

from colorjax.colorize.film.motion import Motion, warped

KEPT = 0.5  # of a keyframe's own colours that those carried to it replace, where they are trusted
_SPREAD = 8.0  # pixels over which colours are spread to where no motion leads
_LEAST = 0.05  # of confidence: below it, what is around counts for more


class Carried(NamedTuple):
    """Colours that came along the motion, and how sure that is, in [0,1]."""

    ab: Float[np.ndarray, "h w 2"]
    confidence: Float[np.ndarray, "h w"]


def key(ab: Float[np.ndarray, "h w 2"]) -> Carried:
    """A keyframe's colours, which are sure everywhere."""
    return Carried(ab, np.ones(ab.shape[:2], np.float32))


def along(carried: Carried, motion: Motion) -> Carried:
    """A frame later; `motion` leads from that frame back to where the colours are.

    A way is as sure as its least sure step.
    """
    confidence = np.minimum(warped(carried.confidence, motion.flow), motion.trust)
    return Carried(warped(carried.ab, motion.flow), confidence)


def renewed(carried: Carried, own: Float[np.ndarray, "h w 2"]) -> Float[np.ndarray, "h w 2"]:
    """A keyframe's colours, of the model's own and of those that came to it."""
    share = (KEPT * carried.confidence)[..., None]
    ab: np.ndarray = share * carried.ab + (1.0 - share) * own
    return ab.astype(np.float32)


def between(
    forth: Sequence[Carried], back: Sequence[Carried | None]
) -> list[Float[np.ndarray, "h w 2"]]:
    """The colours of the frames from one keyframe to the next, without these two.

    From either they count less the further it is, so nothing jumps at a keyframe.

    Args:
        forth: what came from the keyframe before.
        back: what came from the one behind, or None where the scene ends.
    """
    frames = []
    for place, (earlier, later) in enumerate(zip(forth, back, strict=True), 1):
        share = place / (len(forth) + 1)
        ways = [(earlier, 1.0)]
        if later is not None:
            ways = [(earlier, 1.0 - share), (later, share)]
        weight = sum(confidence * part for (_, confidence), part in ways)
        total = sum(ab * (confidence * part)[..., None] for (ab, confidence), part in ways)
        frames.append(_filled(np.asarray(total), np.asarray(weight)))
    return frames


def _filled(total: np.ndarray, weight: np.ndarray) -> Float[np.ndarray, "h w 2"]:
    """Weighted colours by their weight, and by what is around where they have next to none."""
    near = cv2.GaussianBlur(total, (0, 0), _SPREAD) + 1e-6 * total.mean(axis=(0, 1))
    of_near = cv2.GaussianBlur(weight, (0, 0), _SPREAD) + np.float32(1e-6) * weight.mean()
    around = near / np.maximum(of_near, 1e-12)[..., None]
    ab: np.ndarray = (total + _LEAST * around) / (weight + np.float32(_LEAST))[..., None]
    return ab.astype(np.float32)
