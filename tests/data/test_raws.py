"""A camera's raw file that the test makes: the golden values are the light that it holds."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from colorjax.colorize.files import kinds, photos
from colorjax.errors import UserError

LIGHT = np.linspace(0, 1, 96)[None].repeat(64, axis=0)
# From XYZ to linear sRGB (IEC 61966-2-1), as the camera's own colours are to be.
MATRIX = (3.2405, -1.5371, -0.4985, -0.9693, 1.8760, 0.0416, 0.0556, -0.2040, 1.0572)


def write(path: Path, orientation: int = 1) -> None:
    """Gray light on a sensor of red, green and blue, as DNG 1.4 describes it."""
    numbers = [part for value in MATRIX for part in (round(value * 10**4), 10**4)]
    tags = [
        *((33421, 3, 2, (2, 2)), (33422, 1, 4, bytes([0, 1, 1, 2])), (274, 3, 1, orientation)),
        *((50706, 1, 4, bytes([1, 4, 0, 0])), (50707, 1, 4, bytes([1, 1, 0, 0]))),
        *((50708, 2, None, "camera"), (50721, 10, 9, tuple(numbers)), (50778, 3, 1, 21)),
        *((50728, 5, 3, (1, 1, 1, 1, 1, 1)), (50714, 3, 1, 0), (50717, 4, 1, 65535)),
        *((271, 2, None, "maker"), (272, 2, None, "camera")),
    ]
    levels = np.round(LIGHT * 65535).astype(np.uint16)
    extra = [(*tag, True) for tag in tags]
    tifffile.imwrite(path, levels, photometric=32803, extratags=extra, metadata=None)


@pytest.mark.parametrize("orientation", [1, 6])
def test_light_becomes_srgb_upright(tmp_path, orientation) -> None:
    pytest.importorskip("rawpy")
    write(tmp_path / "a.dng", orientation)
    assert photos.check(tmp_path / "a.dng") == 1
    photo = photos.load_photo(tmp_path / "a.dng")
    rgb = photo.rgb if orientation == 1 else np.rot90(photo.rgb)
    curve = np.where(LIGHT > 0.0031308, 1.055 * LIGHT ** (1 / 2.4) - 0.055, 12.92 * LIGHT)
    np.testing.assert_allclose(rgb[8:-8, 8:-8], curve[8:-8, 8:-8, None].repeat(3, -1), atol=0.004)
    assert photo.pixels.bits == 16 and photo.format == "RAW"
    with pytest.raises(UserError, match="96 pixels, more than 99|64 pixels, more than 99"):
        photos.check(tmp_path / "a.dng", 99)


def test_damage_and_a_missing_reader_are_told(tmp_path, monkeypatch) -> None:
    (tmp_path / "a.nef").write_bytes(b"II*\0" + bytes(99))
    if ".nef" in kinds.FORMATS:
        with pytest.raises(UserError, match="not a picture that can be read"):
            photos.load_photo(tmp_path / "a.nef")
    without = {k: v for k, v in kinds.FORMATS.items() if v != "RAW"}
    monkeypatch.setattr(photos, "FORMATS", without)
    for read in (photos.load_photo, photos.check):
        with pytest.raises(UserError, match=r"pip install 'colorjax\[raw\]'"):
            read(tmp_path / "a.nef")
