"""T21: what the system refuses is told with the path, and nothing is lost by it."""

import contextlib
import errno
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache
from PIL import Image

from colorjax import files
from colorjax.colorize import options
from colorjax.colorize.command import run as command
from colorjax.colorize.files import saving
from colorjax.colorize.words import prompts
from colorjax.errors import UserError
from colorjax.prepare.planning import Request
from colorjax.prepare.run import prepare
from tests import pictures
from tests.colorize.test_controls import Painted
from tests.train import test_loop
from tests.trust.conftest import Row

NOBODY = 65534
RGB = np.full((9, 9, 3), 0.5, np.float32)


@contextlib.contextmanager
def nobody() -> Iterator[None]:
    """As a user without privileges: root may write anywhere."""
    is_root = os.geteuid() == 0
    if is_root:  # whose compiled programs nobody else may read
        jax.config.update("jax_enable_compilation_cache", False)
        compilation_cache.reset_cache()
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
            jax.config.update("jax_enable_compilation_cache", True)
            compilation_cache.reset_cache()


def let_pass(folder: Path) -> None:
    """Lets everybody into a test's folder, which may lie four levels below that of all users."""
    if os.geteuid() == 0:
        for path in (folder, *folder.parents[:3]):
            path.chmod(path.stat().st_mode | 0o055)


def photograph(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    if not (folder / "a.png").exists():
        Image.new("L", (20, 20), 99).save(folder / "a.png")
    return folder / "a.png"


def colour(photo: Path, output: Path) -> int:
    return command.main([str(photo), "--output", str(output), "--quiet"])


@pytest.fixture(autouse=True)
def _without_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "make_colorizer", lambda *_: Painted())
    monkeypatch.setattr(prompts, "remarks", lambda *_: [])


def train(folder: Path) -> object:
    return test_loop.train(folder, test_loop.config(log_every=0), 2)


def stored(folder: Path) -> object:
    return prepare(Request("folder", folder.parents[1] / "pictures", folder))


WRITERS: dict[str, Callable[[Path], object]] = {
    "a result": lambda folder: saving.save_photo(folder / "a.png", RGB),
    "results of the command": lambda folder: colour(photograph(folder.parent / "in"), folder),
    "a training": train,
    "a data set": lambda folder: stored(folder / "data"),
}


@pytest.mark.parametrize("what", WRITERS)
def test_a_folder_that_may_not_be_written_to(what: str, tmp_path: Path, row: Row) -> None:
    let_pass(tmp_path)
    photograph(tmp_path / "in")
    pictures.write_pictures(tmp_path / "pictures", ["a.jpg"])
    (tmp_path / "pictures" / "a.txt").write_text("a red car")
    # Once as who may: what is imported on the way lies where nobody else may look.
    WRITERS[what](tmp_path / "open")
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o555)
    with nobody(), pytest.raises((UserError, OSError)) as error:
        WRITERS[what](folder)
    assert str(folder) in str(error.value) and "ermission denied" in str(error.value)
    assert not list(folder.iterdir())
    row.tell(f"{what} in a folder of another user: the path is named")


@pytest.mark.parametrize("what", ["a result", "a training"])
def test_a_disk_that_is_read_only(what: str, small_disk: Path, row: Row) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises((UserError, OSError)) as error:
        WRITERS[what](small_disk / "new")
    assert str(small_disk) in str(error.value) and "ead-only file system" in str(error.value)
    row.tell(f"{what} on a read-only disk: the path is named")


def test_a_photograph_that_may_not_be_read(tmp_path: Path, row: Row) -> None:
    from colorjax.colorize.files import photos

    let_pass(tmp_path)
    path = photograph(tmp_path / "in")
    path.chmod(0o000)
    with nobody(), pytest.raises(UserError, match=r"a.png' may not be read by you"):
        photos.load_photo(path)
    row.tell("a photograph of another user: the path is named")


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EIO, errno.EBUSY, errno.ESTALE])
def test_a_rename_that_fails(
    number: int, tmp_path: Path, row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a network's disk: what was there stays, and nothing is left beside it."""
    path = tmp_path / "a.png"
    path.write_bytes(b"before")

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", fail)
    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(UserError) as error:
        files.write_bytes(path, b"after")
    assert str(path) in str(error.value) and os.strerror(number) in str(error.value)
    assert path.read_bytes() == b"before" and list(tmp_path.iterdir()) == [path]
    row.tell(f"a rename that fails by {errno.errorcode[number]}: what was there stays")


@pytest.mark.parametrize(
    "seconds", [-3600.0, *(pytest.param(n, marks=pytest.mark.slow) for n in (-1e9, 1e9))]
)
def test_a_clock_that_jumps(
    seconds: float, tmp_path: Path, row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run goes on from the last step by its number, and a folder by what results say."""
    whole = test_loop.train(tmp_path / "whole", test_loop.config(), 6)
    test_loop.train(tmp_path / "run", test_loop.config(checkpoint_every=1), 3)
    photo, output = photograph(tmp_path / "in"), tmp_path / "out"
    assert colour(photo, output) == 0
    before = (output / "a.png").stat().st_mtime_ns
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + seconds)
    state = test_loop.train(tmp_path / "run", test_loop.config(), 6)
    np.testing.assert_array_equal(state.params["w"], whole.params["w"])
    assert colour(photo, output) == 0 and (output / "a.png").stat().st_mtime_ns == before
    row.tell(f"a clock that jumps by {seconds:+.0g} s: the same bytes, nothing made again")
