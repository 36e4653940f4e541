"""Two processes measure what one does: every picture's values, and the moments to 1e-9."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.evaluate.one_of_several import PICTURES

ROOT = Path(__file__).parents[2]
ONE_DEVICE = re.sub(r"--xla_force_host_platform_device_count=\d+", "", os.environ["XLA_FLAGS"])


def start(path: Path, **more: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "tests.evaluate.one_of_several", str(path)]
    environment = os.environ | {"XLA_FLAGS": ONE_DEVICE} | more
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def free_port() -> int:
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        return chosen.getsockname()[1]


@pytest.mark.proof
def test_two_processes_give_the_figures_of_one(tmp_path: Path) -> None:
    run = {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{free_port()}", "JAX_NUM_PROCESSES": "2"}
    everyone = [start(tmp_path / "one.npz")]
    everyone += [start(tmp_path / "two.npz", **run, JAX_PROCESS_ID=str(i)) for i in range(2)]
    for process in everyone:
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors.decode()[-2000:]
    with np.load(tmp_path / "one.npz") as one, np.load(tmp_path / "two.npz") as two:
        assert list(one["keys"]) == list(two["keys"]) and len(one["keys"]) == PICTURES
        assert set(one.files) == set(two.files)
        for name in (name for name in one.files if name.startswith("score_")):
            np.testing.assert_array_equal(one[name], two[name], err_msg=name)
        np.testing.assert_allclose(two["mean"], one["mean"], rtol=1e-9, atol=1e-12)
        scale = np.abs(one["covariance"]).max()
        np.testing.assert_allclose(two["covariance"], one["covariance"], atol=1e-9 * scale)
        np.testing.assert_allclose(two["kid"], one["kid"], rtol=1e-9)
