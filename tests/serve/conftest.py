"""One small random model for all tests of the service, and photographs."""

import contextlib
import io
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

import colorjax
from colorjax.colorize.library import PhotoColorizer
from colorjax.serve.orders import Limits
from colorjax.serve.service import Service
from tests.small import write_cold_release

ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def serving(model: str | Path, *more: str) -> Iterator[tuple[subprocess.Popen, str]]:
    """The command from its start on: its process and its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "colorjax.serve", "--model", str(model), "--port", str(port)]
    words += more
    # No proxy, which a client would ask for this machine too.
    environment = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    process = subprocess.Popen(words, env=environment, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{address}/readyz", trust_env=False).status_code == 200:
                    break
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.2)
        yield process, address
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def photographs(small_release: Path) -> PhotoColorizer:
    return colorjax.load(small_release)


@pytest.fixture
def service(photographs: PhotoColorizer) -> Iterator[Service]:
    service = Service(photographs, Limits(waiting=12, of_client=8, variations=6, pixels=10**6))
    yield service
    service.close()


@pytest.fixture(scope="session")
def cold_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One with the parts of both methods."""
    return write_cold_release(tmp_path_factory.mktemp("cold") / "release", sigma=0.1)


@pytest.fixture(scope="session")
def model(small_release) -> str:
    return os.environ.get("COLORJAX_PAGE_MODEL", str(small_release))


@pytest.fixture(scope="session")
def address(model) -> Iterator[str]:
    with serving(model) as (_, address):
        yield address


@pytest.fixture(scope="module")  # while it runs, no other loop of events can
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        # Chromium asks for a sandbox that root has not.
        path = shutil.which("chromium")
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


def photo(seed: int = 0, height: int = 40, width: int = 44) -> np.ndarray:
    return np.random.default_rng(seed).integers(20, 235, (height, width)).astype(np.uint8)


def png(seed: int = 0, height: int = 40, width: int = 44) -> bytes:
    file = io.BytesIO()
    Image.fromarray(photo(seed, height, width)).save(file, "PNG")
    return file.getvalue()


def opened(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))
