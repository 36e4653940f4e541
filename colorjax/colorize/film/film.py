"""A film on its way: which frames the model colours, and all frames in their order.

A frame is a keyframe, which the model colours by the one noise of all frames, where a scene begins,
so many frames after the last one, and where too little of the picture can still be followed from
there. The others get the colours of the keyframes around them.
"""

import dataclasses
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from colorjax.colorize.chroma import recombine
from colorjax.colorize.chroma.recombine import Chroma
from colorjax.colorize.film import carrying, motion
from colorjax.colorize.film.carrying import Carried
from colorjax.colorize.film.motion import Motion
from colorjax.colorize.jobs import Job, Outcome, Ready
from colorjax.errors import UserError

INTERVAL = 8  # frames from one keyframe to the next at most
FOLLOWED = 0.6  # of the picture, below which a frame is coloured anew


@dataclass
class Frame:
    """A frame that waits for its colours, or for those before it."""

    item: Ready
    lightness: Float[np.ndarray, "h w"] | None = None  # at the size that motion is measured at
    before: Motion | None = None  # to the frame before; None where a scene begins
    after: Motion | None = None  # from that frame to this one
    is_key: bool = False
    outcome: Outcome | None = None  # the model's, of a keyframe
    ab: Float[np.ndarray, "h w 2"] | None = None  # a keyframe's, with what came along the motion


@dataclass
class Film:
    """Frames in their order.

    Attributes:
        interval: frames from one keyframe to the next at most; 1 colours every frame.
    """

    seed: int
    interval: int = INTERVAL
    scenes: int = 0
    frames: int = 0
    by_model: int = 0
    _waiting: deque[Frame] = field(default_factory=deque)
    _last: Frame | None = None  # that was read
    _since: int = 0  # keyframes
    _followed: Float[np.ndarray, "h w"] | None = None  # how surely, from the last keyframe on
    _ended: bool = False
    _ab: Float[np.ndarray, "h w 2"] | None = None  # of the frame that was given back last
    _changes: list[float] = field(default_factory=list)

    @property
    def pixels(self) -> int:
        """What the waiting frames take of the memory, as `Job.pixels`."""
        return sum(frame.item.pixels for frame in self._waiting if isinstance(frame.item, Job))

    def keyframes(self, prepared: Iterator[Ready]) -> Iterator[Ready]:
        """Of frames in their order those that the model shall colour; the others wait here."""
        for item in prepared:
            frame = self._read(item)
            self._waiting.append(frame)
            if frame.is_key or isinstance(item, Outcome):
                yield item
        self._ended = True

    def coloured(self, outcome: Outcome) -> Iterator[Outcome]:
        """Takes a keyframe's outcome; gives back all frames whose colours are known by now."""
        for frame in self._waiting:
            if frame.item is outcome or outcome.job is frame.item:
                frame.outcome = outcome
            elif isinstance(frame.item, Job) and frame.item.request is outcome.request:
                frame.outcome = outcome  # of an error, which has no job
        yield from self._complete()

    def rest(self) -> Iterator[Outcome]:
        """The frames behind the last keyframe."""
        if self._ended:
            yield from self._complete()

    @property
    def figures(self) -> dict[str, int | float]:
        """How many frames, by the model how many, and the mean change of colour from frame to frame
        along the motion, in units of ab."""
        figures: dict[str, int | float] = {"frames": self.frames, "by_model": self.by_model}
        if self._changes:
            figures["flicker"] = round(float(np.mean(self._changes)), 3)
        return figures

    def _read(self, item: Ready) -> Frame:
        if isinstance(item, Outcome):
            return Frame(item)
        size = _size(item)
        frame = Frame(item, recombine.to_model_size(item.lightness, *size))
        last, self._last = self._last, frame
        assert frame.lightness is not None
        if last is None or _is_other_scene(frame, last):
            frame.is_key = True
        else:
            frame.before, frame.after = motion.between(frame.lightness, _light(last))
            assert self._followed is not None
            followed = np.minimum(
                motion.warped(self._followed, frame.before.flow), frame.before.trust
            )
            self._since, self._followed = self._since + 1, followed
            frame.is_key = self._since >= self.interval or followed.mean() < FOLLOWED
        if frame.is_key:
            self._since, self._followed = 0, np.ones(size, np.float32)
        return frame

    def _complete(self) -> Iterator[Outcome]:
        """Frames from the front of those that wait, up to the last whose colours are known."""
        while self._waiting:
            segment = self._segment()
            if segment is None:
                return
            for _ in segment:
                self._waiting.popleft()
            yield from self._carried(segment)

    def _segment(self) -> list[Frame] | None:
        """A keyframe and the frames behind it that are not; None if one must still be waited for.

        Behind the segment stands the next keyframe, coloured, or a cut, or the end.
        """
        first = self._waiting[0]
        if isinstance(first.item, Outcome):
            return [first]
        if first.outcome is None:
            return None
        for number, frame in enumerate(list(self._waiting)[1:], 1):
            if frame.is_key:
                is_known = frame.before is None or frame.outcome is not None
                return list(self._waiting)[:number] if is_known else None
        return list(self._waiting) if self._ended else None

    def _carried(self, segment: list[Frame]) -> Iterator[Outcome]:
        first = segment[0]
        if isinstance(first.item, Outcome):
            yield first.item
            return
        assert first.outcome is not None
        ab = own_colours(first.outcome) if first.ab is None else first.ab
        if ab is None:
            yield from (self._lost(frame, first.outcome) for frame in segment)
            return
        self.by_model += first.outcome.job is not None
        others = [frame for frame in segment[1:] if isinstance(frame.item, Job)]
        forth, carried = [], carrying.key(ab)
        for frame in others:
            assert frame.before is not None
            carried = carrying.along(carried, frame.before)
            forth.append(carried)
        colours = iter([ab, *carrying.between(forth, self._back(others, carried))])
        for frame in segment:
            if isinstance(frame.item, Outcome):
                yield frame.item
            else:
                yield self._given(frame, next(colours))

    def _back(self, frames: list[Frame], carried: Carried) -> list[Carried | None]:
        """What comes to frames from the keyframe behind them, which first gets its own colours."""
        behind = self._waiting[0] if self._waiting else None
        if behind is None or behind.outcome is None or behind.before is None:
            return [None] * len(frames)
        own, came = own_colours(behind.outcome), carrying.along(carried, behind.before)
        behind.ab = came.ab if own is None else carrying.renewed(came, own)
        back, after = carrying.key(behind.ab), behind.after
        ways: list[Carried | None] = []
        for frame in reversed(frames):
            assert after is not None
            back = carrying.along(back, after)
            ways.append(back)
            after = frame.after
        return ways[::-1]

    def _given(self, frame: Frame, ab: Float[np.ndarray, "h w 2"]) -> Outcome:
        assert isinstance(frame.item, Job) and frame.lightness is not None
        self.frames += 1
        if frame.before is None:
            self.scenes += 1
        elif self._ab is not None:
            self._changes.append(motion.change(ab, self._ab, frame.before))
        self._ab = ab
        computed = (self.seed, [Chroma(ab, frame.lightness)])
        if frame.outcome is not None and frame.outcome.job is not None:
            return dataclasses.replace(frame.outcome, computed=computed)
        return Outcome(frame.item.request, frame.item, computed)

    def _lost(self, frame: Frame, outcome: Outcome) -> Outcome:
        if isinstance(frame.item, Outcome):
            return frame.item
        self._ab = None
        error = outcome.error or UserError("the keyframe before it could not be coloured")
        return Outcome(frame.item.request, error=error)


def _size(job: Job) -> tuple[int, int]:
    height, width = job.lightness.shape
    return motion.working_size(height, width, job.small.size)


def _is_other_scene(frame: Frame, last: Frame) -> bool:
    """Whether the picture is cut there, or the words are others."""
    assert isinstance(frame.item, Job) and isinstance(last.item, Job)
    is_said = frame.item.request.prompt != last.item.request.prompt
    return is_said or motion.is_cut(_light(last), _light(frame))


def _light(frame: Frame) -> Float[np.ndarray, "h w"]:
    assert frame.lightness is not None
    return frame.lightness


def own_colours(outcome: Outcome) -> Float[np.ndarray, "h w 2"] | None:
    """The model's colours of a keyframe at the size that motion is measured at."""
    if outcome.job is None:
        return None
    job, (_, (raw, *_)) = outcome.job, outcome.computed
    light = recombine.to_model_size(job.lightness, *_size(job))
    return recombine.enlarged(recombine.chroma_of(raw, job.small), light).ab


def in_order(path: Path) -> tuple[list[Any], str]:
    """A key that sorts frames by their numbers: 2 before 10."""
    parts = re.split(r"(\d+)", path.name)
    return [int(part) if part.isdecimal() else part.lower() for part in parts], str(path)
