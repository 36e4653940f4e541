"""Programs that outlive the process: known ones are not traced, and all else is compiled anew."""

import os
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from colorjax import files
from colorjax.devices import compile_cache, program_store
from colorjax.devices.program_store import Program

X = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs, as `compile_cache.setup` chooses one."""
    monkeypatch.setattr(compile_cache, "_own", tmp_path)
    return tmp_path


class Traced:
    """x -> x^2 sum + 1 for trees, which counts how often it is traced."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, tree: dict[str, jax.Array], shift: jax.Array) -> tuple[jax.Array, None]:
        self.times += 1
        return jnp.sum(tree["x"] ** 2) + shift, None


def _again(deciding: object = "f") -> tuple[Traced, Program]:
    """As a new process would make it."""
    function = Traced()
    return function, Program(function, deciding)


def test_a_known_program_is_not_traced(folder: Path) -> None:
    first, program = _again()
    for _ in range(2):
        assert program({"x": X}, np.float32(1)) == (56.0, None)
    assert (first.times, program._cache_size(), len(os.listdir(folder))) == (1, 1, 1)
    second, program = _again()
    assert program({"x": 2 * X}, np.float32(-1)) == (219.0, None)
    assert (second.times, program._cache_size()) == (0, 0)


def _shape(_: Path, __: pytest.MonkeyPatch) -> tuple[object, np.ndarray]:
    return "f", X[:1]


def _type(_: Path, __: pytest.MonkeyPatch) -> tuple[object, np.ndarray]:
    return "f", X.astype(np.int32)


def _deciding(_: Path, __: pytest.MonkeyPatch) -> tuple[object, np.ndarray]:
    return {"f": 2}, X


def _code(_: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[object, np.ndarray]:
    monkeypatch.setattr(files, "own_digest", lambda: "another")
    return "f", X


def _flags(_: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[object, np.ndarray]:
    monkeypatch.setenv("XLA_FLAGS", os.environ.get("XLA_FLAGS", "") + " ")
    return "f", X


def _setting(_: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[object, np.ndarray]:
    jax.config.update("jax_default_matmul_precision", "float32")
    return "f", X


def _processor(_: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[object, np.ndarray]:
    monkeypatch.setattr(program_store, "_processor", lambda: "flags: fpu")
    return "f", X


def _damaged(folder: Path, _: pytest.MonkeyPatch) -> tuple[object, np.ndarray]:
    (path,) = folder.iterdir()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    return "f", X


def _cut(folder: Path, _: pytest.MonkeyPatch) -> tuple[object, np.ndarray]:
    (path,) = folder.iterdir()
    path.write_bytes(path.read_bytes()[:20])
    return "f", X


@pytest.mark.parametrize(
    "change", [_shape, _type, _deciding, _code, _flags, _setting, _processor, _damaged, _cut]
)
def test_whatever_else_is_compiled_anew(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path, pytest.MonkeyPatch], tuple[object, np.ndarray]],
) -> None:
    _again()[1]({"x": X}, np.float32(0))
    deciding, x = change(folder, monkeypatch)
    function, program = _again(deciding)
    try:
        assert program({"x": x}, np.float32(0)) == ((x**2).sum(), None)
    finally:
        jax.config.update("jax_default_matmul_precision", None)
    assert (function.times, program._cache_size()) == (1, 1)


def test_what_is_in_the_cache_of_jax_can_be_kept_too(folder: Path) -> None:
    """jaxlib cannot write a program that it has read: it would be found and would not run."""
    assert jax.config.jax_compilation_cache_dir
    for deciding in ("a", "b"):
        function, program = _again(deciding)
        before = len(os.listdir(jax.config.jax_compilation_cache_dir))
        assert program({"x": X}, np.float32(0)) == (55.0, None)
        assert len(os.listdir(jax.config.jax_compilation_cache_dir)) == before
        function, program = _again(deciding)
        assert program({"x": X}, np.float32(0)) == (55.0, None)
        assert function.times == 0


def test_what_cannot_be_run_is_compiled_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _again()[1]({"x": X}, np.float32(0))

    def broken(*_: object, **__: object) -> Callable[..., None]:
        def run(*_: object) -> None:
            raise jax.errors.JaxRuntimeError("NOT_FOUND: a symbol")

        return run

    monkeypatch.setattr(program_store.serialize_executable, "deserialize_and_load", broken)
    function, program = _again()
    assert program({"x": X}, np.float32(0)) == (55.0, None)
    assert function.times == 1


def test_what_was_not_used_for_longest_makes_room(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program_store, "MOST", 2)
    (folder / "jit_other-cache").write_text("")

    def run(deciding: str, at: int) -> int:
        function, program = _again(deciding)
        before = set(folder.glob("program-*"))
        program({"x": X}, np.float32(0))
        for path in set(folder.glob("program-*")) - before:
            os.utime(path, (at, at))
        return function.times

    assert [run("a", 1), run("b", 2)] == [1, 1]
    assert run("a", 0) == 0  # used now, in the clock's time
    assert run("c", 4) == 1
    assert run("a", 0) == 0
    assert run("b", 5) == 1
    assert len(list(folder.glob("program-*"))) == 2 and (folder / "jit_other-cache").exists()


def test_without_a_folder_of_ones_own_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compile_cache, "_own", None)
    for _ in range(2):
        function, program = _again()
        assert program({"x": X}, np.float32(0)) == (55.0, None)
        assert (function.times, program._cache_size()) == (1, 1)


def test_a_folder_that_cannot_be_written_costs_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(compile_cache, "_own", tmp_path / "file")
    assert _again()[1]({"x": X}, np.float32(0)) == (55.0, None)
