"""Trainings of three parameters as processes that can be killed, started in a moment each.

`python -m tests.trust.forked` imports everything once; for each line on its standard input it
forks a process that trains and prints its number. Nothing of jax has begun before the fork.
"""

import importlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

STEPS = 40


class Trainings:
    """The process that forks, to be closed."""

    def __init__(self) -> None:
        words = [sys.executable, "-m", "tests.trust.forked"]
        flags = re.sub(r"--xla_force_host_platform_device_count=\d+", "", os.environ["XLA_FLAGS"])
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"XLA_FLAGS": flags},
            text=True,
        )

    def __enter__(self) -> "Trainings":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def start(self, folder: Path, **more: Any) -> "Training":
        """Trains in `folder`, or goes on there."""
        folder.mkdir(parents=True, exist_ok=True)
        self._say({"folder": str(folder), **more})
        return Training(self, int(self._hear()), folder)

    def together(self, folder: Path, count: int = 2, **more: Any) -> list["Training"]:
        """Trains as several processes of one run."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            place = f"127.0.0.1:{free.getsockname()[1]}"
        return [
            self.start(folder, coordinator=place, count=count, index=index, **more)
            for index in range(count)
        ]

    def wait(self, number: int) -> int:
        """The exit code of a training; of one that was killed, minus the signal."""
        self._say({"wait": number})
        return int(self._hear())

    def _say(self, line: dict[str, Any]) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(line) + "\n")
        self._process.stdin.flush()

    def _hear(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, "the process that forks has ended"
        return line


class Training:
    """One process; `log` is what it has printed, with that of those before it there."""

    def __init__(self, all_of_them: Trainings, number: int, folder: Path) -> None:
        self._all, self.number, self._folder = all_of_them, number, folder

    @property
    def log(self) -> str:
        path = self._folder / "log"
        return path.read_text() if path.exists() else ""

    @property
    def step(self) -> int:
        """The last step that is in the metrics."""
        path = self._folder / "metrics.jsonl"
        rows = path.read_text().splitlines() if path.exists() else []
        whole = [row for row in rows if row.endswith("}")]
        return json.loads(whole[-1])["step"] if whole else 0

    @property
    def checksum(self) -> str:
        """Of all leaves of the state at the last step."""
        (line,) = [r for r in self.log.splitlines() if f"step {STEPS} committed" in r][-1:]
        return line.rpartition(" ")[-1]

    def send(self, number: signal.Signals) -> None:
        os.kill(self.number, number)

    def until(self, step: int, deadline: float = 300.0) -> None:
        """Waits until it has come so far, or has ended."""
        end = time.monotonic() + deadline
        while self.step < step and Path(f"/proc/{self.number}/fd").exists():
            if not os.access(f"/proc/{self.number}/exe", os.R_OK) or time.monotonic() > end:
                break
            time.sleep(0.003)

    def wait(self) -> int:
        return self._all.wait(self.number)


def _train(order: dict[str, Any]) -> None:
    """What a forked process does, to its exit."""
    from colorjax.devices import processes
    from tests.train import test_loop

    folder = Path(order["folder"])
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if "coordinator" in order:
        where = {name: order[name] for name in ("coordinator", "count", "index")}
        processes.join("on", **where, heartbeat_seconds=10)
    made = test_loop.config(checkpoint_every=2)

    def stream(start: int) -> Iterator[dict[str, Any]]:
        for batch in test_loop.batches(start):
            time.sleep(order.get("pause", 0.0))
            yield batch

    with processes.Stop() as stop:
        state = test_loop.train(folder, made, STEPS, stop, stream)
        code = processes.STOPPED if stop.asked else 0
    print(f"ends at step {int(state.step)}", flush=True)
    os._exit(code)


def main() -> None:
    # All that a training imports, once.
    importlib.import_module("tests.train.test_loop")
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            status = os.waitpid(order["wait"], 0)[1]
            print(os.waitstatus_to_exitcode(status), flush=True)
            continue
        number = os.fork()
        if number == 0:
            try:
                _train(order)
            except BaseException as error:  # to the log; the parent's loop is not the child's
                print(f"fails: {error!r}", flush=True)
            os._exit(1)
        print(number, flush=True)


if __name__ == "__main__":
    main()
