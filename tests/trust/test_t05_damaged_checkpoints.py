"""T5: whatever happens to a file of a checkpoint, no wrong number is restored."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from tests.train import saved
from tests.trust.conftest import Row


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("whole") / "checkpoints"
    saved.write(made)
    return made


def test_damaged_files(folder: Path, tmp_path: Path, row: Row) -> None:
    """20 flipped bits, half, zeros, nothing in it, gone: of every file of the newest step."""
    rng, files = row.rng(), saved.files(folder)
    cases = [(path, data) for path in files for _, data in saved.damages(path, rng, flips=20)]
    if not row.is_full:
        cases = [cases[i] for i in rng.choice(len(cases), 4, replace=False)]
    seen = sum(saved.is_seen(folder, tmp_path / "copy", {path: data}) for path, data in cases)
    row.tell(
        f"{len(cases)} damages of {len(files)} files: {seen} seen and the step before restored, "
        f"{len(cases) - seen} without effect, 0 silent"
    )


def test_exchanged_files(folder: Path, tmp_path: Path, row: Row) -> None:
    """Two files of a step, and a file with that of the step before."""
    files = saved.files(folder)
    pairs = list(itertools.combinations(files, 2))
    before = [folder / "1" / path.relative_to(folder / "2") for path in files]
    pairs += [(path, old) for path, old in zip(files, before, strict=True) if old.exists()]
    rng: np.random.Generator = row.rng(1)
    chosen = rng.choice(len(pairs), row.count(1, len(pairs)), replace=False)
    seen = 0
    for i in chosen:
        one, other = pairs[i]
        # Of two steps only the newer is changed, so that the older can be fallen back to.
        changed = {one: other.read_bytes()}
        changed |= {other: one.read_bytes()} if other in files else {}
        seen += saved.is_seen(folder, tmp_path / "copy", dict(changed))
    row.tell(f"{len(chosen)} exchanges: {seen} seen, {len(chosen) - seen} without effect, 0 silent")
