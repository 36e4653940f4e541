"""The command as a whole: what it writes, that bytes do not depend on how, and how it goes on."""

import io
import json
import os
import pickle
import struct
import tarfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from colorjax.data import records, transforms
from colorjax.errors import UserError
from colorjax.prepare import assembly, captioner, shards
from colorjax.prepare import workers as worker_pool
from colorjax.prepare.__main__ import main
from colorjax.prepare.planning import Request
from colorjax.prepare.run import prepare
from colorjax.prepare.sources import cifar10
from tests import pictures

RNG = np.random.default_rng(0)
TRAIN = RNG.integers(0, 256, (10, 32, 32, 1), np.uint8).repeat(3, -1), np.arange(10)
TEST = RNG.integers(0, 256, (3, 32, 32, 3), np.uint8), np.array([9, 1, 8])
TRAIN[0][0] = 255, 0, 0


def run(source, path, output, workers=1, runner=None, **options):
    request = Request(source, Path(path), Path(output), **options)
    return prepare(request, workers, runner)


def read(directory, split):
    source = records.open_split(directory, split)
    return [records.Record.unpack(source[i]) for i in range(len(source))]


class _Python2Pickler(pickle._Pickler):
    """Writes text and bytes as Python 2 did, which the official files come from: as `str`."""

    dispatch = dict(pickle._Pickler.dispatch)

    def _save_str(self, value):
        data = value.encode("latin-1") if isinstance(value, str) else value
        short = len(data) < 256
        self.write(b"U" + bytes([len(data)]) if short else b"T" + struct.pack("<i", len(data)))
        self.write(data)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = _save_str


def _archive(path, extra=None):
    """A file laid out as cifar-10-python.tar.gz: planes in rows of 3072, lists of labels."""
    parts = {f"data_batch_{i + 1}": [x[2 * i : 2 * i + 2] for x in TRAIN] for i in range(5)}
    with tarfile.open(path, "w:gz") as archive:
        for name, (images, labels) in (parts | {"test_batch": list(TEST)}).items():
            rows = images.transpose(0, 3, 1, 2).reshape(-1, 3072)
            batch = {b"data": rows, b"labels": labels.tolist(), b"batch_label": extra}
            file = io.BytesIO()
            _Python2Pickler(file, protocol=2).dump(batch)
            # The official files are older than NumPy's move of its modules.
            data = file.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def _folder(path):
    path.mkdir()
    for name, (images, labels) in {"train": TRAIN, "test": TEST}.items():
        np.savez(path / f"{name}.npz", images=images, labels=labels.astype(np.uint8))
    return path


@pytest.mark.parametrize("make", [_archive, _folder])
def test_cifar10_becomes_records(tmp_path, make):
    output = tmp_path / "made" / "data"
    summary = run("cifar10", make(tmp_path / "input"), output)
    train, test = read(output, "train"), read(output, "test")
    assert [record.key for record in train] == [f"train-0000{i}" for i in range(10)]
    for found, (images, _) in ((train, TRAIN), (test, TEST)):
        decoded = np.stack([transforms.decode(record.image) for record in found])
        assert np.array_equal(decoded, images)
    assert [record.label for record in test] == ["truck", "automobile", "ship"]
    assert train[0].captions["complete"][0] == "a red airplane on a red background"
    manifest = records.read_manifest(output)
    assert manifest["splits"]["train"]["records"] == 10
    assert manifest["splits"]["test"]["records"] == 3
    assert manifest["counts"]["train"]["gray"] == 10, "one colour everywhere is a tint"
    assert "Krizhevsky" in manifest["source"]
    assert sum(summary["train"].colours["object"].values()) == 10
    assert summary["train"].colours["either"]["red"] == 1
    assert [path.name for path in output.parent.iterdir()] == ["data"]


def test_each_training_picture_has_its_close_up(tmp_path):
    rng = np.random.default_rng(0)
    images = np.repeat(rng.integers(0, 256, (6, 32, 1, 3), dtype=np.uint8), 32, axis=2)
    for name in ("train", "test"):
        np.savez(tmp_path / f"{name}.npz", images=images, labels=np.arange(6, dtype=np.uint8))
    run("cifar10_close_ups", tmp_path, tmp_path / "data")
    train, test = read(tmp_path / "data", "train"), read(tmp_path / "data", "test")
    assert [record.key for record in test] == [f"test-0000{i}" for i in range(6)]
    keys = [(f"train-0000{i}", f"train-0000{i}-near") for i in range(6)]
    assert [record.key for record in train] == [key for pair in keys for key in pair]
    near = np.stack([transforms.decode(record.image) for record in train[1::2]]).astype(float)
    assert np.ptp(near, axis=2).max() == 0, "stripes enlarged are stripes"
    # Of 13 to 24 stripes on 32 lines, neighbours differ less; nothing shows more than that.
    change = np.abs(np.diff(near, axis=1)).mean((1, 2, 3))
    assert (change < np.abs(np.diff(images.astype(float), axis=1)).mean((1, 2, 3))).mean() >= 0.5


class _Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_an_archive_cannot_run_code(tmp_path):
    path = _archive(tmp_path / "input", _Evil(tmp_path / "run"))
    with pytest.raises(UserError, match="mkdir is not allowed"):
        run("cifar10", path, tmp_path / "data")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["input"]


def test_arrays_that_unpack_to_too_much_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar10, "_MOST_UNPACKED", 10**6)
    images = np.zeros((1000, 32, 32, 3), np.uint8)
    np.savez_compressed(tmp_path / "train.npz", images=images, labels=np.zeros(1000, np.uint8))
    with pytest.raises(UserError, match="it unpacks to 30.*bytes, more than 1000000"):
        next(cifar10.read(tmp_path, "train", None))


def test_broken_inputs_leave_no_output(tmp_path):
    (tmp_path / "text").write_text("hello")
    (tmp_path / "empty").mkdir()
    whole = _archive(tmp_path / "whole").read_bytes()
    (tmp_path / "cut").write_bytes(whole[: len(whole) // 2])
    gray = tmp_path / "gray"
    gray.mkdir()
    np.savez(gray / "train.npz", images=np.zeros((2, 32, 32), np.uint8), labels=np.zeros(2))
    for name, message in {
        "text": "not a whole",
        "cut": "not a whole",
        "empty": "cannot be read",
        "gray": "is not CIFAR-10",
        "nowhere": "does not exist",
    }.items():
        with pytest.raises(UserError, match=message):
            run("cifar10", tmp_path / name, tmp_path / "data")
    assert not [path for path in tmp_path.iterdir() if "data" in path.name]


def test_the_command_line_tells_what_it_did(tmp_path, capsys):
    path, output = _archive(tmp_path / "input"), tmp_path / "data"
    main(
        ["--source=cifar10", f"--input={path}", f"--output={output}", "--limit=2", "--splits=test"]
    )
    assert [record.label for record in read(output, "test")] == ["truck", "automobile"]
    assert not list(output.glob("train*"))
    counts, _, header, *rows = capsys.readouterr().out.splitlines()
    assert counts == "test: 2 pictures, 0 captions"
    assert header.split() == ["colour", "object", "surround", "either"]
    assert sum(int(row.split()[1]) for row in rows) == 2
    with pytest.raises(SystemExit):
        main(["--source=cifar10", f"--input={path}", f"--output={output}x", "--shardsize=2"])


def test_mistakes_are_told(tmp_path):
    path = _archive(tmp_path / "input")
    with pytest.raises(UserError, match="--splits='val'.*train, test"):
        run("cifar10", path, tmp_path / "other", splits=["val"])
    for name in ("limit", "short_side", "shard_size", "workers"):
        with pytest.raises(UserError, match=f"--{name}=0"):
            run("cifar10", path, tmp_path / "other", **{name: 0})
    with pytest.raises(UserError, match="cannot be made: Not a directory"):
        run("cifar10", path, path / "other")
    with pytest.raises(SystemExit):
        main(["--source=folder", "--input=", f"--output={tmp_path / 'other'}"])
    with pytest.raises(UserError, match="--captions=FILE.json"):
        run("test_list", tmp_path, tmp_path / "other")


def test_only_own_output_is_replaced(tmp_path):
    path, output = _archive(tmp_path / "input"), tmp_path / "data"
    run("cifar10", path, output)
    with pytest.raises(UserError, match="--overwrite"):
        run("cifar10", path, output)
    with pytest.raises(UserError):
        run("cifar10", tmp_path / "nowhere", output, overwrite=True)
    assert len(read(output, "train")) == 10
    run("cifar10", path, output, limit=1, overwrite=True)
    assert len(read(output, "train")) == 1
    precious = tmp_path / "photos"
    precious.mkdir()
    with pytest.raises(UserError, match="not written by this command"):
        run("cifar10", path, precious, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "input", "photos"]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    return pictures.write_thirty(tmp_path_factory.mktemp("photographs"))


OPTIONS = dict(shard_size=4, short_side=24)


@pytest.fixture(scope="module")
def expected(photographs, tmp_path_factory):
    output = tmp_path_factory.mktemp("serial") / "data"
    run("folder", photographs, output, **OPTIONS)
    return pictures.tree(output)


def test_rejections_are_named_and_counted(photographs, expected):
    rows = [json.loads(row) for row in expected["rejected.jsonl"].splitlines()]
    assert [(row["key"], row["reason"]) for row in rows] == [
        ("05.jpg", "gray"),
        ("11.jpg", "damaged"),
        ("29.jpg", "empty file"),
    ]
    manifest = json.loads(expected["manifest.json"])
    assert manifest["counts"]["train"]["rejected"] == {"gray": 1, "damaged": 1, "empty file": 1}
    assert manifest["options"]["train"] == asdict(shards.Options(short_side=24, drop_gray=True))
    assert [shard["records"] for shard in manifest["splits"]["train"]["shards"]] == [
        *(4, 3, 3, 4, 4, 4, 4, 1)
    ]


def test_processes_write_the_same_bytes(photographs, expected, tmp_path):
    run("folder", photographs, tmp_path / "data", workers=2, **OPTIONS)
    assert pictures.tree(tmp_path / "data") == expected
    assert records.verify(tmp_path / "data") == 27


@pytest.mark.parametrize("broken_after", [0, 1, 5, 8])
def test_an_interrupted_run_goes_on(photographs, expected, tmp_path, monkeypatch, broken_after):
    made = []

    def make(task, tick):
        if len(made) == broken_after:
            raise KeyboardInterrupt
        made.append(task.index)
        make_really(task, tick)

    def no_rename(partial, output, tasks):
        raise KeyboardInterrupt

    make_really = shards.make
    monkeypatch.setattr(shards, "make", make)
    monkeypatch.setattr(assembly, "put_in_place", no_rename)
    with pytest.raises(KeyboardInterrupt):
        run("folder", photographs, tmp_path / "data", **OPTIONS)
    assert not (tmp_path / "data").exists()
    monkeypatch.undo()
    partial = tmp_path / ".data.partial"
    (partial / "train-00004-of-00008.array_record.0a1b2c3d.writing").write_bytes(b"of a killed one")
    if broken_after == 5:  # a shard that a full disk or a cut of power spoiled is made again
        spoiled = sorted(partial.glob("*.array_record"))[2]
        spoiled.write_bytes(spoiled.read_bytes()[:-1] + b"x")
    again = []
    monkeypatch.setattr(shards, "make", lambda t, k: (again.append(t.index), make_really(t, k)))
    run("folder", photographs, tmp_path / "data", **OPTIONS)
    assert again == {5: [2, 5, 6, 7]}.get(broken_after, list(range(broken_after, 8)))
    assert pictures.tree(tmp_path / "data") == expected
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_other_options_do_not_go_on_with_it(photographs, tmp_path, monkeypatch):
    monkeypatch.setattr(worker_pool, "run_processes", lambda tasks, workers, done: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run("folder", photographs, tmp_path / "data", **OPTIONS)
    monkeypatch.undo()
    with pytest.raises(UserError, match="unfinished preparation"):
        run("folder", photographs, tmp_path / "data", shard_size=5)
    run("folder", photographs, tmp_path / "data", shard_size=5, overwrite=True)
    assert len(list((tmp_path / "data").glob("*.array_record"))) == 6


def test_a_split_named_twice_is_made_once(tmp_path):
    raw = pictures.write_coco(tmp_path / "raw")
    run("coco", raw, tmp_path / "data", splits=["val", "val"])
    assert records.verify(tmp_path / "data") == len(read(tmp_path / "data", "val")) == 3


def test_a_full_disk_stops_it_in_one_sentence(photographs, tmp_path, monkeypatch):
    """What ArrayRecord raises then, when it closes the file; with room again it goes on."""
    from array_record.python import array_record_module

    class Full(array_record_module.ArrayRecordWriter):
        def close(self):
            super().close()
            raise RuntimeError("write() failed: No space left on device")

    monkeypatch.setattr(array_record_module, "ArrayRecordWriter", Full)
    with pytest.raises(UserError, match="could not be written .*No space left.*make room"):
        run("folder", photographs, tmp_path / "data", **OPTIONS)
    assert [path.name for path in (tmp_path / ".data.partial").iterdir()] == ["plan.json"]
    monkeypatch.undo()
    run("folder", photographs, tmp_path / "data", **OPTIONS)
    assert records.verify(tmp_path / "data") == 27


def test_verifying_finds_what_changed(photographs, tmp_path):
    output = tmp_path / "data"
    run("folder", photographs, output, **OPTIONS)
    shard, lost = sorted(output.glob("*.array_record"))[1:3]
    data = bytearray(shard.read_bytes())
    data[40000] ^= 1
    shard.write_bytes(bytes(data))
    lost.unlink()
    with pytest.raises(UserError, match="00001-of-00008.*damaged.*00002-of-00008.*missing"):
        records.verify(output)


def test_a_source_with_nothing_usable_says_why(tmp_path):
    pictures.write_pictures(tmp_path / "in", ["a.jpg"])
    (tmp_path / "in" / "a.jpg").write_bytes(b"x")
    with pytest.raises(UserError, match="a.jpg: not a picture"):
        run("folder", tmp_path / "in", tmp_path / "data")


def test_a_captioner_describes_what_is_kept(photographs, tmp_path, monkeypatch):
    """A stand-in for the model, which needs PyTorch; `sees` decides where its sentences go."""
    loaded = []

    def load(path, sees):
        loaded.append((path, sees))
        return captioner.Captioner(lambda images: [f"{len(images)} of them"] * len(images), sees)

    monkeypatch.setattr(captioner, "load", load)
    for sees, level in (("colour", "complete"), ("gray", "uncoloured")):
        options = dict(captioner=Path("blip"), captioner_sees=sees, limit=10)
        run("folder", photographs, tmp_path / sees, **options)
        assert {str(record.captions) for record in read(tmp_path / sees, "train")} == {
            str({level: ["9 of them"]})
        }
    assert loaded == [("blip", "colour"), ("blip", "gray")]
