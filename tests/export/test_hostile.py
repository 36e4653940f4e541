"""Files that somebody made to do more than colour: right checksums, and a program of their own."""

import zipfile

import jax
import numpy as np
import pytest

from colorjax.errors import UserError
from colorjax.export import archive, exported


def module(function) -> bytes:
    shape = jax.ShapeDtypeStruct((3,), np.float32)
    checks = [jax.export.DisabledSafetyCheck.custom_call("xla_ffi_python_cpu_callback")]
    whole = jax.export.export(jax.jit(function), disabled_checks=checks)(shape)
    return jax.export.deserialize(bytearray(whole.serialize())).mlir_module_serialized


def test_programs_that_only_compute() -> None:
    assert exported._computes_only(module(lambda x: jax.numpy.tanh(x) @ x))
    assert not exported._computes_only(b"module { func.func @main() { return } }")


def test_a_program_that_calls_out_is_known() -> None:
    """jax itself refuses to export a callback; what it would be is a custom call by name."""

    def sorted_(x):  # an eigenvalue problem is a custom call to LAPACK
        return jax.numpy.linalg.eigvalsh(x[:, None] * x[None])

    assert not exported._computes_only(module(sorted_))


def test_what_unpacks_to_too_much(tmp_path, monkeypatch) -> None:
    path = tmp_path / "a.cjx"
    archive.write(path, {}, [("programs/a", lambda: bytes(10_000))])
    archive.Archive(path)
    monkeypatch.setattr(archive, "MOST_PACKED_BYTES", 9_999)
    with pytest.raises(UserError, match="programs/a is larger than it can be"):
        archive.Archive(path)
    assert zipfile.is_zipfile(path)
