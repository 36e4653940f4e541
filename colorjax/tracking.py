"""Where training's numbers go: JSON lines, TensorBoard and a progress line."""

import json
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboardX import SummaryWriter


class Tracker:
    """Writes metrics of one stage; on all but the first process it does nothing."""

    def __init__(self, directory: Path, stage: str, total_steps: int, active: bool) -> None:
        self._stage, self._total, self._active = stage, total_steps, active
        self._since: tuple[float, int | None] = (time.monotonic(), None)
        if active:
            directory.mkdir(parents=True, exist_ok=True)
            self._lines = (directory / "metrics.jsonl").open("a")
            self._board = SummaryWriter(str(directory))

    def say(self, message: str) -> None:
        if self._active:
            print(f"[{self._stage}] {message}", flush=True)

    def write(self, step: int, metrics: Mapping[str, float], images_per_step: int) -> None:
        """Metrics at a step, with the speed since the last call."""
        now, (then, last) = time.monotonic(), self._since
        self._since = (now, step)
        if not self._active:
            return
        values = dict(metrics)
        line = f"step {step}/{self._total}"
        if last is not None:
            seconds = (now - then) / (step - last)
            values["images_per_second"] = images_per_step / seconds
            eta = time.strftime("%H:%M:%S", time.gmtime(seconds * (self._total - step)))
            line += f"  {values['images_per_second']:.0f} images/s  ETA {eta}"
        self._lines.write(json.dumps({"step": step} | values) + "\n")
        self._lines.flush()
        for name, value in values.items():
            self._board.add_scalar(f"{self._stage}/{name}", value, step)
        named = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        self.say(f"{line}  {named}")

    def close(self) -> None:
        if self._active:
            self._lines.close()
            self._board.close()
