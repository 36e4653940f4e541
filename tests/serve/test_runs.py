"""Sampling runs in pieces: progress, previews, and seats that are left and taken again.

What is computed is no matter here but in the last test, so a run that only counts stands in.
"""

import io
import threading
import time

import numpy as np
import pytest
from PIL import Image

import colorjax
from colorjax.colorize.library import PhotoColorizer
from colorjax.serve.orders import Limits, Order, describe
from colorjax.serve.service import Service
from tests.serve.conftest import photo
from tests.serve.test_service import pixels, results

STEPS = 20


class Counted:
    """A sampling run of a model whose pictures are gray, held before each piece."""

    def __init__(self, seats: int, log: "Log") -> None:
        self.places, self.log = np.full(seats, STEPS), log

    def enter(self, pictures, seats) -> None:
        self.size = pictures.lightness.shape[1:]
        self.places[list(seats)] = 0
        self.log.entered.append([int(seed) for seed in pictures.seed])

    def leave(self, seat: int) -> None:
        self.places[seat] = STEPS

    def advance(self, count: int) -> None:
        self.log.pieces.append(int((self.places < STEPS).sum()))
        self.log.begun.release()
        assert self.log.may_go.acquire(timeout=60)
        if self.log.failing:
            raise MemoryError
        self.places = np.minimum(self.places + count, STEPS)

    def images(self) -> np.ndarray:
        return np.zeros((len(self.places), *self.size, 3), np.float32)


class Log:
    """What the runs have done; a test lets each piece go, and knows when the next is begun."""

    def __init__(self) -> None:
        self.entered: list[list[int]] = []
        self.pieces: list[int] = []
        self.may_go, self.begun = threading.Semaphore(0), threading.Semaphore(0)
        self.failing = False

    def until_piece(self) -> None:
        assert self.begun.acquire(timeout=60)

    def go(self, pieces: int = 1) -> None:
        for _ in range(pieces):
            self.may_go.release()
            self.until_piece()


@pytest.fixture
def log(photographs: PhotoColorizer, monkeypatch) -> Log:
    log = Log()
    colorizer = photographs.colorizer
    monkeypatch.setattr(colorizer, "num_steps", STEPS)
    monkeypatch.setattr(colorizer, "sampling", lambda seats: Counted(seats, log), raising=False)
    return log


@pytest.fixture
def service(photographs, log):
    service = Service(photographs, Limits(steps=5, preview_seconds=0.0, window=0.3))
    yield service
    log.may_go.release(1000)
    service.close()


def test_what_is_cancelled_leaves_the_batch_and_its_seat_is_taken(service, log) -> None:
    """Four have the seats, one waits; when one of the four is cancelled it comes in at once."""
    kept = service.submit("a", Order(photo(), seed=10, variations=3))
    left = service.submit("b", Order(photo(1), seed=20))
    log.until_piece()
    waits = service.submit("c", Order(photo(2), seed=30))
    assert log.entered == [[10, 20, 11, 12]] and log.pieces == [4]
    log.go()
    service.cancel(left)
    assert left.is_done and service.position(waits) == 0
    log.go()
    assert log.pieces[-1] == 3, "one piece after it was cancelled it is in the batch no more"
    log.go()
    assert log.entered[-1] == [30] and log.pieces[-1] == 4, "and another after one more piece"
    steps = [task.progress.step for task in (*kept.tasks, *waits.tasks)]
    assert steps == [15, 15, 15, 0]
    log.may_go.release(100)
    results(kept, waits)
    assert len(log.pieces) == 7, "the last one had four pieces of its own, three of them beside"


def test_a_run_that_nobody_wants_ends(service, log) -> None:
    ticket = service.submit("a", Order(photo(), variations=2))
    log.until_piece()
    service.cancel(ticket)
    log.may_go.release()
    after = service.submit("a", Order(photo(), seed=7))
    log.until_piece()
    assert log.entered == [[0, 1], [7]] and log.pieces == [2, 1]
    log.may_go.release(100)
    results(after)
    assert len(log.pieces) == 1 + 4


def test_steps_are_told_and_previews_are_drawn_for_who_looks(service, log) -> None:
    ticket = service.submit("a", Order(photo(height=40, width=1200)))
    log.until_piece()
    (task,) = ticket.tasks
    assert describe(ticket.tasks) == [{"seed": 0, "done": False, "step": 0, "steps": 20}]
    log.go()
    assert describe(ticket.tasks)[0]["step"] == 5 and task.progress.preview is None
    task.progress.watched = time.monotonic()
    log.go()
    assert task.progress.preview is not None
    picture = Image.open(io.BytesIO(task.progress.preview))
    assert picture.format == "JPEG" and picture.size == (512, 17)
    log.may_go.release(100)
    results(ticket)


def test_runs_of_other_settings_take_turns(service, log) -> None:
    """Two at a time: neither waits for the other's end, a third one does."""
    tickets = []
    for number in range(3):
        settings = {"guidance_scale": 2.0 + number}
        tickets.append(service.submit(str(number), Order(photo(), settings=settings)))
        log.until_piece() if number == 0 else None
    log.go(3)
    first, second, third = (ticket.tasks[0].progress for ticket in tickets)
    assert (first.step, second.step, third.steps) == (10, 5, 0)
    log.may_go.release(100)
    results(*tickets)


def test_a_run_that_fails_is_computed_otherwise(service, log) -> None:
    log.failing = True
    ticket = service.submit("a", Order(photo(), variations=2))
    log.may_go.release(100)
    assert len(results(ticket)) == 2


@pytest.mark.proof
@pytest.mark.parametrize("method", ["lcad", "diffusing_colors"])
def test_who_joins_has_the_bytes_of_a_whole_batch(method, cold_release) -> None:
    """By the real networks: four in a batch, of whom one leaves and another comes later."""
    photographs = colorjax.load(cold_release, method, num_steps=8)
    photos, prompts = [photo(i) for i in range(4)], [f"a red car {i}" for i in range(4)]
    whole = list(photographs.many(photos, prompts, seed=3))
    service = Service(photographs, Limits(steps=1))
    orders = [Order(one, prompt, 3) for one, prompt in zip(photos, prompts)]
    early = [service.submit("a", order) for order in (*orders[1:], Order(photo(9)))]
    while early[-1].tasks[0].progress.step < 2:
        time.sleep(0.01)
    service.cancel(early[-1])
    late = service.submit("a", orders[0])
    theirs = results(late, *early[:-1])
    assert late.tasks[0].progress.steps == 8 and not early[0].tasks[0].future.exception()
    for one, other in zip(theirs, whole, strict=True):
        # Cut in pieces, Diffusing Colors' program is fused otherwise and rounds otherwise.
        most = 0 if method == "lcad" else 1
        assert np.abs(pixels(one) - pixels(other)).max() <= most
    service.close()
