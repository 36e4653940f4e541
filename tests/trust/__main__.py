"""The whole reliability suite at full counts: `make trust`, or `python -m tests.trust [t03 ...]`.

Each row is a file of this folder, run in a process of its own. What it measured is kept in
docs/trust.json with the digest of the code it ran on, and docs/trust.md's table is written from
that: a run that was stopped goes on with the rows that have not passed on this code.
"""

import argparse
import datetime
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

from tests.trust import table

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
KEPT = ROOT / "docs" / "trust.json"
LIMIT = 1800  # seconds of one row
_writing = Lock()


def rows() -> dict[str, Path]:
    """The file of each row, by its name t01 to t24."""
    files = sorted(HERE.glob("test_t[0-9][0-9]_*.py"))
    return {re.findall(r"test_(t\d\d)_", path.name)[0]: path for path in files}


def digest(path: Path) -> str:
    """Of the code that a row ran on: the package, the configurations, the launchers, the row."""
    total = hashlib.sha256()
    sources = [ROOT / "colorjax", ROOT / "configs", ROOT / "launch"]
    code = [p for folder in sources for p in sorted(folder.rglob("*")) if p.suffix in table.CODE]
    for part in [*code, path]:
        total.update(str(part.relative_to(ROOT)).encode() + b"\0" + part.read_bytes())
    return total.hexdigest()[:12]


def run(name: str, path: Path, is_short: bool = False) -> dict[str, Any]:
    """Runs a row at its full count, or at the short one; what it measured."""
    with tempfile.NamedTemporaryFile(mode="r", suffix=".jsonl") as told:
        environment = os.environ | {"COLORJAX_TRUST": told.name}
        environment |= {"COLORJAX_TRUST_SHORT": "1"} if is_short else {}
        chosen = "not slow" if is_short else ""
        words = [sys.executable, "-m", "pytest", "-q", "-m", chosen, "-p", "no:cacheprovider"]
        start = time.monotonic()
        try:
            done = subprocess.run(
                [*words, str(path)],
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=LIMIT,
            )
            code, said = done.returncode, done.stdout
        except subprocess.TimeoutExpired as late:
            out = late.stdout or b""
            code, said = -1, out if isinstance(out, str) else out.decode(errors="replace")
        lines = [json.loads(line) for line in told.read().splitlines()]
    outcomes = next((line for line in lines if "outcomes" in line), {})
    result = {
        "figures": [line["figure"] for line in lines if "figure" in line],
        "outcomes": outcomes.get("outcomes", {}),
        "skipped": sorted(set(outcomes.get("skipped", []))),
        "passed": code == 0,
        "short": is_short,
        "seconds": round(time.monotonic() - start),
        "code": digest(path),
        "date": datetime.date.today().isoformat(),
        "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}",
    }
    state = "passed" if code == 0 else f"FAILED\n{said[-6000:]}"
    print(f"{name} {'; '.join(result['figures'])}: {result['seconds']} s, {state}", flush=True)
    return result


def kept() -> dict[str, Any]:
    return json.loads(KEPT.read_text()) if KEPT.exists() else {}


def keep(name: str, result: dict[str, Any]) -> None:
    """Remembers a row and writes the table anew."""
    with _writing:
        everything = kept() | {name: result}
        KEPT.write_text(json.dumps(dict(sorted(everything.items())), indent=1) + "\n")
        table.write(everything)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.trust", description=__doc__)
    parser.add_argument("rows", nargs="*", help="only these, such as t03; they run in any case")
    parser.add_argument(
        "--missing", action="store_true", help="not those that passed on other code"
    )
    parser.add_argument("--short", action="store_true", help="the counts of make test")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--table", action="store_true", help="only write the table")
    chosen = parser.parse_args(arguments)
    files, before = rows(), kept()
    if unknown := set(chosen.rows) - set(files):
        parser.error(f"{', '.join(sorted(unknown))}: the rows are {', '.join(files)}")

    def is_due(name: str) -> bool:
        old = before.get(name, {})
        fresh = chosen.missing or old.get("code") == digest(files[name])
        whole = old.get("passed") and fresh and (chosen.short or not old.get("short"))
        return name in chosen.rows or (not chosen.rows and not whole)

    due = [] if chosen.table else [name for name in files if is_due(name)]
    with ThreadPoolExecutor(chosen.jobs) as pool:
        results = list(pool.map(lambda name: (name, _done(name, files[name], chosen.short)), due))
    table.write(kept())
    failed = [name for name, result in results if not result["passed"]]
    print(f"{len(due)} rows run, {len(failed)} failed: {', '.join(failed) or 'none'}")
    return int(bool(failed))


def _done(name: str, path: Path, is_short: bool) -> dict[str, Any]:
    result = run(name, path, is_short)
    keep(name, result)
    return result


if __name__ == "__main__":
    sys.exit(main())
