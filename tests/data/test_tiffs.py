"""TIFF by what the file says: golden values are what was written, by tifffile."""

import io
import struct
import time

import numpy as np
import pytest
import tifffile
from PIL import Image

from colorjax.colorize.files.photos import check, load_photo
from colorjax.data import tiffs
from colorjax.errors import UserError

RNG = np.random.default_rng(0)


def shown(path) -> np.ndarray:
    check(path)
    return load_photo(path).rgb


@pytest.mark.parametrize("kind", ["u1", "u2", "u4", "i2", "f2", "f4", "f8"])
@pytest.mark.parametrize("samples", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_samples_of_every_depth(tmp_path, kind, samples, compression) -> None:
    """Of samples beyond the colours none is alpha unless the file says so."""
    most = {"f": 1.0, "u": 2.0 ** (8 * int(kind[1])) - 1, "i": 2.0**15 - 1}[kind[0]]
    fractions = RNG.uniform(0, 1, (9, 14, samples))
    values = (fractions * most).astype(kind)
    gray = samples < 3
    extras = [0] * (samples - (1 if gray else 3))
    options = {"extrasamples": extras} if extras else {}
    tifffile.imwrite(
        tmp_path / "a.tif",
        values if samples > 1 else values[..., 0],
        photometric="minisblack" if gray else "rgb",
        compression=compression,
        planarconfig="contig" if samples > 1 else None,
        **options,
    )
    expected = values[..., : 1 if gray else 3] / most
    rgb = shown(tmp_path / "a.tif")
    np.testing.assert_allclose(rgb, np.broadcast_to(expected, (9, 14, 3)), atol=1e-3)


@pytest.mark.parametrize(("alpha", "premultiplied"), [(2, False), (1, True)])
def test_alpha_where_the_file_says_so(tmp_path, alpha, premultiplied) -> None:
    values = np.full((9, 14, 4), 65535, np.uint16)
    values[..., 1:3], values[..., 3] = 0, 13107
    if premultiplied:
        values[..., 0] = 13107
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", extrasamples=[alpha])
    np.testing.assert_allclose(shown(tmp_path / "a.tif")[0, 0], [1, 0.8, 0.8], atol=1e-3)


def test_planes_and_white_as_zero(tmp_path) -> None:
    values = RNG.integers(0, 65536, (3, 9, 14)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", planarconfig="separate")
    np.testing.assert_allclose(
        shown(tmp_path / "a.tif"), np.moveaxis(values, 0, -1) / 65535.0, atol=1e-6
    )
    tifffile.imwrite(tmp_path / "b.tif", values[0], photometric="miniswhite")
    np.testing.assert_allclose(
        shown(tmp_path / "b.tif")[..., 0], 1 - values[0] / 65535.0, atol=1e-6
    )


@pytest.mark.parametrize(("white", "outlier"), [(1.0, 1.02), (255.0, 300.0), (65535.0, 1e9)])
def test_an_outlier_does_not_decide_what_white_is(tmp_path, white, outlier) -> None:
    values = np.linspace(0, white, 256).reshape(16, 16).astype(np.float32)
    values[-1, -1], values[0, 0], values[0, 1] = outlier, np.nan, -np.inf
    tifffile.imwrite(tmp_path / "a.tif", values)
    rgb = shown(tmp_path / "a.tif")
    assert rgb[8, 0, 0] == pytest.approx(128 / 255, abs=1e-4) and rgb[-1, -1, 0] == 1.0
    assert rgb[0, 0, 0] == rgb[0, 1, 0] == 0.0


def test_the_file_says_what_white_is(tmp_path) -> None:
    values = np.linspace(0, 0.5, 256).reshape(16, 16).astype(np.float32)
    tags = [(341, 11, 1, 2.0, True)]  # SMaxSampleValue
    tifffile.imwrite(tmp_path / "a.tif", values, extratags=tags)
    np.testing.assert_allclose(shown(tmp_path / "a.tif")[..., 0], values / 2.0, atol=1e-6)


def test_what_is_not_read_says_what_it_is(tmp_path, capfd) -> None:
    values = RNG.integers(0, 65536, (9, 14, 4)).astype(np.uint16)
    tifffile.imwrite(
        tmp_path / "a.tif",
        np.repeat(values, 3, axis=-1),
        photometric="minisblack",
        planarconfig="contig",
    )
    with pytest.raises(UserError, match="this TIFF has 12 samples of 16 bits, which is not read"):
        load_photo(tmp_path / "a.tif")
    (tmp_path / "b.tif").write_bytes(b"II*\0" + bytes(40))
    with pytest.raises(UserError, match="is not a picture"):
        load_photo(tmp_path / "b.tif")
    assert capfd.readouterr() == ("", ""), "libraries' own warnings stay away"


@pytest.mark.parametrize("byteorder", "<>")
@pytest.mark.parametrize("bigtiff", [False, True])
def test_pages_are_counted_as_another_library_counts_them(byteorder, bigtiff) -> None:
    file = io.BytesIO()
    with tifffile.TiffWriter(file, byteorder=byteorder, bigtiff=bigtiff) as writer:
        for side in (3, 9, 5):
            writer.write(np.zeros((side, 4, 3), np.uint8), photometric="rgb")
    assert tiffs.count_pages(file) == 3
    with tifffile.TiffFile(io.BytesIO(file.getvalue())) as there:
        assert len(there.pages) == 3
        (first, *_, last) = [page.offset for page in there.pages]
    data = bytearray(file.getvalue())
    entries = struct.unpack_from(byteorder + ("Q" if bigtiff else "H"), data, last)[0]
    following = last + (8 + 20 * entries if bigtiff else 2 + 12 * entries)
    for place in (first, last, len(data) + 9, 2**31):  # around, to itself, to nowhere
        struct.pack_into(byteorder + ("Q" if bigtiff else "I"), data, following, place)
        assert tiffs.count_pages(io.BytesIO(data)) == 3


def test_a_file_of_very_many_pages_is_told_at_once(tmp_path) -> None:
    """Of six bytes each; libraries take four seconds for 20,000 that have something in them."""
    path = tmp_path / "many.tif"
    Image.new("L", (4, 4)).save(path)
    assert check(path) == 1
    data = bytearray(path.read_bytes())
    (at,) = struct.unpack_from("<I", data, 4)
    struct.pack_into("<I", data, at + 2 + 12 * struct.unpack_from("<H", data, at)[0], len(data))
    start = len(data)
    for number in range(1, 20_000):
        data += struct.pack("<HI", 0, start + 6 * number)
    path.write_bytes(data)
    begun = time.process_time()
    with pytest.raises(UserError, match="it has more than 10,000 pages"):
        check(path)
    assert time.process_time() - begun < 1.0
