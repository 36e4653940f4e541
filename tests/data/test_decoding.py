"""Golden values: what was written into the files, Pillow's own transposition, sRGB's curve."""

import struct

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from colorjax.colorize.files.photos import load_photo
from colorjax.colorize.files.saving import save_photo
from tests import pictures


@pytest.fixture
def ramp() -> np.ndarray:
    """Gray levels 0..255 in a 16 x 16 square."""
    return np.arange(256, dtype=np.uint8).reshape(16, 16)


def _gray(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, axis=-1)


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "LA", "RGBA", "I", "F"])
def test_modes_give_the_same_gray(tmp_path, ramp, mode):
    picture = Image.fromarray(ramp).convert(mode)
    if mode == "I":
        picture = Image.fromarray(ramp.astype(np.int32) * 257)
    path = tmp_path / ("a.tif" if mode in "IF" else "a.png")
    picture.save(path)
    photo = load_photo(path)
    assert photo.rgb.dtype == np.float32 and not photo.is_colour
    np.testing.assert_allclose(photo.rgb, _gray(ramp / 255.0), atol=1e-6)


def test_bilevel_cmyk_and_float_of_unit_range(tmp_path, ramp):
    Image.fromarray(ramp > 99).save(tmp_path / "1.png")
    np.testing.assert_array_equal(load_photo(tmp_path / "1.png").rgb, _gray(ramp > 99))
    Image.fromarray(ramp / np.float32(510)).save(tmp_path / "f.tif")
    expected = _gray(ramp / 510.0)
    np.testing.assert_allclose(load_photo(tmp_path / "f.tif").rgb, expected, atol=1e-6)
    cmyk = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    cmyk.save(tmp_path / "c.jpg", quality=95)
    photo = load_photo(tmp_path / "c.jpg")
    np.testing.assert_allclose(photo.rgb[8, 8], [1, 0, 0], atol=0.02)
    assert photo.is_colour and photo.format == "JPEG"


def test_transparency_is_laid_on_white(tmp_path):
    rgba = np.zeros((8, 8, 4), np.uint8)
    rgba[..., 0], rgba[..., 3] = 255, 51
    Image.fromarray(rgba).save(tmp_path / "a.png")
    np.testing.assert_allclose(load_photo(tmp_path / "a.png").rgb[0, 0], [1, 0.8, 0.8], atol=1e-6)
    Image.new("P", (8, 8), 0).save(tmp_path / "p.png", transparency=0)
    np.testing.assert_allclose(load_photo(tmp_path / "p.png").rgb, 1.0)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_are_kept(tmp_path, name, channels):
    values = np.linspace(0, 65535, 16 * 16 * channels).reshape(16, 16, channels)
    values = values.astype(np.uint16)
    if channels == 4:
        values[..., 3] = 65535
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[channels]
    assert cv2.imwrite(str(tmp_path / name), values[..., order])
    expected = np.broadcast_to(values[..., :3], (16, 16, 3)) / 65535.0
    np.testing.assert_allclose(load_photo(tmp_path / name).rgb, expected, atol=1e-6)


def test_sixteen_bit_scan_with_white_as_zero(tmp_path):
    values = np.linspace(0, 65535, 144).astype(np.uint16).reshape(12, 12)
    Image.fromarray(values).save(tmp_path / "a.tif")
    data = bytearray((tmp_path / "a.tif").read_bytes())
    entry = data.index(struct.pack("<HHI", 262, 3, 1))
    data[entry + 8] = 0
    (tmp_path / "a.tif").write_bytes(data)
    expected = _gray(1.0 - values / 65535.0)
    np.testing.assert_allclose(load_photo(tmp_path / "a.tif").rgb, expected, atol=1e-6)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_and_not_carried(tmp_path, orientation, suffix):
    values = np.random.default_rng(0).integers(0, 256, (9, 14, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = orientation, "grandmother"
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(values).save(path, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    assert expected.shape[:2] == ((14, 9) if orientation > 4 else (9, 14))
    photo = load_photo(path)
    np.testing.assert_allclose(photo.rgb, expected / 255.0, atol=1e-6)
    for name in ("out.png", "out.jpg"):
        save_photo(tmp_path / name, photo.rgb, photo.metadata)
        with Image.open(tmp_path / name) as saved:
            exif = saved.getexif()
            assert exif.get(0x0112, 1) == 1 and exif[0x010E] == "grandmother"
            assert saved.size == (photo.rgb.shape[1], photo.rgb.shape[0])


@pytest.mark.parametrize("bits", [8, 16])
def test_embedded_profile_becomes_srgb(tmp_path, bits):
    levels = np.linspace(40, 250, 16 * 16).reshape(16, 16)
    gray = _gray(levels).astype(np.uint8)
    Image.fromarray(gray).save(tmp_path / "a.png", icc_profile=pictures.linear_profile())
    linear = gray / 255.0
    if bits == 16:
        values = (_gray(levels) * 257).astype(np.uint16)
        cv2.imwrite(str(tmp_path / "w.png"), values)
        chunks = (tmp_path / "a.png").read_bytes()
        at = chunks.index(b"iCCP") - 4
        chunk = chunks[at : at + 12 + struct.unpack(">I", chunks[at : at + 4])[0]]
        wide = (tmp_path / "w.png").read_bytes()
        (tmp_path / "a.png").write_bytes(wide[:33] + chunk + wide[33:])
        linear = values / 65535.0
    expected = 1.055 * linear ** (1 / 2.4) - 0.055
    np.testing.assert_allclose(load_photo(tmp_path / "a.png").rgb, expected, atol=1.2 / 255)
    Image.fromarray(gray).save(tmp_path / "b.png", icc_profile=b"not a profile at all" * 9)
    np.testing.assert_allclose(load_photo(tmp_path / "b.png").rgb, gray / 255.0, atol=1e-6)


def test_first_frame_of_an_animation(tmp_path):
    first, second = Image.new("L", (9, 9), 255), Image.new("L", (9, 9), 0)
    for name in ("a.gif", "a.tif"):
        first.save(tmp_path / name, save_all=True, append_images=[second])
        np.testing.assert_allclose(load_photo(tmp_path / name).rgb, 1.0)
