"""Pickles of arrays: what is read, and what is refused before it runs."""

import io
import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from colorjax.convert import pickles
from colorjax.errors import UserError

ARRAYS = {
    "a": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "n": 3},
    "b": [np.asfortranarray(np.arange(6).reshape(2, 3)), (np.ones((), np.float16), None, "text")],
    "c": OrderedDict(x=np.array([1, 2], ">u2"), y=np.zeros((0, 2), bool)),
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickled_arrays_are_read(protocol: int, tmp_path: Path) -> None:
    (tmp_path / "weights.ckpt").write_bytes(pickle.dumps(ARRAYS, protocol))
    found = pickles.read(tmp_path / "weights.ckpt")
    paths = jax.tree.leaves_with_path(ARRAYS)
    for (path, value), (other, expected) in zip(
        jax.tree.leaves_with_path({**found, "c": OrderedDict(found["c"])}), paths, strict=True
    ):
        assert path == other
        np.testing.assert_array_equal(value, expected)
        assert not isinstance(expected, np.ndarray) or value.dtype == expected.dtype


class Hostile:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple:
        return self.call


@pytest.mark.parametrize("protocol", (0, 2, 4))
@pytest.mark.parametrize("function", [os.system, eval, np.load, getattr, np.ctypeslib.as_array])
def test_hostile_pickles_are_refused_by_name(
    function: Any, protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    argument = "touch ran" if function is os.system else "open('ran', 'w')"
    data = pickle.dumps({"a": ARRAYS["a"], "b": Hostile(function, argument)}, protocol)
    with pytest.raises(UserError, match=f"x.ckpt.*{function.__name__}"):
        pickles.load(io.BytesIO(data), "x.ckpt")
    assert not list(tmp_path.iterdir())


STRANGE = {
    "not a whole pickle": b"\x80\x02X\x01\x00\x00\x00aQ.",  # a persistent name
    "arrays of type 'U4'": pickle.dumps(np.array(["text"])),
    "arrays of type 'O8'": pickle.dumps(np.array([{}], object)),
    # Three elements promised, two delivered.
    "8 bytes for": pickle.dumps(np.zeros(2, "f4"), 2).replace(b"K\x02\x85", b"K\x03\x85"),
}


@pytest.mark.parametrize("message", STRANGE)
def test_strange_pickles_are_told(message: str) -> None:
    with pytest.raises(UserError, match=message):
        pickles.load(io.BytesIO(STRANGE[message]), "x")


def test_damaged_pickles_are_told() -> None:
    data = pickle.dumps(ARRAYS, 4)
    for end in range(len(data) - 1):
        with pytest.raises(UserError, match="not a whole pickle"):
            pickles.load(io.BytesIO(data[:end]), "x")


@pytest.mark.proof
def test_containers_that_hold_too_much_or_themselves_are_told() -> None:
    """Each list twice in the next one, 60 deep, is 2^60 lists when it is written out."""
    doubled: Any = []
    for _ in range(60):
        doubled = [doubled, doubled]
    deep: Any = []
    for _ in range(300):
        deep = {"a": deep}
    itself: dict[str, Any] = {}
    itself["state_dict"] = itself
    for value in (doubled, deep, itself, [0] * 1_000_001):
        with pytest.raises(UserError, match="hold too much, or themselves"):
            pickles.load(io.BytesIO(pickle.dumps(value)), "a.pkl")
    shared = np.ones(3)
    both = pickles.load(io.BytesIO(pickle.dumps({"a": shared, "b": [shared, shared]})), "a.pkl")
    assert len(both["b"]) == 2
