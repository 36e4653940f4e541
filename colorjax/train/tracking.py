"""Where training's numbers and its time go.

Numbers go to JSON lines, TensorBoard, Weights & Biases and a progress line; seconds to a `Clock`
and, of a few steps, to a profile.
"""

import contextlib
import datetime
import io
import json
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event

from colorjax import files
from colorjax.devices import chips, processes
from colorjax.errors import UserError, say

SILENT_AT_ZERO = ("skipped", "skipped_in_a_row", "longest_skipped_in_a_row")


class Clock:
    """Seconds by what they were spent on; what no `spent` covers is productive."""

    KINDS = ("compile", "data", "checkpoint", "samples", "evaluation", "restore")

    def __init__(self) -> None:
        self._start = time.monotonic()
        self.seconds = dict.fromkeys(self.KINDS, 0.0)
        self.lost = 0.0  # of earlier runs: steps done again, since no checkpoint had them

    @contextlib.contextmanager
    def spent(self, on: str) -> Iterator[None]:
        """Counts the time within as one of `KINDS`."""
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
        listed = ", ".join(f"{name} {seconds:.1f}" for name, seconds in parts.items())
        return f"goodput {100.0 * productive / max(total, 1e-9):.1f} % of {total:.1f} s: {listed}"


class Watch(NamedTuple):
    """What to record beside the metrics."""

    profile_from: int = 0  # the first step in the trace, counted from this start
    profile_steps: int = 0  # 0: no trace
    wandb: str = ""  # a Weights & Biases project


def serve_profiles(port: int) -> None:
    """Lets TensorBoard or xprof take a profile of this process whenever somebody asks for one.

    Processes of one host cannot share a port, so process i listens at port + i; 0 is without.

    Raises:
        UserError: it is no port, or another program has it.
    """
    if not port:
        return
    own = port + jax.process_index()
    if not 1024 <= own <= 65535:
        raise UserError(f"profiler_port is {port}; the ports from 1024 to 65535 can be taken")
    with socket.socket() as probe:  # the profiler's own server would end this process
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", own))
        except OSError as error:
            raise UserError(
                f"profiler_port: port {own} cannot be had ({error.strerror}); take another"
            ) from None
    jax.profiler.start_server(own)
    print(f"profiles of process {jax.process_index()} can be taken at port {own}", flush=True)


class Trace:
    """A profile of a window of steps, for TensorBoard or xprof, of every process.

    Each has a folder of its own: files are called by their host, which may have several.
    """

    def __init__(self, directory: Path, first: int, watch: Watch) -> None:
        alone = jax.process_count() == 1
        self._directory = directory if alone else directory / f"process_{jax.process_index()}"
        self._from = first + max(watch.profile_from, 1)
        self._to = self._from + watch.profile_steps - 1
        self._on = False

    def before(self, step: int) -> None:
        """Begins the profile if this step is the first of the window."""
        if step == self._from <= self._to:
            jax.profiler.start_trace(str(self._directory))
            self._on = True

    def after(self, step: int, state: Any) -> None:
        """Ends it after the last one; steps run behind the host, so their state is waited for."""
        if self._on and step == self._to:
            jax.block_until_ready(state)
            jax.profiler.stop_trace()
            self._on = False


class Tracker:
    """Writes metrics of one stage; on all but the first process it only keeps the time."""

    def __init__(
        self,
        directory: Path,
        stage: str,
        total_steps: int,
        project: str = "",
        config: ConfigDict | None = None,
    ) -> None:
        """`project` is one of Weights & Biases, to which `config` is logged too; "" for none."""
        self._directory, self._stage, self._total = directory, stage, total_steps
        self._active, self._project, self._config = processes.is_first(), project, config
        self._since: tuple[float, int] | None = None
        self._flops: float | None = None
        self._peak: float | None = None
        self._online: Any = None
        self._lines: Any = io.StringIO()  # before it is opened there is something to close
        self._board: Any = io.StringIO()
        self.seconds_per_step = 0.0  # of the last interval

    def open(self, first_step: int) -> int:
        """Begins or continues the files of a run that stands at `first_step`.

        Rows beyond that step are dropped: they are of a run that went on past its last checkpoint.

        Returns:
            How many steps those rows tell of, which are now made again.
        """
        path = self._directory / "metrics.jsonl"
        steps = _rows(path)
        last = max((step for step, _ in steps), default=first_step)
        if self._active:
            kept = [row for step, row in steps if step <= first_step]
            files.write_text(path, "".join(row + "\n" for row in kept))
            self._lines = path.open("a")
            # Not its SummaryWriter, whose thread meets a full disk where nobody can tell of it.
            self._board = EventsWriter(str(self._directory / "events"))
            if self._project:
                self._online = _wandb(self._project, self._stage, self._directory, self._config)
        return max(0, last - first_step)

    def say(self, message: str) -> None:
        """Prints on the first process, after the stage's name."""
        if self._active:
            say(f"[{self._stage}] {message}")

    def costs(self, analysis: Any, device_kind: str) -> None:
        """Takes from the compiler what a step costs a device, for the FLOP/s and MFU of `write`.

        What is computed twice, as under rematerialisation, counts twice.
        """
        self._flops = (analysis or {}).get("flops") if isinstance(analysis, Mapping) else None
        self._peak = chips.peak_flops(device_kind)

    def write(
        self, step: int, metrics: Mapping[str, float], images_per_step: int, overhead: float
    ) -> None:
        """Writes the metrics of a step, with the speed since the last call.

        Args:
            images_per_step: pictures of a batch over all processes.
            overhead: `Clock.overhead`: seconds that something else took are no training.
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
        self.record(step, values)
        shown = {k: v for k, v in metrics.items() if v or k not in SILENT_AT_ZERO}
        named = "  ".join(f"{name} {value:.4g}" for name, value in shown.items())
        self.say(f"{line}  {named}")

    def record(self, step: int, values: Mapping[str, float]) -> None:
        """Writes a row of numbers wherever there are metrics, without a line on the screen."""
        if not self._active:
            return
        try:
            self._lines.write(json.dumps({"step": step} | dict(values)) + "\n")
            self._lines.flush()
            for name, value in values.items():
                row = summary.scalar(f"{self._stage}/{name}", value)
                self._board.write_event(Event(step=step, summary=row, wall_time=time.time()))
            self._board.flush()
        except OSError as error:
            raise files.unwritable(self._directory / "metrics.jsonl", error) from error
        if self._online is not None:
            self._online.log({f"{self._stage}/{k}": v for k, v in values.items()}, step=step)

    def close(self) -> None:
        """Closes the files, and the run of Weights & Biases."""
        if self._active:
            for file in (self._lines, self._board):
                with contextlib.suppress(OSError):  # what could not be written has been told
                    file.close()
            if self._online is not None:
                self._online.finish()


def _rows(path: Path) -> list[tuple[int, str]]:
    """The whole rows of earlier runs with their steps: a killed one may leave half a row."""
    rows = []
    text = path.read_text("utf-8", errors="replace") if path.exists() else ""
    for row in text.splitlines():
        try:
            step = json.loads(row)["step"]
        except (ValueError, LookupError, TypeError, RecursionError):
            continue
        if type(step) is int:
            rows.append((step, row))
    return rows


def _wandb(project: str, stage: str, directory: Path, config: ConfigDict | None) -> Any:
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
