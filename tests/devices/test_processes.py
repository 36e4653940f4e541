"""Two real processes over loopback: killed, stopped, resumed, to the numbers of a whole run."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
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


def interrupted(start: Path, workdir: Path, kind: str, at: int, saved: bool = False) -> Run:
    """A run of two processes that ends early, at about a step; `saved`: after a checkpoint."""
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
        os.kill(run.workers()[int(kind[-1])], signal.SIGKILL)
        killed = time.monotonic()
        assert run.wait() not in (0, processes.STOPPED), run.log()
        assert time.monotonic() - killed < 60, "the other process must not wait for long"
    assert not (workdir / "latent" / "FINISHED").exists()
    return run


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


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release with random weights, to begin from."""
    directory = tmp_path_factory.mktemp("start") / "release"
    sizes = small.smallest().model.to_dict()
    params = small.random_params(lcad.build(sizes))
    release.write(directory, sizes | {"method": "lcad"}, params, small.DATA / "tokenizer")
    return directory


@pytest.fixture(scope="module")
def whole(start: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two processes that nobody disturbs."""
    run = launch(start, tmp_path_factory.mktemp("whole") / "run", TOGETHER)
    assert run.wait() == 0, run.log()
    text = run.log()
    assert len(re.findall(r"goodput [\d.]+ % of", text)) == 1, "one process alone writes"
    assert run.step == STEPS
    given, ours = load_file(start / "unet.safetensors"), weights(run)
    assert max(float(np.abs(ours[name] - given[name]).max()) for name in given) > 2e-4, "it learns"
    return run


@pytest.mark.proof
@pytest.mark.parametrize(("kind", "how"), list(zip(KINDS, HOWS, strict=True)), ids=KINDS)
def test_an_interrupted_run_ends_as_the_whole_one(
    whole: Run, start: Path, tmp_path: Path, kind: str, how: tuple[int, int]
) -> None:
    interrupted(start, tmp_path / "run", kind, at=SAVE_EVERY, saved=True)
    again = resumed(start, tmp_path / "run", how)
    assert "resumed from step" in again.log()
    check(whole, again, how)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(30))
def test_interruptions_at_any_step(whole: Run, start: Path, tmp_path: Path, number: int) -> None:
    """Every kind ten times and every way to go on ten times; before the first checkpoint too."""
    kind, how = KINDS[number % 3], HOWS[(number // 3 + number) % 3]
    interrupted(start, tmp_path / "run", kind, random.Random(number).randint(1, STEPS * 2 // 3))
    check(whole, resumed(start, tmp_path / "run", how), how)
