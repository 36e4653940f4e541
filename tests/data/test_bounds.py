"""Small files that ask for much, and damage that decoders paint over."""

import struct
import time
import zlib
from io import BytesIO

import numpy as np
import pytest
import tifffile
from PIL import Image

from colorjax.colorize.files.photos import check, load_photo
from colorjax.data import bounds, transforms
from colorjax.errors import UserError
from colorjax.prepare.sources.entries import Rejected
from colorjax.prepare.validation import check as check_record


def jpeg(side: int = 64, **options) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    buffer = BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def png(header: bytes, packed: bytes) -> bytes:
    chunks = [(b"IHDR", header), (b"IDAT", packed), (b"IEND", b"")]
    return bounds.PNG_SIGNATURE + b"".join(bounds.png_chunk(*chunk) for chunk in chunks)


def refused(path, data: bytes, words: str) -> None:
    path.write_bytes(data)
    start = time.monotonic()
    with pytest.raises(UserError, match=words):
        load_photo(path)
    assert time.monotonic() - start < 5.0


@pytest.mark.parametrize("depth", [8, 16])
def test_a_png_that_unpacks_to_more_than_its_pixels(tmp_path, depth) -> None:
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(64)) + packer.flush()
    header = struct.pack(">IIBBBBB", 100, 100, depth, 2, 0, 0, 0)
    refused(tmp_path / "a.png", png(header, packed), "unpacks to more than its pixels")


@pytest.mark.parametrize("interlaced", [0, 1])
@pytest.mark.parametrize("kind", [0, 2, 4, 6])
def test_whole_pngs_pass(kind, interlaced) -> None:
    """The bytes of Adam7's passes by the standard's own table."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[kind]
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)]
    passes = [*passes, (0, 1, 1, 2)] if interlaced else [(0, 0, 1, 1)]
    sides = [(len(range(x, 33, dx)), len(range(y, 21, dy))) for x, y, dx, dy in passes]
    count = sum(rows * (1 + columns * channels) for columns, rows in sides if columns)
    header = struct.pack(">IIBBBBB", 33, 21, 8, kind, 0, 0, interlaced)
    data = png(header, zlib.compress(bytes(count)))
    bounds.check(data)
    assert bounds._unpacked(header) == count
    with Image.open(BytesIO(data)) as picture:
        picture.load()


def test_jpegs_that_are_damaged_within_or_end_too_early(tmp_path) -> None:
    whole = jpeg()
    middle = len(whole) // 2
    zeros = whole[:middle] + bytes(100) + whole[middle + 100 :]
    for damaged in (whole[:middle], whole[:-2], zeros):
        refused(tmp_path / "a.jpg", damaged, "is not a picture that can be read")
        with pytest.raises(Rejected):  # one rule for photographs and for records
            check_record(damaged, "a.jpg")
    (tmp_path / "a.jpg").write_bytes(whole + b"what phones append")
    assert load_photo(tmp_path / "a.jpg").rgb.shape == (64, 64, 3)


def test_a_jpeg_of_few_bytes_and_many_pixels(tmp_path) -> None:
    data = bytearray(jpeg(8))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", 7900, 7900)
    refused(tmp_path / "a.jpg", bytes(data), "ends before its pixels do")


def test_a_jpeg_of_many_scans(tmp_path) -> None:
    data = jpeg(progressive=True)
    bounds.check(data)
    last = data.rindex(b"\xff\xda")
    scan = data[last:-2]
    refused(tmp_path / "a.jpg", data[:-2] + scan * 60 + b"\xff\xd9", "more than 40 scans")


def test_a_file_of_more_bytes_than_a_picture_has(tmp_path) -> None:
    Image.new("I;16", (20, 20)).save(tmp_path / "a.png")
    with (tmp_path / "a.png").open("r+b") as file:
        file.truncate(20 << 30)
    for read in (load_photo, check):
        with pytest.raises(UserError, match="20.0 GiB, more than 3.0 GiB"):
            read(tmp_path / "a.png")


def test_a_chunk_of_more_bytes_than_the_file() -> None:
    """Seventy bytes that would have OpenCV make room for four gigabytes."""
    whole = png(struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0), zlib.compress(bytes(72)))
    bounds.check_chunks(whole)
    at = whole.index(b"IDAT") - 4
    hostile = whole[:at] + b"\xff\0\0\x12" + whole[at + 4 :]
    for read in (bounds.check, transforms.decode):
        with pytest.raises((ValueError, UserError), match="claims 4278190098 bytes"):
            read(hostile)


def test_a_files_bytes_are_bounded_by_its_pixels(tmp_path, monkeypatch) -> None:
    """A file of as many pixels as are allowed is not refused for its bytes, packed or not."""
    monkeypatch.setattr(bounds, "MAX_BYTES", 1000)
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((40, 50, 4), np.uint16), photometric="rgb")
    assert (tmp_path / "a.tif").stat().st_size > 16_000
    with pytest.raises(ValueError, match="GiB, more than"):
        bounds.read_bytes(tmp_path / "a.tif", 1000)
    assert len(bounds.read_bytes(tmp_path / "a.tif", 2100)) > 16_000
    assert load_photo(tmp_path / "a.tif").pixels.rgb.shape == (40, 50, 3)
    assert check(tmp_path / "a.tif") == 1
    with pytest.raises(UserError, match="more than"):
        load_photo(tmp_path / "a.tif", 1000)
