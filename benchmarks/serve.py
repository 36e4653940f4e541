"""What the service bears: many clients at once, thousands in a row, batches, and its start.

    python -m benchmarks.serve clients --seconds=60
    python -m benchmarks.serve row --requests=2000
    python -m benchmarks.serve batching
    python -m benchmarks.serve start
    python -m benchmarks.serve fuzz --schemathesis=schemathesis

Every part starts a service of its own on loopback, prints its figures as JSON and ends with 1 if
something was answered wrong. Clients have addresses of their own, 127.0.0.2 and on.
"""

import argparse
import asyncio
import base64
import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
from PIL import Image

ORDERS = 8  # different ones
EDITS = "/v1/images/edits"
LIMIT = httpx.Timeout(300.0)


class Served(NamedTuple):
    """A service that runs: its process, its address, and where it may put temporary files."""

    process: subprocess.Popen[bytes]
    port: int
    folder: Path
    seconds: float  # from the command to ready

    @property
    def address(self) -> str:
        """With scheme and port."""
        return f"http://127.0.0.1:{self.port}"

    def memory(self, name: str = "VmRSS") -> float:
        """Resident memory in MB; "VmHWM" is the most that it was."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024

    def cpu(self) -> float:
        """Seconds that all of its threads have computed: what other processes do not change."""
        values = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(values[11]) + int(values[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def serving(model: str) -> Iterator[Served]:
    """A service from its command on; afterwards SIGTERM must end it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "colorjax.serve", f"--model={model}", f"--port={port}"]
        start = time.monotonic()
        process = subprocess.Popen(words, env=os.environ | {"TMPDIR": folder})
        try:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    address = f"http://127.0.0.1:{port}/readyz"
                    if httpx.get(address, trust_env=False).status_code == 200:
                        break
                if process.poll() is not None:
                    raise SystemExit("the service did not start")
                time.sleep(0.05)
            yield Served(process, port, Path(folder), time.monotonic() - start)
            process.send_signal(signal.SIGTERM)
            assert process.wait(120) in (0, 143, -signal.SIGTERM), "SIGTERM did not end it"
        finally:
            process.kill()
            process.wait()


def photograph(number: int) -> bytes:
    """Smooth noise of 256 x 256 pixels."""
    coarse = np.random.default_rng(number).integers(20, 235, (8, 8)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((256, 256), Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


PHOTOGRAPHS = [photograph(number) for number in range(ORDERS)]


@contextlib.asynccontextmanager
async def client(served: Served, number: int = 0) -> AsyncIterator[httpx.AsyncClient]:
    """A client with an address of its own."""
    own = f"127.0.{1 + number // 250}.{2 + number % 250}"
    transport = httpx.AsyncHTTPTransport(local_address=own)
    async with httpx.AsyncClient(
        transport=transport, base_url=served.address, timeout=LIMIT, trust_env=False
    ) as web:
        yield web


async def ask(web: httpx.AsyncClient, number: int) -> httpx.Response:
    """One of the orders."""
    form = {"prompt": "a red car", "seed": str(number)}
    answer = await web.post(EDITS, data=form, files={"image": PHOTOGRAPHS[number]})
    return answer


def shown(answer: httpx.Response) -> np.ndarray:
    """The picture of an answer."""
    data = base64.b64decode(answer.json()["data"][0]["b64_json"])
    return np.asarray(Image.open(io.BytesIO(data))).astype(int)


@dataclass
class Seen:
    """What clients were told."""

    answers: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)  # of good orders, waiting for room included
    wrong: list[str] = field(default_factory=list)
    most_memory: float = 0.0


async def good(
    served: Served, number: int, until: float, expected: list[np.ndarray], seen: Seen
) -> None:
    """Orders again and again, waits where there is no room, and compares every picture."""
    async with client(served, number) as web:
        order = number
        while time.monotonic() < until:
            order += 1
            start = time.monotonic()
            while (answer := await ask(web, order % ORDERS)).status_code == 429:
                seen.answers["429 to good ones"] += 1
                await asyncio.sleep(int(answer.headers["retry-after"]))
            seen.seconds.append(time.monotonic() - start)
            seen.answers[f"{answer.status_code} to good ones"] += 1
            if answer.status_code != 200:
                seen.wrong.append(answer.text[:200])
            elif np.abs(shown(answer) - expected[order % ORDERS]).max() > 1:
                seen.wrong.append(f"another picture for order {order % ORDERS}")


async def oversized(served: Served, until: float, seen: Seen) -> None:
    """Announces a gigabyte: the answer comes before any of it is sent."""
    head = (
        f"POST {EDITS} HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\n"
        f"Content-Length: {2**30}\r\nContent-Type: multipart/form-data; boundary=x\r\n\r\n"
    )
    while time.monotonic() < until:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(head.encode())
            status = (await reader.readline()).split()[1:2]
            seen.answers[f"{b''.join(status).decode()} to large ones"] += 1
            writer.close()
        await asyncio.sleep(0.5)


async def refused(served: Served, number: int, until: float, seen: Seen) -> None:
    """Sends what must be refused with a sentence."""
    async with client(served, number) as web:
        while time.monotonic() < until:
            with contextlib.suppress(httpx.WriteError, httpx.RemoteProtocolError, httpx.ReadError):
                answer = await web.post(EDITS, files={"image": b"no picture"})
                seen.answers[f"{answer.status_code} to bad ones"] += 1
                if answer.status_code not in (400, 429):
                    seen.wrong.append(answer.text[:200])
            await asyncio.sleep(0.5)


async def raw(served: Served, until: float, seen: Seen, pause: float, hang_up: bool) -> None:
    """One byte at a time, or an order whose client is gone before the answer."""
    boundary = "x" * 20
    start = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="a.png"'
    body = f"{start}\r\n\r\n".encode() + PHOTOGRAPHS[0] + f"\r\n--{boundary}--\r\n".encode()
    head = (
        f"POST {EDITS} HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nContent-Length: {len(body)}\r\n"
        f"Content-Type: multipart/form-data; boundary={boundary}\r\n\r\n"
    ).encode()
    while time.monotonic() < until:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(head)
            if hang_up:
                writer.write(body)
                await writer.drain()
                await asyncio.sleep(pause)
                seen.answers["hung up"] += 1
            else:
                for byte in body:
                    if time.monotonic() > until or reader.at_eof():
                        break
                    writer.write(bytes([byte]))
                    await writer.drain()
                    seen.answers["slow bytes"] += 1
                    await asyncio.sleep(pause)
            writer.close()


async def crowd(served: Served, seconds: float, count: int) -> dict[str, Any]:
    """Clients of every kind at once."""
    async with client(served) as web:
        expected = [shown(await ask(web, number)) for number in range(ORDERS)]
    seen = Seen()
    until = time.monotonic() + seconds
    tasks = []
    for number in range(count):
        kind = number % 20
        if kind < 9:
            tasks.append(good(served, number, until, expected, seen))
        elif kind < 11:
            tasks.append(refused(served, number, until, seen))
        elif kind < 13:
            tasks.append(oversized(served, until, seen))
        elif kind < 18:
            tasks.append(raw(served, until, seen, 1.0, False))
        else:
            tasks.append(raw(served, until, seen, 0.2, True))

    async def watch() -> None:
        while time.monotonic() < until:
            seen.most_memory = max(seen.most_memory, served.memory())
            await asyncio.sleep(0.5)

    before = served.memory()
    await asyncio.gather(watch(), *tasks)
    await asyncio.sleep(2.0)
    left = [path.name for path in served.folder.iterdir()]
    times = np.array(seen.seconds)
    return {
        "clients": count,
        "seconds": seconds,
        "answers": dict(sorted(seen.answers.items())),
        "p50": round(float(np.percentile(times, 50)), 2),
        "p99": round(float(np.percentile(times, 99)), 2),
        "memory_before_mb": round(before),
        "memory_most_mb": round(seen.most_memory),
        "wrong": seen.wrong[:5],
        "left_in_tmp": left,
        "ok": not seen.wrong and not left,
    }


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
    return figures | memory | {"ok": drift < 0.05}


async def batching(served: Served, clients: int, each: int) -> dict[str, Any]:
    """Pictures a second: of one client, and of many at once."""

    async def some(number: int, count: int) -> None:
        async with client(served, number) as web:
            for at in range(count):
                (await ask(web, (number + at) % ORDERS)).raise_for_status()

    async def rate(crowd: int, count: int) -> tuple[float, float]:
        start, cpu = time.monotonic(), served.cpu()
        await asyncio.gather(*(some(number, count) for number in range(crowd)))
        pictures = crowd * count
        return pictures / (time.monotonic() - start), (served.cpu() - cpu) / pictures

    await asyncio.gather(*(some(number, 2) for number in range(clients)))  # compiles both programs
    await some(0, 2)
    (alone, alone_cpu), (together, together_cpu) = await rate(1, clients), await rate(clients, each)
    rates = {"alone_per_s": round(alone, 2), "together_per_s": round(together, 2)}
    cpu = {"alone_cpu_s": round(alone_cpu, 3), "together_cpu_s": round(together_cpu, 3)}
    ratio = round(together / alone, 2)
    return rates | cpu | {"clients": clients, "ratio": ratio, "ok": True}


async def start(served: Served) -> dict[str, Any]:
    """From the command to ready, and to the first picture."""
    begun, ready = time.monotonic(), served.cpu()
    async with client(served) as web:
        (await ask(web, 0)).raise_for_status()
    first = served.seconds + time.monotonic() - begun
    seconds = {"ready_s": round(served.seconds, 2), "first_picture_s": round(first, 2)}
    cpu = {"ready_cpu_s": round(ready, 2), "first_picture_cpu_s": round(served.cpu(), 2)}
    return seconds | cpu | {"ok": True}


def fuzz(served: Served, program: str, count: int) -> dict[str, Any]:
    """Requests that a program makes of the service's own description: none may be a 5xx."""
    options = ["--checks=not_a_server_error", "--phases=coverage,fuzzing", "--seed=0"]
    words = [program, "run", f"{served.address}/api/openapi.json", *options]
    words += [f"--max-examples={count}", "--suppress-health-check=all", "--no-color"]
    done = subprocess.run(words, capture_output=True, text=True)
    said = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    return {"schemathesis": said[-25:], "ok": done.returncode == 0}


def main(arguments: list[str] | None = None) -> int:
    """Runs one part; returns 1 if something was wrong."""
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
            figures = asyncio.run(batching(served, args.clients or 16, 6))
        elif args.part == "start":
            figures = asyncio.run(start(served))
        else:
            figures = fuzz(served, args.schemathesis, 1 + args.requests // 10)
    print(json.dumps(figures, indent=1))
    return 0 if figures["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
