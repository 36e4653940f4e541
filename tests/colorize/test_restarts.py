"""A thousand photographs, killed again and again; shares of workers."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from colorjax.colorize.command.selection import Shard
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


@pytest.mark.proof
def test_processes_of_a_run_share_the_photographs(tmp_path: Path) -> None:
    """Two that jax.distributed joins over loopback: each reads and writes its own share."""
    source, output = photographs(tmp_path / "in", 60, 3), tmp_path / "shared"
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    run = {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}", "JAX_NUM_PROCESSES": "2"}
    workers = [start(tmp_path / "log", source, "--output", tmp_path / "whole")]
    for i in range(2):
        own = run | {"JAX_PROCESS_ID": str(i)}
        arguments = (source, "--output", output, "--mesh", "all")
        workers.append(start(tmp_path / f"log{i}", *arguments, environment=own))
    codes = [worker.wait() for worker in workers]
    assert codes[0] == 1 and set(codes) <= {0, 1}
    logs = [set((tmp_path / f"log{i}").read_text().split()) for i in range(2)]
    assert min(map(len, logs)) > 15 and not logs[0] & logs[1] and len(logs[0] | logs[1]) == 57
    for path in (tmp_path / "whole").rglob("*.png"):
        assert path.read_bytes() == (output / path.relative_to(tmp_path / "whole")).read_bytes()
    assert len(list(output.rglob("*.png"))) == 57
    shares = [Shard(i + 1, 2) for i in range(2)]
    rows = [output / f"skipped-{share.number}-of-{share.of}.jsonl" for share in shares]
    listed = [row.read_text().count("\n") if row.exists() else 0 for row in rows]
    damaged = [Path(f"box {i % 7}", f"{i:04d}.png") for i in (0, 20, 40)]
    assert listed == [sum(map(share.has, damaged)) for share in shares]


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
