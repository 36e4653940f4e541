"""Where training's numbers go: JSON lines, TensorBoard and a progress line."""

import datetime
import json
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboardX import SummaryWriter


class Tracker:
    """Writes metrics of one stage; on all but the first process it does nothing."""

    def __init__(
        self, directory: Path, stage: str, first_step: int, total_steps: int, active: bool
    ) -> None:
        """Rows beyond `first_step`, of a run that went on past its last checkpoint, are dropped."""
        self._stage, self._total, self._active = stage, total_steps, active
        self._since: tuple[float, int] | None = None
        if active:
            directory.mkdir(parents=True, exist_ok=True)
            path = directory / "metrics.jsonl"
            rows = path.read_text().splitlines() if path.exists() else []
            kept = [row for row in rows if json.loads(row)["step"] <= first_step]
            path.write_text("".join(row + "\n" for row in kept))
            self._lines = path.open("a")
            self._board = SummaryWriter(str(directory))

    def say(self, message: str) -> None:
        if self._active:
            print(f"[{self._stage}] {message}", flush=True)

    def restart_clock(self, step: int) -> None:
        """What happened since the last call, such as sampling, does not count as training."""
        self._since = (time.monotonic(), step)

    def write(self, step: int, metrics: Mapping[str, float], images_per_step: int) -> None:
        """Metrics at a step, with the speed since the clock was last started."""
        since, now = self._since, time.monotonic()
        self.restart_clock(step)
        if not self._active:
            return
        values = dict(metrics)
        line = f"step {step}/{self._total}"
        if since is not None and step > since[1]:
            seconds = (now - since[0]) / (step - since[1])
            values["images_per_second"] = images_per_step / seconds
            eta = datetime.timedelta(seconds=round(seconds * (self._total - step)))
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
