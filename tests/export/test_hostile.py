"""Files that somebody made to do more than colour: right checksums, and a program of their own."""

import zipfile

import jax
import numpy as np
import pytest
from hypothesis import given, seed
from safetensors.numpy import save

from colorjax.errors import UserError
from colorjax.export import archive, exported
from tests import small
from tests.searching import changed, searched


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


def test_small_parts_that_are_much_together(tmp_path, monkeypatch) -> None:
    path = tmp_path / "a.cjx"
    archive.write(path, {}, [(f"programs/{n}", lambda: bytes(1000)) for n in range(10)])
    archive.Archive(path)
    monkeypatch.setattr(archive, "MOST_PACKED_IN_ALL", 10_000)
    with pytest.raises(UserError, match="its parts are larger than they can be"):
        archive.Archive(path)


TABLE = {"name": "lcad", "title": "L-CAD", "settings": []}
PARTS = {
    "tokenizer/vocab.json": (small.DATA / "tokenizer" / "vocab.json").read_bytes(),
    "tokenizer/merges.txt": (small.DATA / "tokenizer" / "merges.txt").read_bytes(),
    "weights/unet": save({"a": np.ones((2, 2), np.float32)}),
}
ABOUT = dict(
    colorjax="1",
    jax="1",
    platforms=["cpu"],
    dtype="float32",
    release="0",
    method="lcad",
    methods=[TABLE],
    settings={"vividness": 1.0, "negative_prompt": ""},
    refused={},
    image_size=32,
    batch_size=4,
    buckets=[[32, 32]],
    tokenizer={"max_length": 16, "most_ids": 1024, "files": [*PARTS][:2]},
    weights={"unet": "weights/unet"},
    programs=[],
)
ROW = {"name": "a", "kind": "float", "help": "", "default": 1.0}


@seed(0)
@searched(30)
@given(changed(ABOUT))
def test_a_manifest_of_anything_is_told_or_read(tmp_path_factory, about) -> None:
    path = tmp_path_factory.mktemp("export") / "a.cjx"
    archive.write(path, about, [(part, lambda data=data: data) for part, data in PARTS.items()])
    try:
        exported.ExportedColorizer(path)
    except UserError as error:
        assert len(str(error)) < 1000


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("methods", [], "methods: "),
        ("methods", [TABLE | {"settings": "abc"}], "methods.0.settings: 'abc'"),
        ("methods", [TABLE | {"settings": [ROW | {"least": "x"}]}], "settings.0.least: 'x'"),
        ("methods", [TABLE | {"settings": [ROW]}], "its settings lack a"),
        ("methods", [TABLE, TABLE], "'lcad' is not one of its methods"),
        ("method", "another", "'another' is not one of its methods"),
        ("settings", {}, "its settings lack negative_prompt, vividness"),
        ("settings", {"vividness": 1e300}, "settings.vividness: 1e.300"),
        ("settings", {"vividness": float("nan")}, "NaN is no number"),
        ("refused", {"another": ""}, "its settings lack another"),
        ("image_size", 10**40, "image_size: 1000"),
        ("buckets", [], "buckets: "),
        ("buckets", [[32, 32, 32]], "buckets.0: "),
        ("buckets", [[10**30, 32]], "buckets.0.0: "),
        ("tokenizer", ABOUT["tokenizer"] | {"max_length": 10**12}, "max_length: 1000"),
        ("tokenizer", ABOUT["tokenizer"] | {"files": ["tokenizer/.."]}, "parts lack tokenizer/.."),
        ("weights", {"unet": "none"}, "its parts lack none"),
        ("weights", {"unet": "tokenizer/vocab.json"}, "weights that are none"),
    ],
)
def test_a_manifest_that_cannot_be(tmp_path, name, value, message) -> None:
    parts = [(part, lambda data=data: data) for part, data in PARTS.items()]
    archive.write(tmp_path / "a.cjx", ABOUT, parts)
    exported.ExportedColorizer(tmp_path / "a.cjx")
    archive.write(tmp_path / "a.cjx", ABOUT | {name: value}, parts)
    with pytest.raises(UserError, match=message):
        exported.ExportedColorizer(tmp_path / "a.cjx")
