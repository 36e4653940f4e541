"""What fuzzing begins with, and what it has found: each is read, or told in a sentence."""

from pathlib import Path

import pytest

from tests.trust import fuzzing

FILES = sorted(path for path in fuzzing.CORPUS.rglob("*") if path.is_file())


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}-{p.name}")
def test_inputs_of_fuzzing(path: Path, tmp_path: Path) -> None:
    is_read = fuzzing.read(path.parent.name, path.read_bytes(), tmp_path)
    assert is_read or path.name.startswith("found-"), "what fuzzing begins with is whole"


def test_every_target_has_a_beginning() -> None:
    assert {path.parent.name for path in FILES} == set(fuzzing.TARGETS)
