"""Checkpoints on the disk, and what can go wrong with their files."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from colorjax.devices import sharding
from colorjax.train import checkpoint

RULES = [(".*", "fsdp")]


def tree(seed: int) -> dict:
    """Random numbers: no bit of them is redundant."""
    rng = np.random.default_rng(seed)
    return {
        "params": {"w": rng.normal(size=(8, 24)).astype(np.float32)},
        "half": rng.normal(size=(16, 3)).astype(jnp.bfloat16),
        "step": np.int32(seed),
    }


def placed(seed: int, mesh: jax.sharding.Mesh):
    made = tree(seed)
    shardings = sharding.tree_shardings(made, mesh, RULES)
    return sharding.put(made, shardings), shardings


def write(folder: Path) -> list[str]:
    """Steps 1 and 2, from a mesh of eight; what was said."""
    said: list[str] = []
    saved = checkpoint.Checkpoints(folder, say=said.append)
    for step in (1, 2):
        saved.save(step, placed(step, sharding.make_mesh(fsdp=8))[0])
    saved.close()
    return said


def restore(folder: Path, mesh: jax.sharding.Mesh | None = None, keep: int = 2):
    said: list[str] = []
    saved = checkpoint.Checkpoints(folder, keep, said.append)
    mesh = mesh or sharding.make_mesh(fsdp=8)
    like = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, tree(0)))
    try:
        return *saved.restore(sharding.tree_shardings(like, mesh, RULES), like), said
    finally:
        saved.close()


def files(folder: Path) -> list[Path]:
    """Of the newest step."""
    found = sorted(path for path in (folder / "2").rglob("*") if path.is_file())
    assert len(found) > 5
    return found


def damages(
    path: Path, rng: np.random.Generator, flips: int = 3
) -> Iterator[tuple[str, bytes | None]]:
    """(name, bytes) of a file gone wrong in the ways that files do."""
    data = path.read_bytes()
    if data:
        for _ in range(flips):
            flipped = bytearray(data)
            flipped[rng.integers(len(data))] ^= 1 << rng.integers(8)
            yield "flip", bytes(flipped)
        yield "half", data[: len(data) // 2]
        yield "zeros", bytes(len(data))
        yield "empty", b""
    yield "gone", None


def is_seen(folder: Path, scratch: Path, changed: dict[Path, bytes | None]) -> bool:
    """Whether restoring with these files instead falls back to the step before.

    In any case the numbers are right: those of the step that is told. Asserts so.
    """
    copy = scratch / "checkpoints"
    shutil.copytree(folder, copy)
    for path, data in changed.items():
        broken = copy / path.relative_to(folder)
        broken.unlink() if data is None else broken.write_bytes(data)
    step, got, said = restore(copy)
    jax.tree.map(np.testing.assert_array_equal, got, tree(step))
    if step == 1:
        assert "checkpoint of step 2 is damaged" in said[0]
        assert not (copy / "2").exists() and (scratch / "damaged" / "2-0").is_dir()
    shutil.rmtree(scratch)
    return step == 1
