"""From the command to the first picture: what is on the disk is neither traced nor compiled."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import pictures

# Tracing is what a start may not do: the networks' code is called for nothing else.
COMMAND = """
import sys
from colorjax.models import unet
from colorjax.colorize.command import run
original = unet.UNet.__call__
def told(*inputs, **named):
    print("traced")
    return original(*inputs, **named)
unet.UNet.__call__ = told
sys.exit(run.main(sys.argv[1:]))
"""


@pytest.mark.proof
def test_the_second_start_traces_and_compiles_nothing(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(pictures.encoded(pictures.pixels(0), "PNG"))
    kept = {"JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"}
    environment = {name: value for name, value in os.environ.items() if name not in kept}
    (tmp_path / "cache").mkdir(mode=0o700)
    environment["XDG_CACHE_HOME"] = str(tmp_path / "cache")

    def coloured(name: str) -> tuple[bytes, str]:
        arguments = [str(photo), "--model=bundled", f"--output={tmp_path / name}", "--plain"]
        command = [sys.executable, "-c", COMMAND, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
        return (tmp_path / name).read_bytes(), done.stdout + done.stderr

    first, said = coloured("first.png")
    assert "traced" in said and "to compile" in said
    second, said = coloured("second.png")
    assert "traced" not in said and "to compile" not in said
    assert first == second
