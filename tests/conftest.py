"""Eight CPU devices and quiet defaults, before jax is first used."""

import os
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")

import jax  # noqa: E402
import pytest  # noqa: E402

cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "colorjax" / "tests-xla"
jax.config.update("jax_compilation_cache_dir", str(cache))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)

DATA = Path(__file__).parent / "assets"


@pytest.fixture(scope="session")
def cifar() -> Path:
    """256 CIFAR-10 test pictures as a prepared data directory, split `test`."""
    return DATA / "cifar10"


@pytest.fixture(scope="session")
def small_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release directory with random weights."""
    from tests.small import write_release

    return write_release(tmp_path_factory.mktemp("release") / "small")
