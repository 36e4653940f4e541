"""Where training's numbers go: JSON lines, TensorBoard, Weights & Biases, and a progress line."""

import datetime
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from colorjax.devices import chips
from colorjax.errors import UserError

SILENT_AT_ZERO = ("skipped", "skipped_in_a_row")


class Tracker:
    """Writes metrics of one stage; on all but the first process it only keeps the time."""

    def __init__(
        self,
        directory: Path,
        stage: str,
        total_steps: int,
        active: bool,
        wandb: str = "",
        config: Any = None,
    ) -> None:
        self._directory, self._stage, self._total = directory, stage, total_steps
        self._active, self._project, self._config = active, wandb, config
        self._since: tuple[float, int] | None = None
        self._flops: float | None = None
        self._peak: float | None = None
        self._online: Any = None
        self.seconds_per_step = 0.0  # of the last interval

    def open(self, first_step: int) -> int:
        """Begins or continues the files of a run that stands at a step.

        Rows beyond it, of a run that went on past its last checkpoint, are dropped; returns how
        many steps they tell of.
        """
        path = self._directory / "metrics.jsonl"
        rows = path.read_text().splitlines() if path.exists() else []
        known = [row for row in rows if row.endswith("}")]  # a killed run may leave half a row
        last = max((json.loads(row)["step"] for row in known), default=first_step)
        if self._active:
            self._directory.mkdir(parents=True, exist_ok=True)
            kept = [row for row in known if json.loads(row)["step"] <= first_step]
            partial = path.with_suffix(".partial")
            partial.write_text("".join(row + "\n" for row in kept))
            partial.replace(path)
            self._lines = path.open("a")
            self._board = SummaryWriter(str(self._directory))
            if self._project:
                self._online = _wandb(self._project, self._stage, self._directory, self._config)
        return max(0, last - first_step)

    def say(self, message: str) -> None:
        if self._active:
            print(f"[{self._stage}] {message}", flush=True)

    def costs(self, analysis: Any, device_kind: str) -> None:
        """What a step costs a device, by the compiler: what is computed twice counts twice."""
        self._flops = (analysis or {}).get("flops") if isinstance(analysis, Mapping) else None
        self._peak = chips.peak_flops(device_kind)

    def write(
        self, step: int, metrics: Mapping[str, float], images_per_step: int, overhead: float
    ) -> None:
        """Metrics at a step, with the speed since the last call.

        `overhead` is `goodput.Clock.overhead`: what else took time does not count as training.
        """
        now = time.monotonic() - overhead
        since, self._since = self._since, (now, step)
        values = dict(metrics)
        line = f"step {step}/{self._total}"
        if since is not None and step > since[1]:
            seconds = self.seconds_per_step = max((now - since[0]) / (step - since[1]), 1e-9)
            values["seconds_per_step"] = seconds
            values["images_per_second"] = images_per_step / seconds
            eta = datetime.timedelta(seconds=round(seconds * (self._total - step)))
            line += f"  {values['images_per_second']:.0f} images/s"
            if self._flops and self._flops > 0:
                values["teraflops_per_device"] = self._flops / seconds / 1e12
                line += f"  {values['teraflops_per_device']:.3g} TFLOP/s a device"
                if self._peak:
                    values["mfu"] = self._flops / seconds / self._peak
                    line += f"  MFU {100.0 * values['mfu']:.1f} %"
            line += f"  ETA {eta}"
        if not self._active:
            return
        self._lines.write(json.dumps({"step": step} | values) + "\n")
        self._lines.flush()
        for name, value in values.items():
            self._board.add_scalar(f"{self._stage}/{name}", value, step)
        if self._online is not None:
            self._online.log({f"{self._stage}/{k}": v for k, v in values.items()}, step=step)
        shown = {k: v for k, v in metrics.items() if v or k not in SILENT_AT_ZERO}
        named = "  ".join(f"{name} {value:.4g}" for name, value in shown.items())
        self.say(f"{line}  {named}")

    def close(self) -> None:
        if self._active:
            self._lines.close()
            self._board.close()
            if self._online is not None:
                self._online.finish()


def _wandb(project: str, stage: str, directory: Path, config: Any) -> Any:
    """A run that continues whenever the stage does.

    Raises:
        UserError: the package is not installed.
    """
    try:
        import wandb
    except ImportError as error:
        raise UserError(
            "--wandb needs the package wandb: pip install 'colorjax[wandb]', or leave it out"
        ) from error
    identity = "-".join(directory.absolute().parts[-2:])
    return wandb.init(
        project=project,
        name=identity,
        id=identity,
        resume="allow",
        dir=str(directory),
        config=config.to_dict() if config is not None else None,
        tags=[stage],
    )
