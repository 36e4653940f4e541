"""T6: on a full disk nothing half is left, the error comes with the save, and room helps."""

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from colorjax.colorize.files import saving
from colorjax.devices import compile_cache, sharding
from colorjax.errors import UserError
from colorjax.train import checkpoint, tracking
from tests.trust.conftest import Row

FILL = "fill"


def fill(disk: Path, left: int) -> None:
    """Leaves so many bytes of the disk."""
    about = os.statvfs(disk)
    free = about.f_bavail * about.f_frsize
    with (disk / FILL).open("wb") as file:
        file.write(os.urandom(max(0, free - left)))
    if left == 0:  # to the last page
        with (disk / FILL).open("ab", buffering=0) as file, pytest.raises(OSError):
            while True:
                file.write(bytes(4096))


def names(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} - {FILL}


def state(step: int) -> dict[str, Any]:
    values = np.random.default_rng(step).normal(size=40_000).astype(np.float32)
    return {"w": jax.device_put(values)}


def restored(folder: Path) -> tuple[int, Any]:
    saved = checkpoint.Checkpoints(folder)
    like = jax.eval_shape(lambda: state(0))
    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    try:
        return saved.restore(sharding.tree_shardings(like, mesh, [(".*", "replicate")]), like)
    finally:
        saved.close()


def saves(disk: Path, left: int, wait: bool) -> None:
    """The error comes with this save, or with the next thing that is done, not later."""
    said: list[str] = []
    saved = checkpoint.Checkpoints(disk / "checkpoints", say=said.append)
    saved.save(1, state(1))
    saved.confirm(wait=True)
    fill(disk, left)
    with pytest.raises(UserError, match="step 2 could not be written.*No space left"):
        saved.save(2, state(2))
        if wait:
            saved.confirm(wait=True)
        else:
            saved.save(3, state(3))
    saved.close(failed=True)
    assert sum("step 2 committed" in line for line in said) == 0
    step, tree = restored(disk / "checkpoints")
    assert step == 1
    np.testing.assert_array_equal(tree["w"], state(1)["w"])
    (disk / FILL).unlink()
    again = checkpoint.Checkpoints(disk / "checkpoints")
    again.save(2, state(2))
    again.close()
    assert restored(disk / "checkpoints")[0] == 2


def metrics(disk: Path, left: int) -> None:
    tracker = tracking.Tracker(disk, "toy", 10)
    tracker.open(0)
    tracker.write(1, {"loss": 1.0}, 8, 0.0)
    fill(disk, left)
    with pytest.raises(UserError, match="could not be written .No space left"):
        for _ in range(10_000):
            tracker.write(2, {f"a metric with a long name {i}": 1.0 for i in range(40)}, 8, 0.0)
    tracker.close()
    (disk / FILL).unlink()
    again = tracking.Tracker(disk, "toy", 10)
    again.open(1)
    again.write(2, {"loss": 0.5}, 8, 0.0)
    again.close()
    assert b'"step": 2, ' in (disk / "metrics.jsonl").read_bytes()


def output(disk: Path, left: int) -> None:
    rgb = np.random.default_rng(0).random((200, 200, 3), np.float32)
    saving.save_photo(disk / "before.png", rgb[:20])
    before = (disk / "before.png").read_bytes()
    fill(disk, left)
    for path in (disk / "before.png", disk / "new.png"):
        with pytest.raises(UserError, match=r"png' could not be written .No space left"):
            saving.save_photo(path, rgb)
    assert (disk / "before.png").read_bytes() == before and names(disk) == {"before.png"}
    (disk / FILL).unlink()
    saving.save_photo(disk / "new.png", rgb)
    assert names(disk) == {"before.png", "new.png"}


def cache(disk: Path, left: int) -> None:
    """Compiled programs that cannot be kept cost time, and nothing else."""
    from jax.experimental.compilation_cache import compilation_cache

    before, folder = jax.config.jax_compilation_cache_dir, disk / "xla"
    fill(disk, left // 20)  # a program is a few kilobytes

    def compiled() -> list[str]:
        """What is said while a program is compiled and run, whose result is right."""
        jax.clear_caches()
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            result = np.asarray(jax.jit(lambda x: x @ x + 12.5)(np.eye(9, dtype=np.float32)))
        assert result[0, 0] == 13.5 and result[0, 1] == 12.5
        return [str(warning.message) for warning in said]

    try:
        jax.config.update("jax_compilation_cache_dir", str(folder))
        compilation_cache.reset_cache()
        assert any("No space left" in line for line in compiled())
        (disk / FILL).unlink()
        compile_cache.forget_empty(folder)  # as each start does
        assert not list(folder.iterdir()) and not compiled()
        assert any(path.stat().st_size for path in folder.iterdir()), "now it is kept"
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
        compilation_cache.reset_cache()


PLACES: dict[str, Callable[[Path, int], None]] = {
    "checkpoint": lambda disk, left: saves(disk, left, wait=True),
    "checkpoint behind": lambda disk, left: saves(disk, left, wait=False),
    "metrics": metrics,
    "result": output,
    "compiled programs": cache,
}


@pytest.mark.parametrize("left", [0, 20_000])
@pytest.mark.parametrize("place", PLACES)
def test_full_disks(place: str, left: int, small_disk: Path, row: Row) -> None:
    """A disk of a megabyte, filled to the last byte or to a part of what is wanted."""
    PLACES[place](small_disk, left)
    row.tell(f"{place} with {left} bytes left")
