"""LZW at depths that neither Pillow nor tifffile unpacks, inks in floats and Lab: written by
libtiff's packer and by tifffile, golden values are what was written."""

import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from skimage.color import lab2rgb

from colorjax.colorize.files.photos import load_photo
from colorjax.errors import UserError

RNG = np.random.default_rng(0)


def packed(strip: bytes) -> bytes:
    """LZW by libtiff, of a row of bytes."""
    file = BytesIO()
    Image.frombytes("L", (len(strip), 1), strip).save(file, "TIFF", compression="tiff_lzw")
    with tifffile.TiffFile(BytesIO(file.getvalue())) as tiff:
        page: Any = tiff.pages[0]
        (start,), (count,) = page.dataoffsets, page.databytecounts
    return file.getvalue()[start : start + count]


def write_lzw(path: Path, values: np.ndarray, *, predictor: bool = False, **options: Any) -> None:
    """As tifffile writes it, and then each strip packed and its entries changed.

    The predictor's entry takes the place of the one that names the software.
    """
    tifffile.imwrite(path, values, rowsperstrip=4, **options)
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        page: Any = tiff.pages[0]
        strips = []
        for start, count in zip(page.dataoffsets, page.databytecounts):
            strip = bytes(data[start : start + count])
            if predictor:
                rows = np.frombuffer(strip, values.dtype).reshape(-1, *values.shape[1:])
                strip = np.diff(rows, axis=1, prepend=rows[:, :1] * 0).tobytes()
            strips.append(packed(strip))
        places = [len(data) + sum(map(len, strips[:i])) for i in range(len(strips))]
        changes = {259: [5], 273: places, 279: [len(strip) for strip in strips]}
        for code, numbers in changes.items():
            tag = page.tags[code]
            kind = {3: "H", 4: "I"}[int(tag.dtype)]
            struct.pack_into(f"<{len(numbers)}{kind}", data, tag.valueoffset, *numbers)
        if predictor:
            struct.pack_into("<HHII", data, page.tags[305].offset, 317, 3, 1, 2)
    path.write_bytes(bytes(data) + b"".join(strips))


@pytest.mark.parametrize("predictor", [False, True])
def test_gray_with_alpha_at_16_bits(tmp_path, predictor) -> None:
    values = RNG.integers(0, 65536, (10, 14, 2)).astype(np.uint16)
    values[..., 1] = 65535
    options: dict[str, Any] = {"photometric": "minisblack", "extrasamples": ["unassalpha"]}
    write_lzw(tmp_path / "a.tif", values, predictor=predictor, planarconfig="contig", **options)
    rgb = load_photo(tmp_path / "a.tif").rgb
    np.testing.assert_allclose(rgb[..., 1], values[..., 0] / 65535.0, atol=1e-6)


@pytest.mark.parametrize("lzw", [False, True])
def test_inks_in_floats(tmp_path, lzw) -> None:
    inks = RNG.uniform(0, 1, (10, 14, 4)).astype(np.float32)
    options = {"photometric": "separated", "planarconfig": "contig"}
    if lzw:
        write_lzw(tmp_path / "a.tif", inks, **options)
    else:
        tifffile.imwrite(tmp_path / "a.tif", inks, **options)
    expected = (1 - inks[..., :3]) * (1 - inks[..., 3:])
    np.testing.assert_allclose(load_photo(tmp_path / "a.tif").rgb, expected, atol=1e-6)


@pytest.mark.parametrize(("kind", "full", "one"), [("u1", 255, 1), ("u2", 65535, 256)])
def test_lab(tmp_path, kind, full, one) -> None:
    lab = np.array([50.0, 20.0, -30.0])
    stored = [round(lab[0] * full / 100), round(lab[1] * one), round(lab[2] * one) % (full + 1)]
    values = np.broadcast_to(np.array(stored, kind), (10, 14, 3))
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="cielab")
    rgb = load_photo(tmp_path / "a.tif").rgb
    np.testing.assert_allclose(rgb[0, 0], lab2rgb(lab), atol=0.03)


def test_a_damaged_strip_is_told(tmp_path) -> None:
    values = RNG.integers(0, 65536, (10, 14, 2)).astype(np.uint16)
    write_lzw(tmp_path / "a.tif", values, photometric="minisblack", planarconfig="contig")
    data = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(data[:-40])
    with pytest.raises(UserError, match="is not a picture that can be read"):
        load_photo(tmp_path / "a.tif")
