"""CPU time, which another program on the machine does not change much."""

import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path


def cpu_seconds() -> float:
    """CPU seconds of this process with its threads and of its living worker processes (Linux)."""
    total = time.process_time()
    for child in multiprocessing.active_children():
        # Python counts children only when they have ended; the kernel counts them always. Their
        # name, in brackets, may hold spaces.
        fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        total += sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
    return total


def fastest(step: Callable[[], object], rounds: int) -> float:
    """The least CPU seconds of so many runs, after one that does not count."""
    times = []
    for _ in range(rounds + 1):
        start = time.process_time()
        step()
        times.append(time.process_time() - start)
    return min(times[1:])
