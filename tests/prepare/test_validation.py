"""Damaged and unsuitable inputs: each is left out by name and reason, and the rest goes on."""

import io
import json
import os
import pickle
import struct
import tarfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import pytest
from hypothesis import given, seed
from hypothesis import strategies as st
from PIL import Image, ImageCms

from colorjax.data import records, transforms
from colorjax.errors import UserError
from colorjax.prepare import validation
from colorjax.prepare.planning import Request
from colorjax.prepare.run import prepare
from colorjax.prepare.sources import Rejected, archives, cifar10, entries
from tests import pictures
from tests.searching import searched

PIXELS = pictures.pixels(0)
JPEG = pictures.encoded(PIXELS)
PNG = pictures.encoded(PIXELS, "PNG")
GRAY = np.repeat(PIXELS[..., :1], 3, axis=-1)


def saved(picture: Image.Image, format: str, **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def flipped(data: bytes, places) -> bytes:
    changed = bytearray(data)
    for place in places:
        changed[place] ^= 0xFF
    return bytes(changed)


def toned() -> np.ndarray:
    """A sepia print: colour is a function of lightness, with the noise of a scanner."""
    gray = pictures.pixels(0, 480, 640)[..., :1]
    noise = np.random.default_rng(0).normal(0, 3, (480, 640, 3))
    return np.clip(gray * np.array([1.0, 0.87, 0.67]) + noise, 0, 255).astype(np.uint8)


def many_frames(format: str) -> bytes:
    frames = [Image.fromarray(pictures.pixels(i)) for i in range(3)]
    return saved(frames[0], format, save_all=True, append_images=frames[1:])


def with_alpha(opacity: int) -> Image.Image:
    picture = Image.fromarray(PIXELS).convert("RGBA")
    picture.putpixel((3, 4), (1, 2, 3, opacity))
    return picture


def bomb() -> bytes:
    """A PNG of a few bytes that says it is 30,000 pixels wide and high."""
    header = struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


FILES = {
    "cut.jpg": (JPEG[: len(JPEG) // 2], "damaged"),
    "cut_tail.jpg": (JPEG[:-60], "damaged"),
    "noise_inside.jpg": (flipped(JPEG, range(len(JPEG) // 2, len(JPEG) // 2 + 30)), "damaged"),
    "header_only.jpg": (JPEG[:200], "damaged"),
    "cut.png": (PNG[: len(PNG) // 2], "damaged"),
    "checksum.png": (flipped(PNG, [len(PNG) // 2]), "damaged"),
    "empty.jpg": (b"", "empty file"),
    "text.jpg": (b"<html>404 Not Found</html>", "not a picture"),
    "zeros.png": (bytes(5000), "not a picture"),
    "photoshop.jpg": (b"8BPS\0\1" + bytes(200), "not a picture"),
    "cmyk.jpg": (saved(Image.fromarray(PIXELS).convert("CMYK"), "JPEG"), "not RGB"),
    "lab.tif": (saved(Image.new("LAB", (64, 48), (90, 10, 30)), "TIFF"), "not RGB"),
    "gray16.png": (saved(Image.new("I;16", (64, 48), 40000), "PNG"), "not 8 bits"),
    "colour16.png": (pictures.encoded(PIXELS, "PNG"), "not 8 bits"),  # replaced below
    "float.tif": (saved(Image.new("F", (64, 48), 0.5), "TIFF"), "not 8 bits"),
    "animated.gif": (many_frames("GIF"), "several pictures"),
    "animated.webp": (many_frames("WEBP"), "several pictures"),
    "animated.png": (many_frames("PNG"), "several pictures"),
    "pages.tif": (many_frames("TIFF"), "several pictures"),
    "png_named.jpg": (PNG, "wrong extension"),
    "jpeg_named.png": (JPEG, "wrong extension"),
    "bomb.png": (bomb(), "too large"),
    "tiny.png": (saved(Image.new("RGB", (400, 15), (1, 2, 200)), "PNG"), "too small"),
    "gray.jpg": (pictures.encoded(GRAY), "gray"),
    "gray_mode.jpg": (saved(Image.fromarray(GRAY[..., 0]), "JPEG"), "gray"),
    "one_bit.png": (saved(Image.fromarray(GRAY[..., 0]).convert("1"), "PNG"), "gray"),
    "sepia.jpg": (pictures.encoded(toned()), "gray"),
    "see_through.png": (saved(with_alpha(100), "PNG"), "transparent"),
    "palette_hole.png": (
        saved(Image.fromarray(PIXELS).quantize(16), "PNG", transparency=3),
        "transparent",
    ),
}


def wide_png() -> bytes:
    import cv2

    return cv2.imencode(".png", PIXELS.astype(np.uint16) * 257)[1].tobytes()


FILES["colour16.png"] = (wide_png(), "not 8 bits")


@pytest.mark.parametrize("name", FILES)
def test_unsuitable_files_are_rejected_with_their_reason(name):
    data, reason = FILES[name]
    if reason == "gray":
        assert validation.check(data, name).gray
        return
    with pytest.raises(Rejected) as caught:
        validation.check(data, name)
    assert caught.value.reason == reason, caught.value.detail


def outcome(output: Path, split: str = "train") -> tuple[set[str], dict[str, str]]:
    """Keys that became records, and the reason of each that did not."""
    source = records.open_split(output, split)
    kept = {records.Record.unpack(source[i]).key for i in range(len(source))}
    rows = (output / "rejected.jsonl").read_text().splitlines()
    return kept, {row["key"]: row["reason"] for row in map(json.loads, rows)}


def run(source, path, output, **options):
    prepare(Request(source, path, output, **options))
    return outcome(output, options.get("splits", ["train"])[0])


def test_they_do_not_stop_the_rest(tmp_path):
    folder = pictures.write_pictures(tmp_path / "raw", ["good.jpg", "z/good.jpg"])
    for name, (data, _) in FILES.items():
        (folder / name).write_bytes(data)
    (folder / "folder.jpg").mkdir()
    kept, rejected = run("folder", folder, tmp_path / "data", shard_size=7)
    assert kept == {"good.jpg", "z/good.jpg"}
    assert rejected == {name: reason for name, (_, reason) in FILES.items()}


def test_captions_that_are_none(tmp_path):
    folder = pictures.write_pictures(tmp_path / "raw" / "train2017", ["good.jpg", "other.jpg"])
    (folder / "folder.jpg").mkdir()
    text = json.dumps(
        {
            "good.jpg": ["a red bus", ""],
            "no_list.jpg": [],
            "blank.jpg": ["  ", "\n"],
            "null.jpg": [None],
            "number.jpg": 7,
            "nested.jpg": {"a": "b"},
            "surrogate.jpg": ["\ud800"],
            "absent.jpg": ["a red bus"],
            "folder.jpg": ["a red bus"],
            "../other.jpg": ["a red bus"],
            "..\\other.jpg": ["a red bus"],
            "/etc/passwd": ["a red bus"],
            "C:other.jpg": ["a red bus"],
            "nul\0.jpg": ["a red bus"],
            "\ud800.jpg": ["a red bus"],
            "": ["a red bus"],
        }
    )
    text = text[:-1] + ', "good.jpg": ["again"]}'
    (tmp_path / "raw" / "caption_train.json").write_text(text)
    kept, rejected = run("coco_stuff", tmp_path / "raw", tmp_path / "data", splits=["train"])
    assert kept == {"good.jpg"}
    assert rejected == {
        "no_list.jpg": "missing caption",
        "blank.jpg": "missing caption",
        "null.jpg": "caption is not text",
        "number.jpg": "caption is not text",
        "nested.jpg": "caption is not text",
        "surrogate.jpg": "caption is not text",
        "absent.jpg": "missing file",
        "folder.jpg": "not a regular file",
        "../other.jpg": "path leaves its folder",
        "..\\other.jpg": "path leaves its folder",
        "/etc/passwd": "path leaves its folder",
        "C:other.jpg": "path leaves its folder",
        "nul\0.jpg": "bad name",
        "\\ud800.jpg": "name is not UTF-8",
        "": "bad name",
        "good.jpg": "duplicate name",
    }


def test_coco_lists_that_do_not_fit_together(tmp_path):
    pictures.write_pictures(tmp_path / "raw" / "train2017", ["a.jpg", "b.jpg"])
    images = [
        {"id": 1, "file_name": "a.jpg"},
        {"id": 2, "file_name": "b.jpg"},
        {"id": 3, "file_name": "a.jpg"},
        {"id": [4], "file_name": "c.jpg"},
        {"id": 5},
        "nonsense",
    ]
    annotations = [
        {"id": 10, "image_id": 1, "caption": "a red bus"},
        {"id": 11, "image_id": 99, "caption": "nobody's"},
        {"id": 12, "image_id": 3, "caption": "again"},
        {"id": 13, "image_id": {}, "caption": "nobody's"},
    ]
    content = {"images": images, "annotations": annotations}
    pictures.write_json(tmp_path / "raw" / "annotations" / "captions_train2017.json", content)
    kept, rejected = run("coco", tmp_path / "raw", tmp_path / "data", splits=["train"])
    assert kept == {"a.jpg"}
    assert rejected == {
        "b.jpg": "missing caption",
        "a.jpg": "duplicate name",
        "c.jpg": "missing caption",
        "None": "bad name",
        "annotation 11": "unknown picture",
        "annotation 13": "unknown picture",
    }


def test_rows_that_are_no_pairs(tmp_path):
    pictures.write_pictures(tmp_path / "raw" / "train", ["a.jpg"])
    rows = [["a.jpg", "a red bus"], ["a.jpg"], "a.jpg", [7, "x"], ["b.jpg", "gone"]]
    pictures.write_json(tmp_path / "raw" / "cap-img-pairs_train.json", rows)
    kept, rejected = run("multi_instance", tmp_path / "raw", tmp_path / "data", splits=["train"])
    assert kept == {"a.jpg"}
    assert rejected == {
        "['a.jpg']": "bad row",
        "a.jpg": "bad row",
        "[7, 'x']": "bad row",
        "b.jpg": "missing file",
    }


PIECES = st.sampled_from(["..", ".", "", "a.jpg", "C:", "\\", "~", "\0", "\ud800", "NUL"])
WAYS = st.lists(PIECES | st.text(max_size=5), max_size=6).flatmap(
    lambda parts: st.sampled_from("/\\").map(lambda sign: sign.join(parts))
)


@seed(0)
@searched(150)
@given(WAYS | st.none() | st.integers() | st.lists(st.text()))
def test_names_lead_to_a_place_in_their_folder_or_are_rejected(name) -> None:
    try:
        checked = entries.checked_name(name)
    except Rejected:
        return
    for path in (PurePosixPath, PureWindowsPath):
        whole = os.path.normpath(path("/data/set", checked).as_posix())
        assert whole == "/data/set" or whole.startswith("/data/set/")


def test_tables_with_bad_lines(tmp_path):
    folder = pictures.write_pictures(tmp_path / "raw", ["a.jpg", "b.jpg", "c.jpg"])
    (folder / "captions.csv").write_bytes(
        b"file_name,caption\na.jpg,red\nb.jpg\nc.jpg,\xff\xfe\nd.jpg,gone\n../a.jpg,out\n"
    )
    kept, rejected = run("folder", folder, tmp_path / "csv")
    assert kept == {"a.jpg"}
    lines = {"captions.csv line 3": "bad row", "captions.csv line 4": "bad row"}
    others = {"b.jpg": "missing caption", "c.jpg": "missing caption", "d.jpg": "missing file"}
    assert rejected == lines | others | {"../a.jpg": "path leaves its folder"}
    # A text longer than any caption, and a line that ends in the middle as on old systems.
    (folder / "captions.csv").write_bytes(
        b"file_name,caption\na.jpg," + b"x" * 200_000 + b"\nb.jpg,red\rc.jpg,blue\n"
    )
    kept, rejected = run("folder", folder, tmp_path / "long")
    assert kept == {"b.jpg", "c.jpg"}
    assert rejected == {"captions.csv line 2": "bad row", "a.jpg": "missing caption"}
    (folder / "captions.csv").write_bytes(b"x" * 200_000 + b"\na.jpg,red\n")
    with pytest.raises(UserError, match="captions.csv' has the columns"):
        run("folder", folder, tmp_path / "header")
    (folder / "captions.csv").unlink()
    rows = [b'{"file_name": "a.jpg", "text": "red"}', b"{", b"[1]", b"", b'{"text": "x"}', b"\xff"]
    (folder / "captions.jsonl").write_bytes(b"\n".join(rows))
    kept, rejected = run("folder", folder, tmp_path / "jsonl")
    assert kept == {"a.jpg"}
    assert {key for key, reason in rejected.items() if reason == "bad row"} == {
        f"captions.jsonl line {n}" for n in (2, 3, 5, 6)
    }


def test_text_files_that_are_none(tmp_path):
    folder = pictures.write_pictures(tmp_path / "raw", ["a.jpg", "b.jpg", "c.jpg", "d.jpg"])
    (folder / "a.txt").write_text("a red bus")
    (folder / "b.txt").write_bytes(b"caf\xe9")
    (folder / "c.txt").write_text("\n \n")
    kept, rejected = run("folder", folder, tmp_path / "data")
    assert kept == {"a.jpg"}
    missing = dict.fromkeys(("c.jpg", "d.jpg"), "missing caption")
    assert rejected == {"b.jpg": "caption is not text"} | missing


def member(name: str, kind: bytes, **values) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    for key, value in values.items():
        setattr(info, key, value)
    return info


def test_archives_that_try_to_leave(tmp_path):
    (tmp_path / "raw").mkdir()
    path = tmp_path / "raw" / "ILSVRC2012_img_val.tar"
    with tarfile.open(path, "w") as archive:

        def add(info, data=b""):
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))

        for name in ("good.JPEG", "folder/also.JPEG", "../out.JPEG", "/abs.JPEG", "good.JPEG"):
            add(tarfile.TarInfo(name), JPEG)
        add(member("dir", tarfile.DIRTYPE))
        add(member("link.JPEG", tarfile.SYMTYPE, linkname="/etc/passwd"))
        add(member("hard.JPEG", tarfile.LNKTYPE, linkname="good.JPEG"))
        add(member("device.JPEG", tarfile.CHRTYPE, devmajor=1, devminor=5))
        add(member("pipe.JPEG", tarfile.FIFOTYPE))
        add(tarfile.TarInfo("\udcff.JPEG"), JPEG)
        add(tarfile.TarInfo("last.JPEG"), JPEG)
    kept, rejected = run("imagenet", tmp_path / "raw", tmp_path / "data", splits=["val"])
    assert kept == {"good.JPEG", "also.JPEG", "last.JPEG"}
    links = ("link.JPEG", "hard.JPEG", "device.JPEG", "pipe.JPEG")
    assert rejected == {
        "../out.JPEG": "path leaves its folder",
        "/abs.JPEG": "path leaves its folder",
        "good.JPEG": "duplicate name",
        **dict.fromkeys(links, "not a regular file"),
        "\\udcff.JPEG": "name is not UTF-8",
    }
    assert {path.name for path in tmp_path.iterdir()} == {"raw", "data"}


def test_a_broken_archive_inside_an_archive(tmp_path):
    (tmp_path / "raw").mkdir()
    good = pictures.tar({"n1_0.JPEG": JPEG})
    content = pictures.tar({"n0.tar": b"no tar" * 200, "n1.tar": good})
    (tmp_path / "raw" / "ILSVRC2012_img_train.tar").write_bytes(content)
    with pytest.raises(UserError, match="train.tar' is damaged at byte 512 .n0.tar is no tar file"):
        run("imagenet", tmp_path / "raw", tmp_path / "data", splits=["train"])


def archive_of(count: int) -> bytearray:
    return bytearray(pictures.tar({f"{i}.JPEG": JPEG for i in range(count)}))


def listed(path, data: bytes) -> list[str]:
    path.write_bytes(data)
    return [item.key for item in archives.members(path)]


def test_one_flipped_bit_in_a_header_is_told(tmp_path):
    """Of every header but the first, a random bit; the sum of a header's bytes shows it."""
    rng = np.random.default_rng(0)
    data, step = archive_of(5), 512 + -(-len(JPEG) // 512) * 512
    for header in range(1, 5):
        for bit in rng.integers(0, 148 * 8, 25):  # before the sum itself
            damaged = data.copy()
            damaged[header * step + bit // 8] ^= 1 << bit % 8
            with pytest.raises(UserError, match=rf"a.tar' is damaged at byte {header * step} "):
                listed(tmp_path / "a.tar", damaged)
    assert len(listed(tmp_path / "a.tar", data)) == 5


@pytest.mark.parametrize("kind", ["a hole", "a cut", "no end", "a second one", "the end", "inside"])
def test_whatever_is_not_the_end_is_told(tmp_path, kind):
    step = 512 + -(-len(JPEG) // 512) * 512
    data, place = archive_of(4), 2 * step
    if kind == "a hole":  # a header of zeros, as of a lost sector of the disk
        data[place : place + 512] = bytes(512)
        place += 512
    elif kind == "a cut":
        data, place = data[: 3 * step - 100], 3 * step
    elif kind == "no end":
        data, place = data[: 4 * step], 4 * step
    elif kind == "a second one":
        place = len(data)
        data += archive_of(2)
    elif kind == "the end":
        place = 4 * step + 512
        data[4 * step + 700] = 1
    else:  # of an archive in an archive
        data[place + 5] ^= 1
        data, place = bytearray(pictures.tar({"n0.tar": bytes(data)})), 512 + place
    with pytest.raises(UserError, match=r"a.tar' is damaged at byte \d+ ") as error:
        listed(tmp_path / "a.tar", data)
    told = int(str(error.value).split("byte ")[1].split()[0])
    assert place - 2**20 <= told <= place, (told, place)


def test_a_turned_photograph_is_stored_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side
    turned = Image.fromarray(np.rot90(PIXELS).copy())
    data = saved(turned, "JPEG", exif=exif, quality=95, subsampling=0)
    stored = transforms.decode(validation.check(data, "a.jpg").data).astype(int)
    assert stored.shape == PIXELS.shape
    assert np.abs(stored - PIXELS).mean() < 2.5
    assert validation.check(pictures.encoded(PIXELS), "a.jpg").data == JPEG


def test_a_profile_that_is_not_srgb_is_converted():
    """A picture whose profile is sRGB stays as it is; linear light is converted."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = saved(Image.fromarray(PIXELS), "PNG", icc_profile=srgb)
    assert validation.check(data, "a.png").data == data
    linear = saved(Image.fromarray(PIXELS), "PNG", icc_profile=pictures.linear_profile())
    values = PIXELS / 255.0
    expected = np.where(values > 0.0031308, 1.055 * values ** (1 / 2.4) - 0.055, 12.92 * values)
    found = validation.check(linear, "a.png")
    assert np.abs(found.pixels / 255.0 - expected).max() < 0.02
    assert np.abs(transforms.decode(found.data) / 255.0 - expected).mean() < 0.02


@pytest.mark.parametrize("format", ["WEBP", "BMP", "TIFF", "GIF"])
def test_other_formats_become_jpeg(format):
    options = {"lossless": True} if format == "WEBP" else {}
    data = saved(Image.fromarray(PIXELS), format, **options)
    made = validation.check(data, f"photo.{format.lower()}").data
    assert made[:2] == b"\xff\xd8"
    tolerance = 8.0 if format == "GIF" else 2.0  # 256 colours
    assert np.abs(transforms.decode(made).astype(int) - PIXELS).mean() < tolerance


def test_opaque_alpha_and_palettes_are_no_reason():
    for data in (saved(with_alpha(255), "PNG"), saved(Image.fromarray(PIXELS).quantize(99), "PNG")):
        assert validation.check(data, "a.png").data == data


def test_short_sides_only_shrink():
    wide = pictures.pixels(1, 60, 200)
    data = pictures.encoded(wide, "PNG")
    made = transforms.decode(validation.check(data, "a.png", short_side=30).data)
    assert made.shape == (30, 100, 3)
    expected = np.asarray(Image.fromarray(wide).resize((100, 30), Image.Resampling.BICUBIC))
    assert np.abs(made.astype(int) - expected).mean() < 2.0
    assert validation.check(data, "a.png", short_side=60).data == data
    assert validation.check(data, "a.png", short_side=61).data == data


def test_gray_is_what_lightness_predicts():
    assert validation.is_gray(GRAY) and validation.is_gray(toned())
    assert not validation.is_gray(PIXELS)
    spot = GRAY.copy()
    spot[20:24, 20:25] = 200, 30, 30  # 0.65 % of the picture
    assert not validation.is_gray(spot)
    ramp = np.linspace(0, 255, 64).astype(np.uint8)[None, :, None].repeat(48, 0)
    blueprint = (ramp * np.array([0.7, 0.85, 1.0])).astype(np.uint8)
    assert validation.is_gray(blueprint)


def test_a_folder_is_split_by_the_names(tmp_path):
    """A tenth of twenty, the same for any order, and none of them in both."""
    names = [f"{i}.jpg" for i in range(20)]
    folder = pictures.write_pictures(tmp_path / "raw", names)
    keys = {}
    for name, share in (("once", 0.1), ("again", 0.1), ("half", 0.5)):
        prepare(Request("folder", folder, tmp_path / name, hold_out=share))
        keys[name] = {
            split: [records.Record.unpack(source[i]).key for i in range(len(source))]
            for split in ("train", "test")
            for source in [records.open_split(tmp_path / name, split)]
        }
        assert sorted(keys[name]["train"] + keys[name]["test"]) == sorted(names)
    assert keys["once"] == keys["again"] and len(keys["once"]["test"]) == 2
    assert len(keys["half"]["test"]) == 10 and set(keys["once"]["test"]) < set(keys["half"]["test"])
    with pytest.raises(UserError, match="hold_out=1.0 must be"):
        prepare(Request("folder", folder, tmp_path / "all", hold_out=1.0))


def test_damaged_cifar_archives_are_told(tmp_path):
    """Of a tar.gz any byte, and of the pickle in it: one sentence, or the same pictures."""
    rng = np.random.default_rng(0)
    batch = {b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, 1]}

    def archive(pickled: bytes) -> bytearray:
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w:gz") as opened:
            info = tarfile.TarInfo("cifar-10-batches-py/test_batch")
            info.size = len(pickled)
            opened.addfile(info, io.BytesIO(pickled))
        return bytearray(file.getvalue())

    pickled, path = bytearray(pickle.dumps(batch, 2)), tmp_path / "cifar.tar.gz"
    told = 0
    for n in range(60):
        inside = n % 2
        data = pickled.copy() if inside else archive(bytes(pickled))
        data[rng.integers(len(data) if not inside else 200)] ^= 1 << rng.integers(8)
        path.write_bytes(archive(bytes(data)) if inside else data)
        try:
            assert len(list(cifar10.read(path, "test", None))) == 2
        except UserError as error:
            told += 1
            assert "cifar.tar.gz" in str(error)
    assert told > 20
    path.write_bytes(archive(b"\x80\x04\x95" + b"\xff" * 7 + b"\x7f"))
    with pytest.raises(UserError, match=r"something else than CIFAR-10's arrays"):
        list(cifar10.read(path, "test", None))
