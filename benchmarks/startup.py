"""How long a start takes: importing the command, and from the command to its first picture.

    python -m benchmarks.startup --json=startup.json

By the bundled model, each time in a process of its own, when programs and shapes are on the disk
already; the first run, which puts them there, is told beside. CPU seconds are of all threads, and
the least of the rounds; on a machine that does nothing else a start takes less, since two threads
share the work.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from colorjax import errors

PHOTO = Path(__file__).parent.parent / "examples" / "chelsea.jpg"


def seconds(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """CPU seconds and seconds by the clock of a process."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, time.perf_counter() - start


def measure(rounds: int) -> dict[str, float]:
    """The least of the rounds, and the first run."""
    kept = ("JAX_COMPILATION_CACHE_DIR", "PYTHONDONTWRITEBYTECODE")
    environment = {name: value for name, value in os.environ.items() if name not in kept}
    with tempfile.TemporaryDirectory() as folder:
        environment["XDG_CACHE_HOME"] = folder
        result = str(Path(folder) / "result.png")
        colorize = [sys.executable, "-m", "colorjax.colorize", str(PHOTO), "--overwrite"]
        colorize += ["--output", result]
        command = [sys.executable, "-c", "import colorjax.colorize.command.run"]
        first, _ = seconds(colorize, environment)
        starts = [seconds(colorize, environment) for _ in range(rounds)]
        imports = [seconds(command, environment) for _ in range(rounds)]
    return {
        "first run, CPU s": first,
        "start, CPU s": min(cpu for cpu, _ in starts),
        "start, s": min(clock for _, clock in starts),
        "import, CPU s": min(cpu for cpu, _ in imports),
        "import, s": min(clock for _, clock in imports),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(arguments)
    rows = measure(args.rounds)
    for name, value in rows.items():
        print(f"{name:20}{value:6.2f}")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    errors.run(main)
