"""The command with a model without networks: what is killed is reading, waiting, writing."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from colorjax import files
from colorjax.colorize.files import saving

COMMAND = """
import os, sys
from colorjax.colorize import options
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

options.make_colorizer = lambda *_: Painted(3.0)
run.process = logged
prompts.remarks = lambda *_: []
sys.exit(run.main(sys.argv[2:]))
"""
ROOT = Path(__file__).parents[2]


def start(
    log: Path, *arguments: object, environment: Mapping[str, str] | None = None
) -> subprocess.Popen:
    command = [sys.executable, "-c", COMMAND, str(log), *map(str, arguments), "--quiet"]
    told = {"stderr": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | dict(environment or {}), **told)


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


class Seen(NamedTuple):
    """What came of a killed batch."""

    kills: int
    results: int
    again: int  # computed again, since they were not yet written
    listed: int


def killed(folder: Path, *, count: int, damaged: int, kills: int, seed: int = 0) -> Seen:
    """Colours photographs, is killed so often at random moments, and is started once more.

    Asserts that every whole photograph has a whole result, that hardly one was computed twice,
    and that the damaged ones are listed.
    """
    source, output = photographs(folder / "in", count, damaged), folder / "out"
    log, moments, done_kills = folder / "log", random.Random(seed), 0
    most = max(2, (count - damaged) // (kills + 1))
    for _ in range(kills):
        done = len(log.read_text().splitlines()) if log.exists() else 0
        running = start(log, source, "--output", output)
        goal = done + moments.randrange(1, max(2, min(50, most)))
        while running.poll() is None:
            if log.exists() and len(log.read_text().splitlines()) >= goal:
                running.send_signal(signal.SIGKILL)
                done_kills += 1
                break
            time.sleep(0.002)
        running.wait()
    assert done_kills == kills
    # A kill in the middle of writing may leave a hidden file beside the results, which the next
    # run sweeps, and never a result.
    (output / "box 1" / f".{files._here()}-{running.pid}-{'0' * 32}.partial.png").touch()
    assert start(log, source, "--output", output).wait() == 1
    assert not list(output.rglob(".*"))
    results = sorted(output.rglob("*.png"))
    assert len(results) == count - damaged
    for path in results:
        with Image.open(path) as picture:
            picture.load()
        assert saving.note_of(path) is not None
    rows = [json.loads(line) for line in (output / "skipped.jsonl").read_text().splitlines()]
    assert len({row["file"] for row in rows}) == len(rows) == damaged
    computed = log.read_text().splitlines()
    assert len(set(computed)) == count - damaged
    # What was computed and not yet written: a queue of 32, one more, a batch of 4.
    assert len(computed) - len(results) <= kills * (32 + 1 + 4)
    return Seen(done_kills, len(results), len(computed) - len(results), len(rows))
