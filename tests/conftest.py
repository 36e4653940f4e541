"""Eight CPU devices, programs compiled quickly and kept between runs, before jax is first used."""

import gc
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

# Most of the tests' time would go into compiling programs that run once, on arrays of a few
# kilobytes. Convolutions and matrix products call libraries and are as fast without LLVM's
# optimisation; the older emitters of fused loops generate half as much code as those by MLIR.
FLAGS = (
    "--xla_force_host_platform_device_count=8",
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
    "--xla_cpu_use_fusion_emitters=false",
)
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "colorjax" / "tests-xla"
# By the environment, so that processes that tests start, and entry points that would choose the
# user's own folder, use the same.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", " ".join(FLAGS))
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

import jax  # noqa: E402
import pytest  # noqa: E402

DATA = Path(__file__).parent / "assets"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """One more than there are cores: there is always one that waits for a process or a timeout."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None  # xdist's own answer
    from colorjax.data import cores

    return 1 + cores.available()


def pytest_collection(session: pytest.Session) -> None:
    """A million objects come with the tests and the libraries, and none of them leaves again: the
    garbage collector would walk them while they come, and with every module that ends."""
    gc.disable()


def pytest_collection_finish(session: pytest.Session) -> None:
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="module", autouse=True)
def _programs_of_one_module() -> Iterator[None]:
    """Frees what was traced and compiled: a worker would keep gigabytes of it to its end."""
    yield
    jax.clear_caches()


@pytest.fixture(scope="session")
def cifar() -> Path:
    """256 CIFAR-10 test pictures as a prepared data directory, split `test`."""
    return DATA / "cifar10"


@pytest.fixture(scope="session")
def small_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release directory with random weights."""
    from tests.small import write_release

    return write_release(tmp_path_factory.mktemp("release") / "small")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """The folder of a real disk of one megabyte, where this user may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this user may not mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
