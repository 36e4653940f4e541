"""A service that a benchmark starts on loopback, and what is asked of it."""

import base64
import contextlib
import io
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np
from PIL import Image

ORDERS = 8  # different ones
EDITS = "/v1/images/edits"
LIMIT = httpx.Timeout(300.0)
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # one that has read no certificates, for all


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
    transport = httpx.AsyncHTTPTransport(verify=NO_TLS, local_address=own)
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
