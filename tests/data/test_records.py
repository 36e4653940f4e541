import hashlib
import json

import numpy as np
import pytest

from colorjax.data import records
from colorjax.errors import UserError


def _records(count, first=0):
    captions = {"complete": [], "partial": ["a dög"]}
    numbers = range(first, first + count)
    return [records.Record(f"k{i}", bytes([i, 0, 255]), None, captions) for i in numbers]


def _write(directory, split, *counts):
    """Shards with so many records each."""
    shards, first = [], 0
    for index, count in enumerate(counts):
        path = directory / records.shard_name(split, index, len(counts))
        shards.append(records.write_shard(path, iter(_records(count, first))))
        first += count
    return shards


def test_a_record_survives_packing():
    record = records.Record("é-1", b"\x00\xff", "dog", {"complete": ["a"], "partial": ["b", "c"]})
    assert records.Record.unpack(record.pack()) == record
    assert _records(1)[0].label is None
    assert records.Record.unpack(_records(1)[0].pack()) == _records(1)[0]


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x01", b"\x81\xa1a\x01"])
def test_foreign_bytes_are_the_users_error(data):
    with pytest.raises(UserError, match="prepare"):
        records.Record.unpack(data)


def test_pairs_are_packed_only_where_there_are_some():
    assert b"pairs" not in _records(1)[0].pack()
    record = records.Record("k", b"", None, {"complete": ["a red car"]}, [[["car", "red"]]])
    assert records.Record.unpack(record.pack()) == record


def test_shards_hold_all_records_in_order(tmp_path):
    shards = _write(tmp_path, "train", 2, 0, 3)
    names = [f"train-0000{i}-of-00003.array_record" for i in range(3)]
    assert [shard.file for shard in shards] == names
    assert [shard.records for shard in shards] == [2, 0, 3]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    for shard in shards:
        assert shard.sha256 == hashlib.sha256((tmp_path / shard.file).read_bytes()).hexdigest()
    source = records.open_split(tmp_path, "train")
    assert [records.Record.unpack(source[i]) for i in range(len(source))] == _records(5)


def test_a_shard_that_fails_has_no_name(tmp_path):
    def broken():
        yield from _records(2)
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match="array_record' could not be written .No space left"):
        records.write_shard(tmp_path / "train-00000-of-00001.array_record", broken())
    assert not records.splits(tmp_path)


def test_missing_data_names_the_command_and_the_splits(tmp_path):
    with pytest.raises(UserError, match="python -m colorjax.prepare"):
        records.open_split(tmp_path / "nowhere", "train")
    _write(tmp_path, "train", 1, 1, 1)
    _write(tmp_path, "val", 1)
    with pytest.raises(UserError, match=r"'test' \(splits there: train, val\)"):
        records.open_split(tmp_path, "test")
    (tmp_path / "train-00001-of-00003.array_record").unlink()
    with pytest.raises(UserError, match=r"'train' \(splits there: val\)"):
        records.open_split(tmp_path, "train")


def test_manifest_tells_counts_and_refuses_other_versions(tmp_path):
    with pytest.raises(UserError, match="manifest.json"):
        records.read_manifest(tmp_path)
    shards = _write(tmp_path, "train", 2, 1)
    records.write_manifest(tmp_path, "somewhere", {"train": shards}, options={"a": 1})
    manifest = records.read_manifest(tmp_path)
    assert manifest["source"] == "somewhere" and manifest["options"] == {"a": 1}
    assert manifest["splits"]["train"]["records"] == 3
    assert [shard["records"] for shard in manifest["splits"]["train"]["shards"]] == [2, 1]
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(manifest | {"format_version": 99}))
    with pytest.raises(UserError, match="format version 99"):
        records.read_manifest(tmp_path)


def test_a_damaged_shard_is_named(tmp_path):
    """Bits, holes and cuts, by the manifest's checksums; never numbers that nobody wrote."""
    shards = _write(tmp_path, "train", 30)
    records.write_manifest(tmp_path, "a source", {"train": shards})
    path, rng = tmp_path / shards[0].file, np.random.default_rng(0)
    whole = path.read_bytes()
    told = 0
    for kind in ["bit"] * 20 + ["zeros", "half", "empty", "text"]:
        data = bytearray(whole)
        if kind == "bit":
            data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        elif kind == "zeros":
            data[len(data) // 3 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 3)
        else:
            data = {"half": data[: len(data) // 2], "empty": b"", "text": b"text" * 99}[kind]
        path.write_bytes(data)
        try:
            source = records.open_split(tmp_path, "train")
            found = [records.Record.unpack(source[i]) for i in range(len(source))]
        except UserError as error:
            assert f"{path.name} is damaged" in str(error), kind
            told += 1
        else:
            assert found == _records(30), kind
    assert told >= 4, "most bits are of padding"
    path.write_bytes(whole)
    with pytest.raises(UserError, match="though all files are as they were prepared"):
        records.open_split(tmp_path, "train")[10**6]


@pytest.mark.parametrize(
    "content,message",
    [
        (b"", "manifest.json' cannot be read"),
        (b"\xff", "manifest.json' cannot be read"),
        (b"[]", "is not of type 'object'"),
        (b'{"format_version": 2}', "has format version 2"),
        (b'{"format_version": 1}', "'splits' is a required property"),
        (b'{"format_version": 1, "splits": {"a": 3}}', "splits.a: 3 is not of type"),
        (
            b'{"format_version": 1, "splits": {"a": {"records": 1, "shards": '
            b'[{"file": "../x", "records": 1, "sha256": "00"}]}}}',
            "shards.0.file: '../x' does not match",
        ),
    ],
)
def test_a_damaged_manifest_is_told(tmp_path, content, message):
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(UserError, match=message):
        records.verify(tmp_path)
