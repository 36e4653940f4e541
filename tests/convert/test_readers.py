"""Weight files: whole ones are read, damaged and hostile ones are refused before they can act."""

import hashlib
import json
import pickle
import struct
import zipfile

import ml_dtypes
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from colorjax.convert import readers, torch_zip, writers
from colorjax.errors import UserError

TENSORS = {
    "a.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "b" * 113: np.arange(5),
    "c": np.array(1.5, np.float16),
    "empty": np.zeros((0, 3), np.float32),
    "transposed": np.arange(6, dtype=np.float64).reshape(2, 3).T,
    "narrow": np.arange(3).astype(ml_dtypes.bfloat16),
}


def same(got, expected) -> None:
    assert set(got) == set(expected)
    for key, tensor in expected.items():
        assert got[key].dtype == tensor.dtype and got[key].shape == tensor.shape
        np.testing.assert_array_equal(got[key], tensor)


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_round_trip(tmp_path, suffix) -> None:
    path = tmp_path / f"file{suffix}"
    write = writers.write_checkpoint if suffix == ".ckpt" else writers.write_safetensors
    write(path, TENSORS)
    same(readers.read(path), TENSORS)


def test_the_safetensors_package_agrees(tmp_path) -> None:
    known = {key: TENSORS[key].copy("C") for key in TENSORS}
    save_file(known, tmp_path / "theirs.safetensors")
    same(readers.read(tmp_path / "theirs.safetensors"), known)
    writers.write_safetensors(tmp_path / "ours.safetensors", TENSORS)
    with safe_open(tmp_path / "ours.safetensors", framework="np") as file:
        same({key: file.get_tensor(key) for key in list(file.keys())}, TENSORS)


def test_any_header_length_is_read(tmp_path) -> None:
    """Among them those whose bytes look like the start of a pickle."""
    for length in range(1, 200, 8):
        path = tmp_path / "file.safetensors"
        writers.write_safetensors(path, {"k" * length: np.ones(2, np.float32)})
        assert readers.read(path)["k" * length].shape == (2,)


def sharded(directory):
    names = {"a": "model-1.safetensors", "b": "model-2.safetensors"}
    for key, name in names.items():
        save_file({key: np.full(3, ord(key), np.float32)}, directory / name)
    index = directory / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": names}))
    return index


def test_shards(tmp_path) -> None:
    assert set(readers.read(sharded(tmp_path))) == {"a", "b"}


@pytest.mark.parametrize(
    "places",
    [
        {"a": "model-1.safetensors", "c": "model-2.safetensors"},
        {"a": "model-1.safetensors", "b": "../model-2.safetensors"},
        {"a": "model-1.safetensors", "b": "model-3.safetensors"},
        {"a": "model-1.safetensors", "b": "model-1.safetensors"},
        {"a": ["model-1.safetensors"]},
        "model-1.safetensors",
    ],
)
def test_an_index_that_is_wrong(tmp_path, places) -> None:
    index = sharded(tmp_path)
    index.write_text(json.dumps({"weight_map": places}))
    with pytest.raises(UserError, match="index"):
        readers.read(index)


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_truncated_files(tmp_path, suffix, share) -> None:
    path = tmp_path / f"file{suffix}"
    write = writers.write_checkpoint if suffix == ".ckpt" else writers.write_safetensors
    write(path, TENSORS | {"large": np.ones(4000, np.float32)})
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(UserError, match="damaged"):
        readers.read(path)


def header_of(entries: dict, body: bytes) -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + body


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("<Q", 2**60) + b"{}",
        header_of({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 8]}}, bytes(8)),
        header_of({"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]}}, bytes(16)),
        header_of({"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, -8]}}, bytes(8)),
        header_of({"a": {"dtype": "X1", "shape": [2], "data_offsets": [0, 8]}}, bytes(8)),
        header_of({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, bytes(9)),
        header_of({"a": {"shape": [2]}}, bytes(8)),
        header_of({"a": 3}, b""),
        struct.pack("<Q", 200_000) + b"[" * 200_000,
        b"",
    ],
)
def test_impossible_safetensors(tmp_path, data) -> None:
    path = tmp_path / "file.safetensors"
    path.write_bytes(data)
    with pytest.raises(UserError, match="file.safetensors"):
        readers.read(path)


def checkpoint(path, data: bytes, **members: bytes):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        for name, content in members.items():
            archive.writestr(f"archive/data/{name}", content)
    return path


class Touch:
    """Pickled as a call that leaves a file behind."""

    def __init__(self, path) -> None:
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("protocol", range(6))
def test_a_call_is_refused_by_name_and_not_made(tmp_path, protocol) -> None:
    target = tmp_path / "owned"
    data = pickle.dumps({"state_dict": {"a": Touch(target)}}, protocol)
    with pytest.raises(UserError, match=r"refused.*'(_?io|builtins|__builtin__)\.open'"):
        readers.read(checkpoint(tmp_path / "file.ckpt", data))
    assert not target.exists()


@pytest.mark.parametrize(
    "name", ["posix system", "builtins eval", "builtins getattr", "numpy load", "torch load"]
)
def test_names_beyond_tensors_and_containers(tmp_path, name) -> None:
    data = b"c" + name.replace(" ", "\n").encode() + b"\n."
    with pytest.raises(UserError, match=name.replace(" ", r"\.")):
        readers.read(checkpoint(tmp_path / "file.ckpt", data))


def test_a_label_is_text_that_cannot_be_called(tmp_path) -> None:
    name = b"cpytorch_lightning.callbacks.model_checkpoint\nModelCheckpoint\n"
    path = checkpoint(tmp_path / "a.ckpt", b"\x80\x02}" + name + b"X\x01\0\0\0vs.")
    with pytest.raises(UserError, match="no tensor"):  # read, but no weights
        readers.read(path)
    with pytest.raises(UserError, match="damaged"):
        readers.read(checkpoint(tmp_path / "b.ckpt", b"\x80\x02" + name + b")R."))


def tensor_pickle(count: int, offset: int, shape: tuple, strides: tuple) -> bytes:
    def number(n):
        return pickle.dumps(n, 2)[2:-1]

    def numbers(values):
        return b"(" + b"".join(map(number, values)) + b"t"

    storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu"
    return (
        b"\x80\x02}X\x01\0\0\0actorch._utils\n_rebuild_tensor_v2\n("
        + storage
        + number(count)
        + b"tQ"
        + number(offset)
        + numbers(shape)
        + numbers(strides)
        + b"\x89}tRs."
    )


def test_tensors_stay_in_their_storage(tmp_path) -> None:
    data = {"0": np.arange(6, dtype=np.float32).tobytes()}
    path = checkpoint(tmp_path / "a.ckpt", tensor_pickle(6, 1, (2, 2), (2, 1)), **data)
    assert readers.read(path)["a"].tolist() == [[1, 2], [3, 4]]
    for wrong in (
        (6, 0, (7,), (1,)),
        (6, 5, (2,), (1,)),
        (6, 0, (2,), (100,)),
        (6, 3, (2,), (-1,)),
        (6, -1, (2,), (1,)),
        (6, 0, (2, 2), (1,)),
        (7, 0, (2,), (1,)),
        (6, 0, (2**33,), (0,)),  # one value, as 32 GB
        (6, 0, (7, 1), (0, 1)),
        (6, 0, (2**62, 2**62, 0), (1, 1, 1)),
    ):
        with pytest.raises(UserError, match="damaged"):
            readers.read(checkpoint(tmp_path / "a.ckpt", tensor_pickle(*wrong), **data))


def legacy(path, *, facts: dict, storages: bytes) -> None:
    """A file from before PyTorch 1.6 with one tensor, `a`, of four values."""
    start = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
    view = tensor_pickle(4, 0, (2, 2), (2, 1)).replace(b"tQ", b"NtQ")
    head = [start, pickle.dumps(1001, 2), pickle.dumps(facts, 2), view, pickle.dumps(["0"], 2)]
    path.write_bytes(b"".join(head) + storages)


def test_files_from_before_pytorch_1_6(tmp_path) -> None:
    path = tmp_path / "old.pth"
    values = struct.pack("<q4f", 4, 1, 2, 3, 4)
    facts = {"little_endian": True}
    legacy(path, facts=facts, storages=values)
    assert readers.read(path)["a"].tolist() == [[1, 2], [3, 4]]
    for wrong in (values[:-1], values + b"x", struct.pack("<q4f", 5, 1, 2, 3, 4), b""):
        legacy(path, facts=facts, storages=wrong)
        with pytest.raises(UserError, match="damaged"):
            readers.read(path)
    legacy(path, facts={"little_endian": False}, storages=values)
    with pytest.raises(UserError, match="byte order"):
        readers.read(path)
    legacy(path, facts=facts | {"x": Touch(tmp_path / "owned")}, storages=values)
    with pytest.raises(UserError, match=r"refused.*open"):
        readers.read(path)
    assert not (tmp_path / "owned").exists()


def test_other_files_are_told(tmp_path) -> None:
    path = tmp_path / "old.ckpt"
    path.write_bytes(b"no weights")
    with pytest.raises(UserError, match="starts like none"):
        readers.read(path)
    with pytest.raises(UserError, match="does not exist"):
        readers.read(tmp_path / "none.ckpt")


def test_checksums_beside_a_file_are_compared(tmp_path) -> None:
    path = tmp_path / "a.safetensors"
    writers.write_safetensors(path, {"a": np.ones(3, np.float32)})
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (tmp_path / "SHA256SUMS").write_text(f"{digest}  a.safetensors\n")
    readers.read(path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="SHA256SUMS"):
        readers.read(path)


def test_a_state_dict_that_holds_itself_is_told(tmp_path) -> None:
    itself: dict = {}
    itself["state_dict"] = itself
    path = checkpoint(tmp_path / "a.ckpt", pickle.dumps(itself, 2))
    with pytest.raises(UserError, match="has an entry 'state_dict' that is no tensor"):
        readers.read(path)


def test_more_memory_than_there_is_is_damage(tmp_path, monkeypatch) -> None:
    def exhausted(*_):
        raise MemoryError("cannot allocate 2 EB")

    monkeypatch.setattr(torch_zip, "_load", exhausted)
    path = checkpoint(tmp_path / "a.ckpt", pickle.dumps({}, 2))
    with pytest.raises(UserError, match="a.ckpt' is damaged or no PyTorch file .MemoryError"):
        readers.read(path)
