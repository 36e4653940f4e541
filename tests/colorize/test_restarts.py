"""A thousand photographs, killed again and again; shares of workers. A model without networks
stands for the real one, so that what is killed is the reading, waiting and writing."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from colorjax import files
from colorjax.colorize.files import saving

COMMAND = """
import os, sys
from colorjax.colorize.command import run
from colorjax.colorize.words import prompts
from tests.colorize.test_controls import Painted

log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
process = run.process

def logged(*arguments):
    for outcome in process(*arguments):
        if outcome.error is None:
            os.write(log, (os.path.basename(outcome.request.source) + "\\n").encode())
        yield outcome

run.make_colorizer = lambda *_: Painted(3.0)
run.process = logged
prompts.remarks = lambda *_: []
sys.exit(run.main(sys.argv[2:]))
"""
ROOT = Path(__file__).parents[2]


def start(log: Path, *arguments: object) -> subprocess.Popen:
    command = [sys.executable, "-c", COMMAND, str(log), *map(str, arguments), "--quiet"]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def photographs(folder: Path, count: int, damaged: int) -> Path:
    rng = np.random.default_rng(0)
    for i in range(count):
        path = folder / f"box {i % 7}" / f"{i:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if i % (count // damaged) == 0:
            path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
        else:
            Image.fromarray(rng.integers(60, 190, (12, 16), np.uint8)).save(path)
    return folder


@pytest.mark.proof
def test_killed_ten_times_everything_is_made_once(tmp_path: Path) -> None:
    source, output = photographs(tmp_path / "in", 1000, 50), tmp_path / "out"
    log = tmp_path / "log"
    moments = random.Random(0)
    kills = 0
    for _ in range(10):
        done = len(log.read_text().splitlines()) if log.exists() else 0
        running = start(log, source, "--output", output)
        goal = done + moments.randrange(5, 50)
        while running.poll() is None:
            if log.exists() and len(log.read_text().splitlines()) >= goal:
                running.send_signal(signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.002)
        running.wait()
    assert kills == 10
    # A kill in the middle of writing may leave a hidden file beside the results, which the next
    # run sweeps, and never a result.
    (output / "box 1" / f".{files._here()}-{running.pid}-{'0' * 32}.partial.png").touch()
    assert start(log, source, "--output", output).wait() == 1
    assert not list(output.rglob(".*"))
    results = sorted(output.rglob("*.png"))
    assert len(results) == 950
    for path in results:
        with Image.open(path) as picture:
            picture.load()
        assert saving.note_of(path) is not None
    rows = [json.loads(line) for line in (output / "skipped.jsonl").read_text().splitlines()]
    assert len({row["file"] for row in rows}) == len(rows) == 50
    computed = log.read_text().splitlines()
    assert len(set(computed)) == 950
    # What was computed and not yet written: a queue of 32, one more, a batch of 4.
    assert len(computed) - 950 <= kills * (32 + 1 + 4)


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
