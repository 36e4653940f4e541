"""All benchmarks, one after the other, and the tables that they fill in the documents.

    python -m benchmarks                       # each small, in some minutes
    python -m benchmarks --only startup layers # some of them
    python -m benchmarks --full                # each as its own module has it, in hours

Each runs in a process of its own; what cannot run here (no GPU, no torch, no prepared data) says so
and costs the others nothing. Figures are kept in benchmarks/results.json, from which the tables
are written: a benchmark that did not run keeps the rows that it had.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import tables
from colorjax import files

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results.json"


class Benchmark(NamedTuple):
    """A module of this folder: its arguments, and whether it writes figures for the tables."""

    small: tuple[str, ...] = ()
    full: tuple[str, ...] = ()
    writes: bool = False
    needs: str = ""  # a module to import, or "cifar10" for the prepared data set


BENCHMARKS = {
    "startup": Benchmark(("--rounds=2",), writes=True),
    "layers": Benchmark(("--rounds=2",), writes=True),
    "steps": Benchmark(("--count=8", "--rounds=1"), writes=True),
    "cpu": Benchmark(("--size=small", "--rounds=2"), ("--size=sd15",), True, "diffusers"),
    "input_pipeline": Benchmark(("--batches=2", "--count=64", "--rounds=1"), needs="torch"),
    "decoders": Benchmark(("--rounds=1",)),
    "photographs": Benchmark(("--count=2", "--num_steps=2")),
    "film": Benchmark(("--frames=4",)),
    "large": Benchmark(("--megapixels", "1")),
    "cold_diffusion": Benchmark(
        ("steps", "--limit=8", "--steps", "1"), ("steps",), needs="cifar10"
    ),
    "beliefs": Benchmark(("--limit=8",), needs="cifar10"),
    "serve": Benchmark(("clients", "--seconds=5", "--clients=4"), ("clients",)),
    "enhancement": Benchmark(("--limit=8",), needs="cifar10"),
    "color_ranker": Benchmark(("--limit=8",), needs="cifar10"),
    "instance_aware": Benchmark(("--count=4", "--step_sizes=0,10"), needs="cifar10"),
    "few_steps": Benchmark(("--limit=8", "--steps", "1", "2"), needs="cifar10"),
    "gpu": Benchmark(("--seconds=300",), needs="gpu"),
}


def modules() -> set[str]:
    """The benchmarks that are commands, but for the two sides of the one for GPUs.

    Not the reproduction, which takes hours and has a page of its own: `make reproduce`.
    """
    others = {"__main__", "gpu_jax", "gpu_torch", "reproduction"}
    folder = Path(__file__).parent
    files_ = {path.stem for path in folder.glob("*.py") if "__name__ ==" in path.read_text()}
    return (files_ | {path.parent.name for path in folder.glob("*/__main__.py")}) - others


def lacking(needs: str) -> str:
    """What a benchmark needs and this machine has not; "" if there is nothing."""
    if needs == "cifar10":
        return "" if (ROOT / "data" / needs).is_dir() else "data/cifar10 is not prepared"
    if needs == "gpu":
        code = "import jax; raise SystemExit(jax.default_backend() != 'gpu')"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True)
        return "there is no GPU" if done.returncode else ""
    if needs:
        done = subprocess.run([sys.executable, "-c", f"import {needs}"], capture_output=True)
        return f"{needs} is not installed" if done.returncode else ""
    return ""


def run(name: str, benchmark: Benchmark, more: list[str]) -> Any:
    """The figures that a benchmark wrote; None if it writes none.

    Raises:
        subprocess.CalledProcessError: it failed, and has said why.
    """
    command = [sys.executable, "-m", f"benchmarks.{name}", *more]
    if not benchmark.writes:
        subprocess.run(command, cwd=ROOT, check=True)
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figures.json"
        subprocess.run([*command, f"--json={path}"], cwd=ROOT, check=True)
        return json.loads(path.read_text())


def write(results: Mapping[str, Any]) -> None:
    """Keeps the figures, and writes every table between its markers."""
    files.write_text(RESULTS, json.dumps(results, indent=1) + "\n")
    for path, written in tables.TABLES.items():
        text = (ROOT / path).read_text()
        for name, table in written.items():
            text = tables.between(text, name, table(results))
        files.write_text(ROOT / path, text)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    names = [*BENCHMARKS, *sorted(modules() - BENCHMARKS.keys())]
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--full", action="store_true", help="as each module has it by itself")
    args = parser.parse_args(arguments)
    results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    failed = []
    for name in args.only:
        benchmark = BENCHMARKS.get(name)
        print(f"== {name}", flush=True)
        if benchmark is None and not args.full:
            print("left out: nothing here says what makes it small; --full runs it", flush=True)
            continue
        benchmark = benchmark or Benchmark()
        if reason := lacking(benchmark.needs):
            print(f"left out: {reason}", flush=True)
            continue
        try:
            figures = run(name, benchmark, list(benchmark.full if args.full else benchmark.small))
        except subprocess.CalledProcessError as error:
            failed.append(name)
            print(f"failed with code {error.returncode}", flush=True)
            continue
        if figures is not None:
            # Rows of the other size stay.
            kept = results.get(name, {}) if name == "cpu" else {}
            results[name] = kept | figures
            write(results)
    print(tables.summary(results))
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
