"""What the service bears: many clients at once, thousands in a row, batches, and its start.

    python -m benchmarks.serve clients --seconds=60
    python -m benchmarks.serve row --requests=2000
    python -m benchmarks.serve batching
    python -m benchmarks.serve start
    python -m benchmarks.serve fuzz --schemathesis=schemathesis

Every part starts a service of its own on loopback, prints its figures as JSON and ends with 1 if
something was answered wrong or a mark was missed. Clients have addresses of their own, 127.0.0.2
and on.
"""

import argparse
import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Any

import httpx
import numpy as np

from benchmarks.serve.crowd import crowd
from benchmarks.serve.serving import ORDERS, Served, ask, client, serving, shown

# The marks, on two idle cores with compiled programs kept.
READY, FIRST_PICTURE = 8.0, 10.0  # seconds from the command on
RATIO = 2.5  # of many clients' pictures a second to one client's
DRIFT = 0.05  # of resident memory after the first tenth of a row


async def row(served: Served, count: int) -> dict[str, Any]:
    """One after another; memory after the first tenth and at the end."""
    first, start = 0.0, time.monotonic()
    async with client(served) as web:
        for number in range(count):
            (await ask(web, number % ORDERS)).raise_for_status()
            if number + 1 == max(1, count // 10):
                first = served.memory()
    last = served.memory()
    drift = last / first - 1.0
    figures = {"requests": count, "seconds": round(time.monotonic() - start, 1)}
    memory = {"first_mb": round(first, 1), "last_mb": round(last, 1), "drift": round(drift, 4)}
    return figures | memory | {"ok": drift < DRIFT}


async def batching(served: Served, clients: int, each: int) -> dict[str, Any]:
    """Pictures a second, of one client and of many at once, and how these pictures differ."""

    async def some(number: int, count: int) -> list[tuple[int, httpx.Response]]:
        async with client(served, number) as web:
            orders = [(number + at) % ORDERS for at in range(count)]
            return [(order, (await ask(web, order)).raise_for_status()) for order in orders]

    async def rate(crowd: int, count: int) -> tuple[float, float, list[Any]]:
        start, cpu = time.monotonic(), served.cpu()
        answers = await asyncio.gather(*(some(number, count) for number in range(crowd)))
        pictures = crowd * count
        seconds = time.monotonic() - start
        return pictures / seconds, (served.cpu() - cpu) / pictures, sum(answers, [])

    await asyncio.gather(*(some(number, 2) for number in range(clients)))  # compiles both programs
    await some(0, 2)
    alone, alone_cpu, first = await rate(1, 2 * clients)
    together, together_cpu, others = await rate(clients, each)
    expected = {order: shown(answer) for order, answer in first}
    differences = np.stack([np.abs(shown(answer) - expected[order]) for order, answer in others])
    ratio = round(together / alone, 2)
    return {
        "alone_per_s": round(alone, 2),
        "together_per_s": round(together, 2),
        "alone_cpu_s": round(alone_cpu, 3),
        "together_cpu_s": round(together_cpu, 3),
        "clients": clients,
        "ratio": ratio,
        "levels_that_differ": float(np.mean(differences > 0)),
        "by_at_most": int(differences.max()),
        "ok": bool(ratio >= RATIO and differences.max() <= 1),
    }


async def start(served: Served) -> dict[str, Any]:
    """From the command to ready, and to the first picture."""
    begun, ready = time.monotonic(), served.cpu()
    async with client(served) as web:
        (await ask(web, 0)).raise_for_status()
    first = served.seconds + time.monotonic() - begun
    seconds = {"ready_s": round(served.seconds, 2), "first_picture_s": round(first, 2)}
    cpu = {"ready_cpu_s": round(ready, 2), "first_picture_cpu_s": round(served.cpu(), 2)}
    return seconds | cpu | {"ok": served.seconds <= READY and first <= FIRST_PICTURE}


def fuzz(served: Served, program: str, count: int) -> dict[str, Any]:
    """Requests that a program makes of the service's own description: none may be a 5xx."""
    options = ["--checks=not_a_server_error", "--phases=coverage,fuzzing", "--seed=0"]
    words = [
        os.path.abspath(shutil.which(program) or program),
        "run",
        f"{served.address}/api/openapi.json",
        *options,
    ]
    # Of each address, of which some have less to vary.
    words += [f"--max-examples={1 + count // 6}", "--suppress-health-check=all", "--no-color"]
    with tempfile.TemporaryDirectory() as folder:  # where it leaves a cache of its own
        done = subprocess.run(words, capture_output=True, text=True, cwd=folder)
    said = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    cases = sum(map(int, re.findall(r"(\d+) generated", done.stdout)))
    return {
        "cases": cases,
        "schemathesis": said[-10:],
        "ok": not done.returncode and cases >= count,
    }


def main(arguments: list[str] | None = None) -> int:
    """Runs one part; returns 1 if something was wrong or a mark was missed."""
    parser = argparse.ArgumentParser(description="What the service bears.")
    parser.add_argument("part", choices=("clients", "row", "batching", "start", "fuzz"))
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clients", type=int)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--schemathesis", default="schemathesis", help="the program")
    args = parser.parse_args(arguments)
    with serving(args.model) as served:
        if args.part == "clients":
            figures = asyncio.run(crowd(served, args.seconds, args.clients or 200))
        elif args.part == "row":
            figures = asyncio.run(row(served, args.requests))
        elif args.part == "batching":
            figures = asyncio.run(batching(served, args.clients or 16, 12))
        elif args.part == "start":
            figures = asyncio.run(start(served))
        else:
            figures = fuzz(served, args.schemathesis, args.requests)
    print(json.dumps(figures, indent=1))
    return 0 if figures["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
