"""Reading ahead and writing behind, so that the device need not wait for either.

Three stages: a thread reads and decodes, the caller's thread computes, a few threads render, encode
and write. What waits between them is bounded by its pixels: beside one large photograph none
waits.
"""

import queue
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import FrameType
from typing import Any, Generic, TypeVar

from colorjax.colorize.jobs import Job, Ready
from colorjax.data import cores

MOST_WAITING = 32  # photographs
MOST_PIXELS = 16 * 10**6
MOST_WRITERS = 4
Work = TypeVar("Work")


class Stop:
    """Ctrl-C: the first finishes what is in flight, the second ends at once."""

    def __init__(self) -> None:
        self.is_asked = False

    def __enter__(self) -> "Stop":
        self._before: Any = None
        is_main = threading.current_thread() is threading.main_thread()
        # Of a command in the background of a script Ctrl-C is not meant.
        if is_main and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            self._before = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        if self.is_asked:
            raise KeyboardInterrupt
        self.is_asked = True


def ahead(prepared: Iterator[Ready], is_stopped: Callable[[], bool]) -> Iterator[Ready]:
    """What another iterator gives, read by a thread of its own before it is asked for.

    Ends early when it is stopped; the thread ends with it.
    """
    waiting: queue.Queue[Any] = queue.Queue()
    room = threading.Condition()
    held = {"count": 0, "pixels": 0}
    ended = threading.Event()

    def pixels(item: Ready) -> int:
        return item.pixels if isinstance(item, Job) else 0

    def read() -> None:
        last: Any = None
        try:
            for item in prepared:
                with room:
                    held["count"] += 1
                    held["pixels"] += pixels(item)
                    waiting.put(item)
                    room.wait_for(lambda: ended.is_set() or _has_room(held))
                del item  # or it would be kept while the next one is read
                if ended.is_set() or is_stopped():
                    return
        except BaseException as error:  # of ours, and not of a photograph: told by the caller
            last = error
        finally:
            waiting.put(last)

    thread = threading.Thread(target=read, name="reading", daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            with room:
                held["count"] -= 1
                held["pixels"] -= pixels(item)
                room.notify_all()
            yield item
            del item
            if is_stopped():
                return
    finally:
        ended.set()
        with room:
            room.notify_all()


def _has_room(held: dict[str, int]) -> bool:
    return held["count"] < MOST_WAITING and held["pixels"] < MOST_PIXELS


class Behind(Generic[Work]):
    """Work of threads of its own, given back in order; who gives too much of it waits."""

    def __init__(self, do: Callable[[Work], Any]) -> None:
        self._do = do
        # Rendering takes several times as long as reading, and large photographs come one by one.
        self._pool = ThreadPoolExecutor(min(MOST_WRITERS, cores.available()), "writing")
        self._doing: deque[tuple[Work, Future[Any], int]] = deque()

    def give(self, work: Work, pixels: int) -> Iterator[tuple[Work, Future[Any]]]:
        """Adds work that keeps so many pixels in memory; gives back what is done by now."""
        self._doing.append((work, self._pool.submit(self._do, work), pixels))
        while self._doing and (self._is_full() or self._doing[0][1].done()):
            yield self._take()

    def rest(self) -> Iterator[tuple[Work, Future[Any]]]:
        """Waits for all that was given."""
        while self._doing:
            yield self._take()
        self._pool.shutdown()

    def _is_full(self) -> bool:
        held = sum(pixels for _, _, pixels in self._doing)
        return len(self._doing) > MOST_WAITING or held > MOST_PIXELS

    def _take(self) -> tuple[Work, Future[Any]]:
        work, future, _ = self._doing.popleft()
        future.exception()  # waits
        return work, future
