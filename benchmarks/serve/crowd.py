"""Clients of every kind at once: good ones, and those that send nonsense, too much, or hardly."""

import asyncio
import contextlib
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np

from benchmarks.serve.serving import EDITS, ORDERS, PHOTOGRAPHS, Served, ask, client, shown


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
        while order == number or time.monotonic() < until:  # each has one at least
            order += 1
            start = time.monotonic()
            try:
                while (answer := await ask(web, order % ORDERS)).status_code == 429:
                    seen.answers["429 to good ones"] += 1
                    await asyncio.sleep(int(answer.headers["retry-after"]))
            except httpx.TransportError as error:
                left = until - time.monotonic()
                seen.wrong.append(f"{error!r} in place of an answer, {left:.1f} s before the end")
                continue
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
