"""One small random model for all tests of the service, and photographs."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import colorjax
from colorjax.colorize.library import PhotoColorizer
from colorjax.serve.orders import Limits
from colorjax.serve.service import Service
from tests.small import write_cold_release


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


def photo(seed: int = 0, height: int = 40, width: int = 44) -> np.ndarray:
    return np.random.default_rng(seed).integers(20, 235, (height, width)).astype(np.uint8)


def png(seed: int = 0, height: int = 40, width: int = 44) -> bytes:
    file = io.BytesIO()
    Image.fromarray(photo(seed, height, width)).save(file, "PNG")
    return file.getvalue()


def opened(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))
