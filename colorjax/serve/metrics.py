"""What a service counts, as Prometheus reads it."""

from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


class Metrics:
    """Counters of one service, in a registry of their own.

    Attributes:
        rejected: orders for which there was no room.
        cancelled: pictures that were cancelled before they were done.
        failed: pictures that could not be coloured.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        add: dict[str, Any] = {"registry": self._registry}
        self._waiting = Gauge("colorjax_waiting_pictures", "pictures in the queue", **add)
        self._pictures = Counter("colorjax_pictures", "pictures that were coloured", **add)
        self.rejected = Counter("colorjax_rejected_orders", "orders without room", **add)
        self.cancelled = Counter("colorjax_cancelled_pictures", "pictures cancelled", **add)
        self.failed = Counter("colorjax_failed_pictures", "pictures that failed", **add)
        self._latency = Histogram(
            "colorjax_latency_seconds", "from arrival to result", buckets=_SECONDS, **add
        )
        self._batches = Histogram(
            "colorjax_batch_seconds", "of a batch's sampling", buckets=_SECONDS, **add
        )
        self._pieces = Histogram(
            "colorjax_piece_seconds", "of a piece of a sampling run", buckets=_SECONDS, **add
        )
        self._seats = Counter(
            "colorjax_piece_pictures", "pictures in pieces of sampling runs", **add
        )
        tenths = tuple(tenth / 10 for tenth in range(1, 11))
        self._fill = Histogram(
            "colorjax_batch_fill", "pictures over the most of a batch", buckets=tenths, **add
        )

    def watch(self, waiting: Callable[[], float]) -> None:
        """Reads the queue's length from a function."""
        self._waiting.set_function(waiting)

    def computed(self, count: int, batch_size: int, seconds: float) -> None:
        """A batch was computed."""
        self._fill.observe(count / batch_size)
        self._batches.observe(seconds)

    def advanced(self, count: int, seconds: float) -> None:
        """So many pictures went some steps further."""
        self._seats.inc(count)
        self._pieces.observe(seconds)

    def finished(self, seconds: float) -> None:
        """A picture is done, so long after it came."""
        self._pictures.inc()
        self._latency.observe(seconds)

    def text(self) -> bytes:
        """All of it in Prometheus' format."""
        return generate_latest(self._registry)
