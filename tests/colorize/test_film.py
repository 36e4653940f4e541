"""Frames of a film: golden values are motions and colours that the tests make."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from colorjax.colorize import jobs
from colorjax.colorize.film import carrying, film, motion
from colorjax.colorize.film.film import Film
from colorjax.colorize.painters import Colouring
from colorjax.errors import UserError
from colorjax.maths import color

HEIGHT, WIDTH = 96, 128


def texture(seed: int, low: float = 35, high: float = 75) -> np.ndarray:
    """A smooth field of lightness, larger than a frame."""
    coarse = np.random.default_rng(seed).uniform(low, high, (14, 20)).astype(np.float32)
    return np.clip(cv2.resize(coarse, (240, 160), interpolation=cv2.INTER_CUBIC), low, high)


def view(whole: np.ndarray, step: int) -> np.ndarray:
    """A view that moves three pixels to the right and one down each step."""
    return whole[10 + step : 10 + HEIGHT + step, 10 + 3 * step : 10 + WIDTH + 3 * step]


class Model:
    """Errs by 8 at each of its pixels in each frame, around colours that move."""

    def __init__(self, first: int = 0) -> None:
        self.first = first
        self.truth = np.stack([texture(5, -20, 20), texture(6, -20, 20)], axis=-1)
        self.asked: list[int] = []
        self.fails: set[int] = set()

    def outcome(self, job: jobs.Job, number: int) -> jobs.Outcome:
        self.asked.append(number)
        if number in self.fails:
            return jobs.Outcome(job.request, error=UserError("no colours"))
        height, width = job.small.shape
        noise = np.random.default_rng(self.first + number).normal(0, 8, (height, width, 2))
        seen = cv2.resize(view(self.truth, self.first + number), (width, height))
        lab = np.concatenate([job.small[..., None], seen + noise], axis=-1).astype(np.float32)
        raw = color.from_unit(color.lab_to_srgb(lab))
        return jobs.Outcome(job.request, job, (0, [raw]))


def run(
    lights: list[np.ndarray], model: Model, reel: Film, prompts: str = ""
) -> list[jobs.Outcome]:
    """All outcomes in the order in which they come, each keyframe computed as it is read."""
    rgb = [color.lab_to_srgb(np.stack([light, 0 * light, 0 * light], -1)) for light in lights]
    words = prompts or " " * len(rgb)
    requests = [
        jobs.Request(np.clip(frame, 0, 1).astype(np.float32), word)
        for frame, word in zip(rgb, words, strict=True)
    ]
    numbers = {id(request): i for i, request in enumerate(requests)}

    def computed() -> Iterator[jobs.Outcome]:
        for item in reel.keyframes(jobs.ready(requests, [(32, 48)], Colouring())):
            number = numbers[id(item.request)]
            yield item if isinstance(item, jobs.Outcome) else model.outcome(item, number)

    outcomes = [done for outcome in computed() for done in reel.coloured(outcome)]
    outcomes += reel.rest()
    assert [numbers[id(outcome.request)] for outcome in outcomes] == list(range(len(lights)))
    return outcomes


def ab(outcome: jobs.Outcome) -> np.ndarray:
    assert outcome.error is None, outcome.error
    return outcome.computed[1][0].ab


def test_frames_come_by_their_numbers() -> None:
    names = [Path(name) for name in ("f10.png", "f2.png", "f1.png", "a.png", "f02.png")]
    ordered = [path.name for path in sorted(names, key=film.in_order)]
    assert ordered == ["a.png", "f1.png", "f02.png", "f2.png", "f10.png"]


def test_motion_is_found_and_what_moved_lies_there() -> None:
    whole = texture(0)
    here, there = view(whole, 1), view(whole, 0)
    for (flow, trust), step, (one, other) in zip(
        motion.between(here, there), ([3, 1], [-3, -1]), ((here, there), (there, here))
    ):
        inner = flow[10:-10, 10:-10]
        np.testing.assert_allclose(np.median(inner, axis=(0, 1)), step, atol=0.15)
        assert trust[10:-10, 10:-10].mean() > 0.8
        assert np.abs(motion.warped(other, flow) - one)[10:-10, 10:-10].mean() < 1.0
    assert motion.between(here, 100 - there)[0].trust.mean() < 0.2, "nothing there is the same"


def test_a_cut_is_a_jump_of_the_histogram() -> None:
    whole = texture(1)
    assert not motion.is_cut(view(whole, 0), view(whole, 3))
    assert motion.is_cut(view(whole, 0), view(texture(2, 78, 100), 0))
    assert motion.is_cut(view(whole, 0), view(whole, 0)[:50])


def test_the_model_colours_keyframes_only_and_the_rest_flickers_less() -> None:
    lights = [view(texture(3), step) for step in range(17)]
    own = [ab(run([light], Model(i), Film(0))[0]) for i, light in enumerate(lights)]
    model, reel = Model(), Film(0, interval=8)
    shown = [ab(done) for done in run(lights, model, reel)]
    assert model.asked == [0, 8, 16]
    assert (reel.by_model, reel.frames, reel.scenes) == (3, 17, 1)
    flicker, errors = [], []
    for frames in (own, shown):
        motions = [motion.between(lights[i], lights[i - 1])[0] for i in range(1, 17)]
        steps = zip(frames[1:], frames, motions)
        flicker.append(np.mean([motion.change(*step) for step in steps]))
        inner = [
            a[12:-12, 12:-12] - view(model.truth, i)[12:-12, 12:-12] for i, a in enumerate(frames)
        ]
        errors.append(np.abs(inner).mean())
    assert flicker[1] == pytest.approx(reel.figures["flicker"], rel=0.05)
    assert flicker[1] < 0.25 * flicker[0]
    assert errors[1] < 0.95 * errors[0], "two keyframes err less than one"


def test_a_scene_begins_anew_and_so_does_what_cannot_be_followed() -> None:
    first, other = texture(3), texture(4, 78, 100)
    lights = [view(first, step) for step in range(3)] + [view(other, step) for step in range(2)]
    model = Model()
    run(lights, model, reel := Film(0, interval=8))
    assert model.asked == [0, 3] and reel.scenes == 2
    # The same tones, so no cut, but nothing of the picture is where it was.
    lights = [view(first, 0), view(first, 1), view(first, 1)[::-1, ::-1]]
    assert not motion.is_cut(lights[1], lights[2])
    model = Model()
    run(lights, model, reel := Film(0, interval=8))
    assert model.asked == [0, 2] and reel.scenes == 1


def test_other_words_begin_a_scene() -> None:
    lights, model = [view(texture(3), step) for step in range(5)], Model()
    run(lights, model, reel := Film(0, interval=8), prompts="aabbb")
    assert model.asked == [0, 2] and reel.scenes == 2


def test_frames_that_cannot_be_read_or_coloured_leave_the_others() -> None:
    lights = [view(texture(3), step) for step in range(8)]
    model = Model()
    model.fails = {0}
    reel = Film(0, interval=4)
    errors = [outcome.error for outcome in run(lights, model, reel)]
    assert [error is not None for error in errors] == [True] * 4 + [False] * 4
    model.fails = {4}
    assert not any(outcome.error for outcome in run(lights, model, Film(0, interval=4)))
    assert reel.pixels == 0, "nothing waits any more"


def test_colours_between_two_keyframes_come_from_both() -> None:
    """Without motion and with full trust: the way from one to the other, in equal steps."""
    still = motion.Motion(np.zeros((20, 30, 2), np.float32), np.ones((20, 30), np.float32))
    here, there = np.zeros((20, 30, 2), np.float32), np.full((20, 30, 2), 40, np.float32)
    forth, back = [carrying.key(here)], [carrying.key(there)]
    for _ in range(3):
        forth.append(carrying.along(forth[-1], still))
        back.append(carrying.along(back[-1], still))
    frames = carrying.between(forth[1:], back[:0:-1])
    assert [float(frame.mean()) for frame in frames] == pytest.approx([10, 20, 30], abs=1e-3)
    # Where only one way is trusted it is that one's; where none is, what is around.
    lost = forth[1]._replace(confidence=np.where(np.arange(30) < 15, 0, 1) * np.ones((20, 1)))
    (frame,) = carrying.between([lost], [back[1]._replace(confidence=1 - lost.confidence)])
    assert np.abs(frame[:, :5] - 40).max() < 1 and np.abs(frame[:, -5:]).max() < 1
    hole = back[1]._replace(confidence=1.0 - (np.abs(np.arange(30) - 15) < 2) * np.ones((20, 1)))
    (frame,) = carrying.between([forth[1]._replace(confidence=0 * hole.confidence)], [hole])
    np.testing.assert_allclose(frame, 40, atol=1e-2)
