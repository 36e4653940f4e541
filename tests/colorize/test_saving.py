"""Results appear whole or not at all; the note in them says what they are."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from colorjax.colorize import finished
from colorjax.colorize.files import saving

FULL = """
import resource, sys
import numpy as np
from colorjax.colorize.files.saving import save_photo
from colorjax.errors import UserError
path, size = sys.argv[1], int(sys.argv[2])
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (size * 3 // 4, size))
rgb = np.random.default_rng(0).random((300, 300, 3), np.float32)
try:
    save_photo(path, rgb)
except UserError as error:
    sys.exit(f"told: {error}")
"""


@pytest.mark.parametrize("name", ["b.jpg", "b.png"])
def test_a_short_write_is_no_success(tmp_path, name) -> None:
    rgb = np.random.default_rng(0).random((300, 300, 3), np.float32)
    whole = tmp_path / "whole" / name
    saving.save_photo(whole, rgb)
    folder = tmp_path / "short"
    folder.mkdir()
    command = [sys.executable, "-c", FULL, str(folder / name), str(whole.stat().st_size)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "told: " in done.stderr and name in done.stderr
    assert not list(folder.iterdir())


def test_results_know_what_made_them(tmp_path) -> None:
    source, output = tmp_path / "a.png", tmp_path / "out.png"
    rgb = np.full((9, 9, 3), 0.5, np.float32)
    saving.save_photo(source, rgb)
    digest = saving_digest(source)

    def note(seed: int = 0, **settings) -> dict:
        made = {"num_steps": 4, "guidance_scale": 1.5, "batch_size": 4} | settings
        return finished.made_by("digest", "lcad", seed, made) | {"prompt": "rot"}

    assert not finished.is_finished(output, note(), source)
    saving.save_photo(output, rgb, note=note() | {finished.INPUT: digest})
    assert finished.is_finished(output, note(), source)
    assert finished.is_finished(output, note(batch_size=8), source), "of no effect on the bytes"
    for other in (note(1), note(num_steps=5), note() | {"prompt": "blau"}):
        assert not finished.is_finished(output, other, source)
    saving.save_photo(source, rgb * 0.5)
    assert not finished.is_finished(output, note(), source), "the photograph is another one"


def saving_digest(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_masks_are_known_by_their_contents(tmp_path) -> None:
    (tmp_path / "a.npy").write_bytes(b"one")
    digests = {finished.digest_of_masks(tmp_path), finished.digest_of_masks(tmp_path / "a.npy")}
    (tmp_path / "a.npy").write_bytes(b"two")
    digests |= {finished.digest_of_masks(tmp_path), finished.digest_of_masks(np.zeros((1, 2, 2)))}
    digests |= {finished.digest_of_masks("attention"), finished.digest_of_masks(None)}
    assert len(digests) == 6
