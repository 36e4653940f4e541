"""Reading ahead and writing behind: bounded, in order, and ended by an interruption."""

import signal
import threading
import time

import numpy as np
import pytest

from colorjax.colorize import jobs
from colorjax.colorize.command import stages
from colorjax.colorize.files import photos
from colorjax.data import decoding


def job(side: int) -> jobs.Job:
    empty = np.empty((0, 0, 3), np.float32)
    photo = photos.Photo(decoding.Pixels(empty), False, photos.Metadata(), "PNG")
    light = np.zeros((side, side), np.float32)
    return jobs.Job(jobs.Request("a.png", ""), photo, light, light)


def test_what_is_read_ahead_comes_in_order_and_is_bounded() -> None:
    read: list[int] = []

    def prepared():
        for i in range(100):
            read.append(i)
            yield jobs.Outcome(jobs.Request(str(i), ""))

    ahead = stages.ahead(prepared(), lambda: False)
    assert next(ahead).request.source == "0"
    time.sleep(0.2)
    assert 2 <= len(read) <= stages.MOST_WAITING + 2
    assert [item.request.source for item in ahead] == [str(i) for i in range(1, 100)]


def test_beside_a_large_photograph_none_waits(monkeypatch) -> None:
    monkeypatch.setattr(stages, "MOST_PIXELS", 100)
    read: list[int] = []

    def prepared():
        for i in range(4):
            read.append(i)
            yield job(20)

    ahead = stages.ahead(prepared(), lambda: False)
    next(ahead)
    time.sleep(0.2)
    assert len(read) == 2, "one is computed, one is read"
    assert len(list(ahead)) == 3


def test_reading_ends_when_it_is_stopped_or_left() -> None:
    before = threading.active_count()
    stopped = False

    def prepared():
        i = 0
        while True:
            yield jobs.Outcome(jobs.Request(str(i), ""))

    ahead = stages.ahead(prepared(), lambda: stopped)
    next(ahead)
    stopped = True
    assert len(list(ahead)) <= 1
    left = stages.ahead(prepared(), lambda: False)
    next(left)
    left.close()
    time.sleep(0.2)
    assert threading.active_count() == before


def test_a_fault_in_reading_is_the_callers() -> None:
    def prepared():
        yield jobs.Outcome(jobs.Request("a", ""))
        raise ZeroDivisionError

    ahead = stages.ahead(prepared(), lambda: False)
    next(ahead)
    with pytest.raises(ZeroDivisionError):
        next(ahead)


def test_writing_behind_is_bounded_and_gives_back_errors(monkeypatch) -> None:
    monkeypatch.setattr(stages, "MOST_PIXELS", 10)
    doing: list[int] = []

    def do(work: int) -> int:
        doing.append(work)
        if work == 2:
            raise ValueError("odd")
        return work * 10

    behind = stages.Behind(do)
    done = [pair for work in range(5) for pair in behind.give(work, 6)]
    done += list(behind.rest())
    assert [work for work, _ in done] == sorted(doing) == [0, 1, 2, 3, 4]
    assert isinstance(done[2][1].exception(), ValueError) and done[4][1].result() == 40


def test_the_first_interruption_asks_and_the_second_ends() -> None:
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    with stages.Stop() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.is_asked
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with stages.Stop() as stop:
        signal.raise_signal(signal.SIGINT)
        assert not stop.is_asked
    signal.signal(signal.SIGINT, usual)
