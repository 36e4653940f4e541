"""Trainings of real processes by `launch/local.sh`: begun, interrupted, gone on with, compared."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors.numpy import load_file

from colorjax import release
from colorjax.devices import processes
from colorjax.methods import lcad
from tests import small

ROOT = Path(__file__).parents[2]
STEPS, SAVE_EVERY = 24, 6
HOWS = TOGETHER, ONE_OF_TWO, SINGLE = (2, 1), (1, 2), (1, 1)  # processes, devices of each
KINDS = ("kill -9 of process 0", "kill -9 of process 1", "SIGTERM")
TIMEOUT = 600


class Run(NamedTuple):
    """A training by `launch/local.sh`, and what it writes."""

    process: subprocess.Popen
    workdir: Path

    @property
    def step(self) -> int:
        """The last step that it told of."""
        rows = self.workdir / "latent" / "metrics.jsonl"
        found = re.findall(r'^\{"step": (\d+)', rows.read_text() if rows.exists() else "", re.M)
        return int(found[-1]) if found else 0

    def workers(self) -> dict[int, int]:
        """Process numbers of the system, by those of the run."""
        found = {}
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        for child in map(int, children.read_text().split()):
            command = Path(f"/proc/{child}/cmdline").read_bytes().decode()
            if index := re.search(r"--process_id=(\d)", command):
                found[int(index[1])] = child
        return found

    def wait(self) -> int:
        try:
            return self.process.wait(TIMEOUT)
        finally:
            self.process.terminate()

    def log(self) -> str:
        return (self.workdir / "log").read_text()

    def checksum(self) -> str:
        """Over step, weights, moments and average, of the last step."""
        return re.findall(rf"step {STEPS} committed, SHA-256 (\w+)", self.log())[-1]


def launch(start: Path, workdir: Path, processes_and_devices: tuple[int, int]) -> Run:
    """Starts the tiny latent stage, or goes on with it."""
    count, devices = processes_and_devices
    workdir.mkdir(exist_ok=True)
    command = [
        *("bash", str(ROOT / "launch" / "local.sh"), f"--processes={count}"),
        *(f"--devices={devices}", "--", "--config=configs/lcad.py:tiny,stage=latent"),
        *(f"--config.init_from={start}", f"--workdir={workdir}", "--heartbeat_seconds=10"),
        f"--config.data.directory={small.DATA / 'cifar10'}",
        *("--config.data.train_split=test", f"--config.checkpoint_every={SAVE_EVERY}"),
        *("--config.log_every=1", "--config.sample_every=0"),
        *(f"--config.latent.total_steps={STEPS}", "--config.latent.batch_size=8"),
        *("--config.latent.learning_rate=1e-4", "--config.latent.warmup_steps=2"),
        "--config.latent.ema_decay=0.0",
    ]
    environment = os.environ | {
        "PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
        "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
    }
    with (workdir / "log").open("a") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, env=environment)
    return Run(process, workdir)


def interrupted(start: Path, workdir: Path, kind: str, at: int, saved: bool = False) -> float:
    """A run of two processes that ends early, at about a step; `saved`: after a checkpoint.

    Returns:
        How many seconds the process that is left lives on; 0 where both were asked to stop.
    """
    seconds = 0.0
    run = launch(start, workdir, TOGETHER)
    deadline = time.monotonic() + TIMEOUT
    while run.step < at or (saved and "committed" not in run.log()):
        assert run.process.poll() is None and time.monotonic() < deadline, run.log()
        time.sleep(0.02)
    assert run.process.poll() is None and run.step < STEPS, run.log()
    if kind == "SIGTERM":
        run.process.send_signal(signal.SIGTERM)  # which the launcher hands to both
        assert run.wait() == processes.STOPPED, run.log()
        stopped = int(re.findall(r"stopped at step (\d+)", run.log())[-1])
        assert f"step {stopped} committed" in run.log()
    else:
        workers, index = run.workers(), int(kind[-1])
        is_stopped = kind.startswith("SIGSTOP")
        os.kill(workers[index], signal.SIGSTOP if is_stopped else signal.SIGKILL)
        seconds = until_gone(workers[1 - index])
        if is_stopped:  # it waits for nobody, and the launcher for it
            os.kill(workers[index], signal.SIGKILL)
        assert run.wait() not in (0, processes.STOPPED), run.log()
    assert not (workdir / "latent" / "FINISHED").exists()
    return seconds


def until_gone(process: int, most: float = 60.0) -> float:
    """The seconds until a process has ended; it must not wait for the one that is lost for long."""
    begun = time.monotonic()
    while (seconds := time.monotonic() - begun) < most:
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            break
        if state == "Z":
            break
        time.sleep(0.02)
    assert seconds < most, "the other process must not wait for long"
    return seconds


def resumed(start: Path, workdir: Path, how: tuple[int, int]) -> Run:
    run = launch(start, workdir, how)
    assert run.wait() == 0, run.log()
    return run


def weights(run: Run) -> dict[str, np.ndarray]:
    return load_file(run.workdir / "release" / "unet.safetensors")


def check(whole: Run, again: Run, how: tuple[int, int]) -> None:
    """Equal to the uninterrupted run: to the bit on the same mesh, to rounding on another."""
    if how != SINGLE:
        assert again.checksum() == whole.checksum()
    ours, wanted = weights(again), weights(whole)
    assert ours.keys() == wanted.keys()
    furthest = max(float(np.abs(ours[name] - wanted[name]).max()) for name in wanted)
    assert furthest <= (1e-5 if how == SINGLE else 0.0)


def small_release(directory: Path) -> Path:
    """A release with random weights, to begin from."""
    sizes = small.smallest().model.to_dict()
    params = small.random_params(lcad.build(sizes))
    release.write(directory, sizes | {"method": "lcad"}, params, small.DATA / "tokenizer")
    return directory


def undisturbed(start: Path, workdir: Path) -> Run:
    """Two processes that nobody disturbs, to their end."""
    run = launch(start, workdir, TOGETHER)
    assert run.wait() == 0, run.log()
    assert run.step == STEPS
    given, ours = load_file(start / "unet.safetensors"), weights(run)
    assert max(float(np.abs(ours[name] - given[name]).max()) for name in given) > 2e-4, "it learns"
    return run
