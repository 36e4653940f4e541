import io
import os
import pickle
import tarfile

import numpy as np
import pytest

from colorjax import prepare
from colorjax.data import records, transforms
from colorjax.errors import UserError

RNG = np.random.default_rng(0)
TRAIN = RNG.integers(0, 256, (10, 32, 32, 1), np.uint8).repeat(3, -1), np.arange(10)
TEST = RNG.integers(0, 256, (3, 32, 32, 3), np.uint8), np.array([9, 1, 8])
TRAIN[0][0] = 255, 0, 0


def _archive(path, extra=None):
    """A file laid out as cifar-10-python.tar.gz: planes in rows of 3072, lists of labels."""
    parts = {f"data_batch_{i + 1}": [x[2 * i : 2 * i + 2] for x in TRAIN] for i in range(5)}
    with tarfile.open(path, "w:gz") as archive:
        for name, (images, labels) in (parts | {"test_batch": list(TEST)}).items():
            rows = images.transpose(0, 3, 1, 2).reshape(-1, 3072)
            batch = {b"data": rows, b"labels": labels.tolist(), b"batch_label": extra}
            data = pickle.dumps(batch, protocol=3)
            # The official files are older than NumPy's move of its modules.
            data = data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def _folder(path):
    path.mkdir()
    for name, (images, labels) in {"train": TRAIN, "test": TEST}.items():
        np.savez(path / f"{name}.npz", images=images, labels=labels.astype(np.uint8))
    return path


def _read(directory, split):
    source = records.open_split(directory, split)
    return [records.Record.unpack(source[i]) for i in range(len(source))]


@pytest.mark.parametrize("make", [_archive, _folder])
def test_cifar10_becomes_records(tmp_path, make):
    output = tmp_path / "made" / "data"
    histograms = prepare.prepare("cifar10", make(tmp_path / "input"), output)
    train, test = _read(output, "train"), _read(output, "test")
    assert [record.key for record in train] == [f"train-0000{i}" for i in range(10)]
    for found, (images, _) in ((train, TRAIN), (test, TEST)):
        decoded = np.stack([transforms.decode(record.image) for record in found])
        assert np.array_equal(decoded, images)
    assert [record.label for record in test] == ["truck", "automobile", "ship"]
    assert train[0].captions["complete"][0] == "a red airplane on a red background"
    manifest = records.read_manifest(output)
    assert manifest["splits"]["train"]["records"] == 10
    assert manifest["splits"]["test"]["records"] == 3
    assert "Krizhevsky" in manifest["source"]
    assert sum(histograms["train"]["object"].values()) == 10
    assert histograms["train"]["either"]["red"] == 1
    assert [path.name for path in output.parent.iterdir()] == ["data"]


class _Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_an_archive_cannot_run_code(tmp_path):
    path = _archive(tmp_path / "input", _Evil(tmp_path / "run"))
    with pytest.raises(UserError, match="mkdir is not allowed"):
        prepare.prepare("cifar10", path, tmp_path / "data")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["input"]


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
            prepare.prepare("cifar10", tmp_path / name, tmp_path / "data")
    assert not [path for path in tmp_path.iterdir() if "data" in path.name]


def test_limit_and_splits(tmp_path, capsys):
    path, output = _archive(tmp_path / "input"), tmp_path / "data"
    prepare.main(
        ["--source=cifar10", f"--input={path}", f"--output={output}", "--limit=2", "--splits=test"]
    )
    assert [record.label for record in _read(output, "test")] == ["truck", "automobile"]
    assert not list(output.glob("train*"))
    header, *rows = capsys.readouterr().out.splitlines()[1:]
    assert header.split() == ["colour", "object", "surround", "either"]
    assert sum(int(row.split()[1]) for row in rows) == 2
    with pytest.raises(UserError, match="--splits='val'.*train, test"):
        prepare.prepare("cifar10", path, tmp_path / "other", splits=["val"])
    with pytest.raises(UserError, match="--limit=0"):
        prepare.prepare("cifar10", path, tmp_path / "other", limit=0)


def test_only_own_output_is_replaced(tmp_path):
    path, output = _archive(tmp_path / "input"), tmp_path / "data"
    prepare.prepare("cifar10", path, output)
    with pytest.raises(UserError, match="--overwrite"):
        prepare.prepare("cifar10", path, output)
    with pytest.raises(UserError):
        prepare.prepare("cifar10", tmp_path / "nowhere", output, overwrite=True)
    assert len(_read(output, "train")) == 10
    prepare.prepare("cifar10", path, output, limit=1, overwrite=True)
    assert len(_read(output, "train")) == 1
    precious = tmp_path / "photos"
    precious.mkdir()
    with pytest.raises(UserError, match="not written by this command"):
        prepare.prepare("cifar10", path, precious, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "input", "photos"]
