"""A service with a model that computes nothing: `python -m tests.trust.serving PORT`.

What is tried on it is the service, and not the networks.
"""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from colorjax import release
from colorjax.colorize.library import PhotoColorizer
from colorjax.data.tokenizer import Tokenizer
from colorjax.inputs import Pictures
from colorjax.methods import registry
from colorjax.serve import __main__ as command
from colorjax.serve.api import Access, application
from colorjax.serve.service import Limits, Service
from tests.colorize.test_controls import Painted

ROOT = Path(__file__).parents[2]


class Served(Painted):
    """Noise by the seed, with the table of settings of a real method."""

    has_ranker = False
    image_size = 32

    def __init__(self) -> None:
        super().__init__(3.0)
        self.method = registry.find("lcad")
        self.methods = list(registry.METHODS.values())
        self.settings = {row.name: row.default for row in self.method.settings}
        self.tokenize = Tokenizer(release.BUNDLED / "tokenizer", 77)

    def _check(self, values: Mapping[str, Any]) -> None: ...

    def __call__(self, pictures: Pictures) -> np.ndarray:
        return np.asarray(super().__call__(pictures))


def photographs() -> PhotoColorizer:
    return PhotoColorizer(Served(), "noise", "0" * 64)


@contextlib.contextmanager
def process(*words: str) -> Iterator[tuple[subprocess.Popen, int]]:
    """A server of its own, by `python WORDS PORT`, once it is ready; and its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # No proxy, which a client would ask for this machine too.
    environment = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    running = subprocess.Popen(
        [sys.executable, *words, str(port)],
        env=environment,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 300
        while True:
            with contextlib.suppress(httpx.TransportError):
                place = f"http://127.0.0.1:{port}/readyz"
                if httpx.get(place, trust_env=False).status_code == 200:
                    break
            assert running.poll() is None, running.stderr and running.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield running, port
    finally:
        running.kill()
        running.communicate()


def main(port: int) -> None:
    service = Service(photographs(), Limits(waiting=64, of_client=64, pixels=10**6))
    access = Access(most_bytes=4 * 2**20, body_seconds=3.0)
    place = command.bound("127.0.0.1", port)
    command.run(application(service, "noise", access), place, head_seconds=3.0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
