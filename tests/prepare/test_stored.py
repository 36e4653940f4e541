"""Tasks in files: what comes back, and that no file of them runs anything."""

import pickle
from pathlib import Path

import msgpack
import numpy as np
import pytest

from colorjax.errors import UserError
from colorjax.prepare import shards, stored
from colorjax.prepare.sources import Entry, Rejection
from colorjax.prepare.sources.archives import TarContent
from colorjax.prepare.sources.entries import FileContent, PixelContent
from colorjax.prepare.sources.tfds import TfdsContent

ITEMS = [
    Entry("a", FileContent("/data/\udcff", "a.jpg"), ("a red car",), "car", [[["car", "red"]]]),
    Entry("b", TarContent("x.tar", "b.jpg", 2**40, 7)),
    Entry("c", TfdsContent("d", "train", 3, "image"), label="ä"),
    Rejection("d", "damaged", "why"),
]


def task(directory: Path, items: list) -> shards.Task:
    return shards.Task(str(directory), "train", 0, 1, items, shards.Options(short_side=8))


def test_a_task_comes_back(tmp_path: Path) -> None:
    assert stored.read(Path(stored.store(task(tmp_path, ITEMS)))) == task(tmp_path, ITEMS)
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    given = task(tmp_path, [Entry("e", PixelContent("e.png", pixels))])
    (item,) = stored.read(Path(stored.store(given))).items
    np.testing.assert_array_equal(item.content.pixels, pixels)
    assert item.content.read() == given.items[0].content.read()


class Canary:
    def __reduce__(self):
        return Path.touch, (Path("canary"),)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        pickle.dumps(Canary()),
        pickle.dumps(Canary(), 0),
        msgpack.packb(3),
        msgpack.packb({"": "Popen", "args": ["touch", "canary"]}),
        msgpack.packb({"": "Task", "directory": "."}),
        msgpack.packb({"": "pixels", "shape": [2**40], "data": b"1"}),
        b"\xdf\xff\xff\xff\xff",
        b"\x91" * 100_000,
    ],
)
def test_what_is_no_task_is_refused(tmp_path: Path, monkeypatch, data: bytes) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.task").write_bytes(data)
    with pytest.raises(UserError, match="'a.task' is no task of this version"):
        stored.make("a.task")
    assert [path.name for path in tmp_path.iterdir()] == ["a.task"]
