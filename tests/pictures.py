"""Pictures and data sets in their real formats, small: what the tests of the data prepare."""

import csv
import io
import json
import struct
import tarfile
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageCms

CAPTIONS = {
    "000000000009.jpg": ["a bowl of  orange carrots\n", "green broccoli on a white plate"],
    "000000000025.jpg": ["a brown giraffe under a green tree"],
    "000000000030.jpg": ["a white vase with pink flowers"],
}


def pixels(seed: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A smooth picture of many colours, uint8."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (5, 6, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def encoded(image: np.ndarray, format: str = "JPEG", **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, format, **({"quality": 92} if format == "JPEG" else options))
    return file.getvalue()


def jpeg(seed: int, **size: int) -> bytes:
    return encoded(pixels(seed, **size))


def linear_profile() -> bytes:
    """sRGB's profile with its tone curves replaced by the identity (curve type, no entries)."""
    return _with_curves(b"curv" + bytes(8))


def profile_of_gamma(gamma: float) -> bytes:
    """sRGB's profile with values to a power for its tone curves (curve type, one entry)."""
    return _with_curves(b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)))


def _with_curves(curve: bytes) -> bytes:
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for index in range(struct.unpack(">I", data[128:132])[0]):
        at = 132 + 12 * index
        name, offset, _ = struct.unpack(">4sII", data[at : at + 12])
        if name in (b"rTRC", b"gTRC", b"bTRC"):
            data[offset : offset + len(curve)] = curve
            data[at + 8 : at + 12] = struct.pack(">I", len(curve))
        elif name == b"desc":
            text = data.index("sRGB".encode("utf-16-be"))
            data[text : text + 8] = "line".encode("utf-16-be")
    return bytes(data)


def write_pictures(folder: Path, names, start: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names, start):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(jpeg(seed))
    return folder


def write_json(path: Path, content) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def write_coco(root: Path) -> Path:
    """COCO 2017 as unpacked from its archives: two splits, captions in other order than images."""
    for split, start in (("train", 0), ("val", 10)):
        write_pictures(root / f"{split}2017", CAPTIONS, start)
        images = [
            {"id": 100 + i, "file_name": name, "height": 48, "width": 64, "license": 1}
            for i, name in enumerate(CAPTIONS)
        ]
        annotations = [
            {"id": 7 * i + j, "image_id": 100 + i, "caption": text}
            for i, texts in reversed(list(enumerate(CAPTIONS.values())))
            for j, text in enumerate(texts)
        ]
        content = {"info": {}, "licenses": [], "images": images, "annotations": annotations}
        write_json(root / "annotations" / f"captions_{split}2017.json", content)
    return root


def write_coco_stuff(root: Path) -> Path:
    """Extended COCO-Stuff beside COCO's pictures, with L-CoDe's places of objects and colours."""
    for split, start in (("train", 0), ("val", 10)):
        write_pictures(root / f"{split}2017", CAPTIONS, start)
        write_json(root / f"caption_{split}.json", CAPTIONS)
    places = {"000000000009.jpg": [[[5, 4]], [[2, 1], [6, 5]]], "000000000025.jpg": [[[9, 1]]]}
    write_json(root / "obj2col.json", places)
    return root


def write_multi_instance(root: Path) -> Path:
    """L-CoIns' layout: several long captions to a picture, in one list."""
    long = "in this picture there is a man wearing a red color shirt. " * 12
    for split, start in (("train", 0), ("val", 10)):
        names = ["coco_000000317935.jpg", "vg_2345.jpg"]
        write_pictures(root / split, names, start)
        rows = [[names[0], "a black table"], [names[1], long], [names[0], "a white remote"]]
        write_json(root / f"cap-img-pairs_{split}.json", rows)
    return root


def tar(members: dict[str, bytes]) -> bytes:
    """An uncompressed tar file of plain members."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def write_imagenet(root: Path) -> Path:
    """ILSVRC's own archives: training classes are tar files in a tar file."""
    root.mkdir(parents=True, exist_ok=True)
    classes = {"n01440764": (0, 1, 2), "n01443537": (3, 4)}
    inner = {
        f"{wnid}.tar": tar({f"{wnid}_{seed}.JPEG": jpeg(seed) for seed in seeds})
        for wnid, seeds in classes.items()
    }
    (root / "ILSVRC2012_img_train.tar").write_bytes(tar(inner))
    numbers = (3, 1, 2)  # out of order, as the archive may be
    val = {f"ILSVRC2012_val_{n:08d}.JPEG": jpeg(10 + n) for n in numbers}
    (root / "ILSVRC2012_img_val.tar").write_bytes(tar(val))
    (root / "LOC_synset_mapping.txt").write_text(
        "n01440764 tench, Tinca tinca\nn01443537 goldfish, Carassius auratus\n"
    )
    return root


def write_folder(root: Path) -> Path:
    """Somebody's photographs, with a table of captions."""
    write_pictures(root, ["a.jpg", "b/c.jpg", "d.jpg"])
    with (root / "captions.csv").open("w", newline="") as file:
        rows = [["file_name", "caption"], ["a.jpg", 'a "red", round thing'], ["b/c.jpg", "sky"]]
        csv.writer(file).writerows([*rows, ["d.jpg", "grass"], ["a.jpg", "again a"]])
    return root


def write_thirty(root: Path) -> Path:
    """Thirty pictures, of which a gray, a cut and an empty one."""
    write_pictures(root, [f"{i:02d}.jpg" for i in range(30)])
    (root / "05.jpg").write_bytes(encoded(np.full((48, 64, 3), 90, np.uint8)))
    (root / "11.jpg").write_bytes((root / "11.jpg").read_bytes()[:700])
    (root / "29.jpg").write_bytes(b"")
    return root


def tree(directory: Path) -> dict[str, bytes]:
    """Every file of a directory with its bytes."""
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def write_tfds(root: Path) -> Path:
    """A data set that tensorflow_datasets itself defines, fills and writes, as ArrayRecord."""
    import tensorflow_datasets as tfds

    class SmallPictures(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
                "label": tfds.features.ClassLabel(names=["tench", "goldfish"]),
                "file_name": tfds.features.Text(),
                "captions": tfds.features.Sequence({"text": tfds.features.Text()}),
            }
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples(4), "validation": self._generate_examples(2)}

        def _generate_examples(self, count):
            for i in range(count):
                yield (
                    i,
                    {
                        "image": io.BytesIO(jpeg(i)),
                        "label": i % 2,
                        "file_name": f"n{i}.JPEG",
                        "captions": [{"text": f"fish {i}"}, {"text": f"a fish numbered {i}"}],
                    },
                )

    builder = SmallPictures(data_dir=str(root))
    builder.download_and_prepare(file_format="array_record")
    return root
