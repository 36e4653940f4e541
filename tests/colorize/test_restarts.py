"""A thousand photographs, killed again and again; shares of workers."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.colorize.restarts import COMMAND, ROOT, killed, photographs, start


@pytest.mark.proof
def test_killed_ten_times_everything_is_made_once(tmp_path: Path) -> None:
    killed(tmp_path, count=1000, damaged=50, kills=10)


@pytest.mark.proof
def test_shares_together_are_the_whole(tmp_path: Path) -> None:
    source = photographs(tmp_path / "in", 90, 3)
    log = tmp_path / "log"
    workers = [start(log, source, "--output", tmp_path / "whole")]
    for i in (1, 2, 3):
        workers.append(start(log, source, "--output", tmp_path / "shared", "--shard", f"{i}/3"))
    codes = [worker.wait() for worker in workers]
    assert codes[0] == 1 and set(codes) <= {0, 1}
    whole = {
        path.relative_to(tmp_path / "whole"): path for path in tmp_path.rglob("whole/**/*.png")
    }
    shared = {p.relative_to(tmp_path / "shared"): p for p in tmp_path.rglob("shared/**/*.png")}
    assert len(whole) == 87 and set(whole) == set(shared)
    for name, path in whole.items():
        assert path.read_bytes() == shared[name].read_bytes()
    rows = "".join(path.read_text() for path in (tmp_path / "shared").glob("skipped-*-of-3.jsonl"))
    assert rows.count("\n") == 3


def test_ctrl_c_finishes_what_is_in_flight(tmp_path: Path) -> None:
    source, log = photographs(tmp_path / "in", 400, 2), tmp_path / "log"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n" + COMMAND
    running = subprocess.Popen(
        [sys.executable, "-c", code, str(log), str(source), "--output", str(tmp_path / "out")],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    while running.poll() is None and not (log.exists() and log.stat().st_size):
        time.sleep(0.005)
    running.send_signal(signal.SIGINT)
    said = running.communicate()[1]
    assert running.returncode == 130
    results = list((tmp_path / "out").rglob("*.png"))
    assert 0 < len(results) < 398 and f"{len(results)} coloured" in said
    assert "left: the same command goes on" in said and "Traceback" not in said
