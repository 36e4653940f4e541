"""Where the time of a run goes."""

import contextlib
import time
from collections.abc import Iterator


class Clock:
    """Seconds by what they were spent on; what no `spent` covers is productive."""

    KINDS = ("compile", "data", "checkpoint", "samples", "restore")

    def __init__(self) -> None:
        self._start = time.monotonic()
        self.seconds = dict.fromkeys(self.KINDS, 0.0)
        self.lost = 0.0  # of earlier runs: steps done again, since no checkpoint had them

    @contextlib.contextmanager
    def spent(self, on: str) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[on] += time.monotonic() - start

    @property
    def overhead(self) -> float:
        """Seconds so far that were not for steps."""
        return sum(self.seconds.values())

    def line(self) -> str:
        """`goodput 93.1 % of 812 s: productive 756, compile 31, ...`."""
        total = time.monotonic() - self._start
        productive = max(0.0, total - self.overhead - self.lost)
        parts = {"productive": productive, **self.seconds, "lost": self.lost}
        told = ", ".join(f"{name} {seconds:.1f}" for name, seconds in parts.items())
        return f"goodput {100.0 * productive / max(total, 1e-9):.1f} % of {total:.1f} s: {told}"
