"""Every source in its real format, through `prepare`, to the batch and one training step."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from colorjax.data import records, transforms
from colorjax.data.tokenizer import Tokenizer
from colorjax.errors import UserError
from colorjax.prepare.planning import Request
from colorjax.prepare.run import prepare
from colorjax.prepare.sources import lists
from colorjax.train.run import build, train_batches
from colorjax.train.weights import find_weights
from tests import pictures, small

WRITERS = {
    "coco": pictures.write_coco,
    "coco_stuff": pictures.write_coco_stuff,
    "multi_instance": pictures.write_multi_instance,
    "imagenet": pictures.write_imagenet,
    "folder": pictures.write_folder,
    "tfds": pictures.write_tfds,
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Source -> its data set as downloaded and as prepared, each made once."""
    made: dict[str, tuple[Path, Path]] = {}

    def get(source: str) -> tuple[Path, Path]:
        if source not in made:
            root = tmp_path_factory.mktemp(source)
            raw = WRITERS[source](root / "raw")
            prepare(Request(source, raw, root / "data"))
            made[source] = raw, root / "data"
        return made[source]

    return get


def read(directory, split):
    source = records.open_split(directory, split)
    return [records.Record.unpack(source[i]) for i in range(len(source))]


def run(source, path, output, **options):
    prepare(Request(source, Path(path), Path(output), **options))
    return output


@pytest.mark.parametrize("source", WRITERS)
def test_a_jpeg_stays_as_it_is(prepared, source):
    _, data = prepared(source)
    found = sorted(read(data, "train"), key=lambda record: record.key)  # TFDS has its own order
    assert [record.image for record in found] == [pictures.jpeg(i) for i in range(len(found))]
    assert transforms.decode(found[0].image).shape == (48, 64, 3)
    assert not (data / "rejected.jsonl").read_text()


def test_coco_keeps_all_captions_in_their_order(prepared):
    _, data = prepared("coco")
    for split in ("train", "val"):
        found = read(data, split)
        assert [record.key for record in found] == list(pictures.CAPTIONS)
        assert found[0].captions == {
            "complete": ["a bowl of orange carrots", "green broccoli on a white plate"]
        }
        assert found[2].captions == {"complete": ["a white vase with pink flowers"]}
        assert {record.label for record in found} == {None}
    counts = records.read_manifest(data)["counts"]["val"]
    assert counts == {"captions": 4, "gray": 0, "rejected": {}}


def test_coco_stuff_names_objects_with_their_colours(prepared):
    _, data = prepared("coco_stuff")
    first, second, third = read(data, "train")
    assert first.captions["complete"][1] == "green broccoli on a white plate"
    assert first.pairs == [[["carrots", "orange"]], [["broccoli", "green"], ["plate", "white"]]]
    assert second.pairs is None, "places that do not fit the caption are not used"
    assert third.pairs is None


def test_places_count_words_from_one():
    assert lists.word_pairs(["A Red, red bus"], [[[4, 2], [4, 3]]]) == [
        [["bus", "red"], ["bus", "red"]]
    ]
    for places in ([[[0, 1]]], [[[1]]], [], None, "x", [[[1, 99]]]):
        assert lists.word_pairs(["a b"], places) is None


def test_multi_instance_puts_captions_of_a_picture_together(prepared):
    _, data = prepared("multi_instance")
    first, second = read(data, "train")
    assert first.key == "coco_000000317935.jpg"
    assert first.captions["complete"] == ["a black table", "a white remote"]
    assert len(second.captions["complete"][0].split()) > 77


def test_imagenet_comes_by_class_and_by_number(prepared):
    _, data = prepared("imagenet")
    found = read(data, "train")
    assert [record.label for record in found] == ["tench"] * 3 + ["goldfish"] * 2
    assert found[0].key == "n01440764_0.JPEG" and found[0].captions == {}
    val = read(data, "val")
    assert [record.key for record in val] == [f"ILSVRC2012_val_{n:08d}.JPEG" for n in (1, 2, 3)]
    assert [record.image for record in val] == [pictures.jpeg(10 + n) for n in (1, 2, 3)]


def test_imagenet_may_be_unpacked(prepared, tmp_path):
    raw, data = prepared("imagenet")
    for record in read(data, "train"):
        folder = tmp_path / "raw" / "train" / record.key.split("_")[0]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / record.key).write_bytes(record.image)
    for record in read(data, "val"):
        pictures.write_pictures(tmp_path / "raw" / "val", [record.key])
        (tmp_path / "raw" / "val" / record.key).write_bytes(record.image)
    (tmp_path / "raw" / "synset_words.txt").write_bytes(
        (raw / "LOC_synset_mapping.txt").read_bytes()
    )
    run("imagenet", tmp_path / "raw", tmp_path / "data")
    for split in ("train", "val"):
        assert read(tmp_path / "data", split) == read(data, split)


def test_the_published_protocol_counts_names_not_survivors(prepared, tmp_path):
    """The first 5,000 validation pictures are those by name, gray ones included."""
    root = tmp_path / "raw"
    names = [f"ILSVRC2012_val_{n:08d}.JPEG" for n in range(1, 6)]
    pictures.write_pictures(root / "val", names)
    (root / "val" / names[0]).write_bytes(b"broken")
    gray = pictures.encoded(np.full((40, 40, 3), 7, np.uint8))
    (root / "val" / names[1]).write_bytes(gray)
    run("imagenet", root, tmp_path / "data", limit=3, splits=["val"])
    assert [record.key for record in read(tmp_path / "data", "val")] == names[1:3]
    run("imagenet", root, tmp_path / "dropped", limit=3, splits=["val"], gray="drop")
    assert [record.key for record in read(tmp_path / "dropped", "val")] == names[2:3]


def test_imagenet_takes_captions_by_name(prepared, tmp_path):
    raw, _ = prepared("imagenet")
    texts = {"ILSVRC2012_val_00000003.JPEG": "a fish", "ILSVRC2012_val_00000001.JPEG": "two birds"}
    file = pictures.write_json(tmp_path / "ImageNetVal5k.json", texts)
    run("imagenet", raw, tmp_path / "data", splits=["val"], captions=file)
    found = read(tmp_path / "data", "val")
    assert [record.captions["complete"] for record in found] == [["two birds"], ["a fish"]]
    rejected = json.loads((tmp_path / "data" / "rejected.jsonl").read_text())
    assert rejected["key"].endswith("2.JPEG") and rejected["reason"] == "missing caption"


def test_lists_of_test_pairs_give_a_record_to_each_pair(prepared, tmp_path):
    coco, _ = prepared("coco")
    pairs = {
        "000000000009.jpg_1": "green broccoli",
        "000000000025.jpg_0": "a giraffe",
        "000000000009.jpg_0": "orange carrots",
    }
    file = pictures.write_json(tmp_path / "Extended_COCO_Stuff.json", pairs)
    run("test_list", coco / "val2017", tmp_path / "data", captions=file)
    found = read(tmp_path / "data", "test")
    assert {record.key: record.captions["complete"][0] for record in found} == pairs
    assert [record.image for record in found] == [pictures.jpeg(i) for i in (10, 11, 10)]


def test_lists_read_pictures_out_of_an_archive(prepared, tmp_path):
    imagenet, _ = prepared("imagenet")
    pairs = {"ILSVRC2012_val_00000002.JPEG": "a fish", "ILSVRC2012_val_00000009.JPEG": "none"}
    file = pictures.write_json(tmp_path / "ImageNetVal5k.json", pairs)
    archive = imagenet / "ILSVRC2012_img_val.tar"
    run("test_list", archive, tmp_path / "data", captions=file)
    assert [record.image for record in read(tmp_path / "data", "test")] == [pictures.jpeg(12)]
    rejected = json.loads((tmp_path / "data" / "rejected.jsonl").read_text())
    assert rejected["reason"] == "missing file"


def test_a_folder_has_tables_or_text_files_or_nothing(prepared, tmp_path):
    raw, data = prepared("folder")
    found = {record.key: record.captions["complete"] for record in read(data, "train")}
    assert found == {"a.jpg": ['a "red", round thing', "again a"], "b/c.jpg": ["sky"]} | {
        "d.jpg": ["grass"]
    }
    names = ["a.jpg", "b/c.jpg", "d.jpg"]
    plain = pictures.write_pictures(tmp_path / "plain", names)
    run("folder", plain, tmp_path / "none")
    assert [record.captions for record in read(tmp_path / "none", "train")] == [{}] * 3
    for name in names:
        (plain / name).with_suffix(".txt").write_text(f"about {name}\n\nmore\n")
    run("folder", plain, tmp_path / "texts")
    texts = {
        record.key: record.captions["complete"] for record in read(tmp_path / "texts", "train")
    }
    assert texts == {name: [f"about {name}", "more"] for name in names}
    rows = [{"file_name": name, "text": [name, "again"]} for name in names]
    (plain / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run("folder", plain, tmp_path / "lines")
    lines = [record.captions["complete"] for record in read(tmp_path / "lines", "train")]
    assert lines == [[name, "again"] for name in names]
    file = pictures.write_json(tmp_path / "captions.json", dict.fromkeys(names, "one"))
    run("folder", plain, tmp_path / "json", captions=file)
    assert read(tmp_path / "json", "train")[2].captions["complete"] == ["one"]


def test_a_folder_with_split_folders_has_those_splits(tmp_path):
    for split in ("train", "test"):
        pictures.write_pictures(tmp_path / "raw" / split, [f"{split}.jpg"])
    run("folder", tmp_path / "raw", tmp_path / "data")
    assert set(records.splits(tmp_path / "data")) == {"train", "test"}
    assert read(tmp_path / "data", "test")[0].key == "test.jpg"


def test_tfds_directories_are_read_without_tensorflow(prepared):
    import sys

    raw, data = prepared("tfds")
    assert set(records.splits(data)) == {"train", "validation"}
    found = read(data, "train")
    assert sorted(record.key for record in found) == [f"n{i}.JPEG" for i in range(4)]
    for record in found:
        number = int(record.key[1])
        assert record.label == ["tench", "goldfish"][number % 2]
        assert record.captions["complete"] == [f"fish {number}", f"a fish numbered {number}"]
    assert "tensorflow" not in sys.modules


def test_mistakes_name_the_file(prepared, tmp_path):
    coco, _ = prepared("coco")
    with pytest.raises(UserError, match="captions_train2017.json"):
        run("coco", tmp_path, tmp_path / "data")
    listed = pictures.write_json(tmp_path / "annotations" / "captions_train2017.json", [1])
    with pytest.raises(UserError, match="'images' and 'annotations'"):
        run("coco", tmp_path, tmp_path / "data")
    listed.write_bytes(b'{"a": "\xff"}')
    with pytest.raises(UserError, match="is not UTF-8"):
        run("coco", tmp_path, tmp_path / "data")
    listed.write_bytes(b"{")
    with pytest.raises(UserError, match="is not JSON"):
        run("coco", tmp_path, tmp_path / "data")
    with pytest.raises(UserError, match="caption_train.json"):
        run("coco_stuff", coco, tmp_path / "data")
    with pytest.raises(UserError, match="neither 'ILSVRC2012_img_train.tar' nor a folder 'train'"):
        run("imagenet", coco, tmp_path / "data")
    with pytest.raises(UserError, match="dataset_info.json"):
        run("tfds", coco, tmp_path / "data")
    with pytest.raises(UserError, match="holds no pictures"):
        run("folder", coco / "annotations", tmp_path / "data")
    with pytest.raises(UserError, match="'file_name' and 'caption'"):
        (tmp_path / "t.csv").write_text("a,b\n")
        run("folder", coco / "train2017", tmp_path / "data", captions=tmp_path / "t.csv")
    (tmp_path / "ILSVRC2012_img_train.tar").write_bytes(b"\x1f\x8b" + bytes(600))
    with pytest.raises(UserError, match="uncompressed tar"):
        run("imagenet", tmp_path, tmp_path / "data")


@pytest.mark.proof
def test_every_source_trains_a_step(prepared, tmp_path):
    """The batch of each source goes into the same compiled step and gives a finite loss."""
    config = small.config()
    config.data.crop = "random_resized"
    stage = build("clip", config, find_weights("clip", config, tmp_path), 2)
    tokenize = Tokenizer(small.DATA / "tokenizer", 24)
    state = jax.jit(stage.init)(jax.random.key(0), stage.start)
    step = jax.jit(stage.step)
    losses = {}
    for source in WRITERS:
        config.data.directory, config.data.train_split = str(prepared(source)[1]), "train"
        batches = train_batches(config, config.clip, tokenize, 0)
        batch = next(batches)
        batches.close()
        assert batch["image"].shape == (8, 32, 32, 3)
        _, metrics = step(state, stage.frozen, batch, jax.random.key(1))
        losses[source] = float(metrics["loss"])
    assert np.isfinite(list(losses.values())).all() and len(set(losses.values())) > 3, losses
