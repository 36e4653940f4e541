"""Frames of a film: golden values are motions and colours that the tests make."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from colorjax.colorize import film
from colorjax.colorize.chroma.recombine import Chroma
from colorjax.colorize.painters import Colouring

RNG = np.random.default_rng(0)


def texture(seed: int, low: float = 20, high: float = 80) -> np.ndarray:
    """A smooth field of lightness, larger than a frame."""
    coarse = np.random.default_rng(seed).uniform(low, high, (14, 20)).astype(np.float32)
    return cv2.resize(coarse, (240, 160), interpolation=cv2.INTER_CUBIC)


def frame(whole: np.ndarray, step: int) -> np.ndarray:
    """A view that moves three pixels to the right and one down each step."""
    return whole[10 + step : 106 + step, 10 + 3 * step : 138 + 3 * step]


def test_frames_come_by_their_numbers() -> None:
    names = [Path(name) for name in ("f10.png", "f2.png", "f1.png", "a.png", "f02.png")]
    ordered = [path.name for path in sorted(names, key=film.in_order)]
    assert ordered == ["a.png", "f1.png", "f02.png", "f2.png", "f10.png"]


def test_motion_is_found_and_what_moved_lies_there() -> None:
    whole = texture(0)
    here, there = frame(whole, 1), frame(whole, 0)
    flow, trust = film.motion(here, there)
    inner = flow[10:-10, 10:-10]
    np.testing.assert_allclose(np.median(inner, axis=(0, 1)), [3, 1], atol=0.15)
    assert trust[10:-10, 10:-10].mean() > 0.8
    assert np.abs(film.warped(there, flow) - here)[10:-10, 10:-10].mean() < 1.0
    assert film.motion(here, 100 - there)[1].mean() < 0.2, "nothing there is the same"


def test_a_cut_is_a_jump_of_the_histogram() -> None:
    whole = texture(1)
    assert not film.is_cut(frame(whole, 0), frame(whole, 3))
    assert film.is_cut(frame(whole, 0), frame(texture(2, 70, 100), 0))
    assert film.is_cut(frame(whole, 0), frame(whole, 0)[:50])


def test_colours_flicker_less_and_no_colour_crosses_a_cut() -> None:
    """A model that errs by 8 at each pixel of each frame, around colours that move."""
    light, other = texture(3), texture(4, 75, 100)
    truth = np.stack([texture(5, -30, 30), texture(6, -30, 30)], axis=-1)
    errs = RNG.normal(0, 8, (10, 96, 128, 2)).astype(np.float32)
    shown = film.Film(Colouring())
    results = []
    for step in range(8):
        own = frame(truth, step) + errs[step]
        results.append(shown._next(Chroma(own, frame(light, step))).ab)
    figures = shown.figures
    # Two errors of 8 in a and b: the mean length of a vector of deviation 8 * 2 ** 0.5.
    assert figures["flicker_one_by_one"] == pytest.approx(8 * 2**0.5 * (np.pi / 2) ** 0.5, rel=0.1)
    assert figures["flicker"] < 0.2 * figures["flicker_one_by_one"]
    error = np.abs(results[-1] - frame(truth, 7))[12:-12, 12:-12].mean()
    assert error < 0.6 * np.abs(errs[7]).mean(), "nearer to the truth as well"
    own = np.full((96, 128, 2), 40.0, np.float32)
    np.testing.assert_array_equal(shown._next(Chroma(own, frame(other, 0))).ab, own)
    assert shown.scenes == 2
