"""T2: small files that claim or unpack to gigabytes are refused for a few megabytes of memory."""

import json
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from colorjax.data import bounds
from tests.trust.conftest import Row

READ = """
import json, sys, time
from pathlib import Path
from colorjax.colorize.files import photos
from colorjax.errors import UserError
from tests.trust.reading import memory
from tests.trust.test_t02_bombs import LIMIT
photos.load_photo(sys.argv[1])  # what is imported while it reads is no part of a bomb
rows = {}
for path in sorted(Path(sys.argv[2]).iterdir()):
    before, start = memory("VmHWM"), time.process_time()
    try:
        photos.load_photo(path, LIMIT)
        said = ""
    except UserError as error:
        said = str(error)
    rows[path.name] = (said, memory("VmHWM") - before, time.process_time() - start)
print(json.dumps(rows))
"""
LIMIT = 64 * 10**6  # of pixels; a person's own limit is 400 megapixels unless it is said


def png(width: int, height: int, depth: int, kind: int, packed: bytes, *more: tuple) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    chunks = [(b"IHDR", header), *more, (b"IDAT", packed), (b"IEND", b"")]
    return bounds.PNG_SIGNATURE + b"".join(bounds.png_chunk(*chunk) for chunk in chunks)


def zeros(megabytes: int) -> bytes:
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(2**20)) for _ in range(megabytes)) + packer.flush()


def file_of(picture: Image.Image, kind: str, **more: object) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, kind, **more)
    return buffer.getvalue()


def resized(data: bytes, at: int, form: str, *sides: int) -> bytes:
    """A file whose header claims other sides."""
    return data[:at] + struct.pack(form, *sides) + data[at + struct.calcsize(form) :]


def tiff(width: int, height: int, **more: object) -> bytes:
    buffer = BytesIO()
    tifffile.imwrite(buffer, np.zeros((4, 4), np.uint8), metadata=None, **more)
    data = bytearray(buffer.getvalue())
    for tag, value in ((256, width), (257, height), (278, height)):
        at = data.find(struct.pack("<HH", tag, 3))
        at = at if at >= 0 else data.find(struct.pack("<HH", tag, 4))
        if at >= 0:
            data[at : at + 12] = struct.pack("<HHII", tag, 4, 1, value)
    return bytes(data)


def bombs(megabytes: int) -> Iterator[tuple[str, bytes]]:
    small = Image.new("RGB", (16, 16), (9, 99, 199))
    one = zlib.compress(bytes(100))
    yield "claims.1.png", png(60_000, 60_000, 1, 0, zeros(megabytes))
    yield "claims.8.png", png(30_000, 30_000, 8, 2, one)
    yield "claims.16.png", png(2**31 - 1, 2**31 - 1, 16, 6, one)
    yield "unpacks.png", png(100, 100, 8, 2, zeros(megabytes))
    yield "unpacks.16.png", png(100, 100, 16, 2, zeros(megabytes))
    profile = b"p\0\0" + zeros(megabytes)
    yield "profile.png", png(10, 10, 8, 0, zlib.compress(bytes(110)), (b"iCCP", profile))
    text = b"t\0\0" + zeros(megabytes)
    yield "text.png", png(10, 10, 8, 0, zlib.compress(bytes(110)), (b"zTXt", text))
    jpeg = file_of(small, "JPEG")
    at = jpeg.index(b"\xff\xc0") + 5
    yield "claims.jpg", resized(jpeg, at, ">HH", 65_500, 65_500)
    yield "lies.jpg", resized(jpeg, at, ">HH", 7_900, 7_900)
    many = file_of(small, "JPEG", progressive=True)
    scan = many[many.rindex(b"\xff\xda") : -2]
    yield "scans.jpg", many[:-2] + scan * 5000 + b"\xff\xd9"
    yield "claims.tif", tiff(100_000, 100_000)
    yield "lies.tif", tiff(7_900, 7_900)
    yield "deflate.tif", tiff(7_900, 7_900, compression="deflate")
    yield "big.tif", tiff(100_000, 100_000, bigtiff=True)
    gif = file_of(small.convert("P"), "GIF")
    yield "claims.gif", resized(gif, 6, "<HH", 65_535, 65_535)
    frames = [small.convert("P").rotate(90 * (i % 4)) for i in range(4)]
    yield (
        "frames.gif",
        resized(
            file_of(frames[0], "GIF", save_all=True, append_images=frames[1:] * 300),
            6,
            "<HH",
            60_000,
            60_000,
        ),
    )
    bmp = file_of(small, "BMP")
    yield "claims.bmp", resized(bmp, 18, "<ii", 60_000, 60_000)
    yield "lies.bmp", resized(bmp, 18, "<ii", 7_900, 7_900)
    webp = file_of(small.convert("RGBA"), "WEBP", lossless=True, exif=b"Exif\0\0II*\0" + bytes(20))
    at = webp.index(b"VP8X") + 12
    yield "claims.webp", resized(webp, at, "<HBHB", 0xFFFF, 0, 0xFFFF, 0)
    yield "claims.ppm", b"P6 60000 60000 255\n" + bytes(100)
    yield "lies.ppm", b"P6 7900 7900 255\n" + bytes(100)
    yield "plain.pgm", b"P2 7900 7900 255\n" + b"1 " * 100
    jp2 = file_of(small, "JPEG2000")
    at = jp2.index(b"ihdr") + 4
    siz = jp2.index(b"\xff\x51") + 6
    yield "claims.jp2", resized(resized(jp2, at, ">II", 60_000, 60_000), siz, ">II", 60_000, 60_000)
    ico = file_of(small, "ICO")
    yield "picture.ico", ico
    avif = file_of(small, "AVIF")
    at = avif.index(b"ispe") + 8
    yield "claims.avif", resized(avif, at, ">II", 60_000, 60_000)


def test_bombs(tmp_path: Path, row: Row) -> None:
    folder = tmp_path / "bombs"
    folder.mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "good.png")
    made = dict(bombs(row.count(8, 512)))
    for name, data in made.items():
        (folder / name).write_bytes(data)
    words = [sys.executable, "-c", READ, str(tmp_path / "good.png"), str(folder)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    # Text beside a picture is no picture: it is left out, and costs no more than the others.
    accepted = {name for name, (said, _, _) in rows.items() if not said}
    assert accepted <= {"text.png", "profile.png", "lies.webp"}, accepted
    most = max(rows.values(), key=lambda r: r[1])
    slowest = max(rows.values(), key=lambda r: r[2])
    assert most[1] < 100e6, {n: r for n, r in rows.items() if r[1] > 50e6}
    assert slowest[2] < 5.0, {n: r for n, r in rows.items() if r[2] > 1.0}
    row.tell(
        f"{len(rows)} bombs of at most {max(map(len, made.values())) / 1e6:.1f} MB: "
        f"{len(rows) - len(accepted)} refused, {len(accepted)} read without what was packed; "
        f"at most {most[1] / 1e6:.0f} MB more, {slowest[2]:.1f} s"
    )
