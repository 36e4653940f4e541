"""Large photographs, which are never whole in memory: the same as those that are."""

import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from colorjax.colorize import jobs, painters, processing
from colorjax.colorize.chroma import looks, recombine
from colorjax.colorize.files import photos, rowwise, saving
from colorjax.colorize.files.metadata import Metadata
from colorjax.data import levels, profiles, tiffs
from colorjax.data.rows import Rows
from colorjax.errors import UserError
from tests.colorize.test_controls import Painted
from tests.colorize.test_formats import SIXTEEN, opencv, pillow, three, tiff
from tests.pictures import profile_of_gamma

RNG = np.random.default_rng(0)
SMOOTH = cv2.resize(RNG.integers(0, 256, (7, 9)).astype(np.float32), (211, 157))
GRAY = np.clip(SMOOTH + RNG.normal(0, 5, SMOOTH.shape), 0, 255).astype(np.uint8)
DEEP = GRAY.astype(np.uint16) * 257 + RNG.integers(0, 200, GRAY.shape).astype(np.uint16)
COLOUR = np.stack([GRAY, 255 - GRAY, GRAY // 2], axis=-1)
FILES = {
    "l.tif": pillow("L", depth=GRAY),
    "rgb.tif": tiff(COLOUR, photometric="rgb"),
    "lzw.tif": pillow("L", depth=GRAY, compression="tiff_lzw"),
    "deflate.tif": tiff(COLOUR, photometric="rgb", compression="zlib", predictor=True),
    "jpeg.tif": pillow("L", depth=GRAY, compression="jpeg"),
    "tiles.tif": tiff(GRAY, tile=(64, 64)),
    "deep.tif": tiff(DEEP, byteorder=">"),
    "turned.tif": tiff(DEEP, extratags=[(274, 3, 1, 6, True)]),
    "turned8.tif": pillow("L", depth=GRAY, tiffinfo={274: 8}, about=False),
    "l.png": pillow("L", depth=GRAY),
    "rgb.png": pillow("RGB", depth=COLOUR),
    "deep.png": pillow("I;16", depth=DEEP),
    "l.jpg": pillow("L", depth=GRAY),
    "rgb.jpg": pillow("RGB", depth=COLOUR),
    "rgb.webp": pillow("RGB", depth=COLOUR, lossless=True),
}
WHOLE = {  # what is not kept in rows
    "rgba.png": pillow("RGBA"),
    "p.png": pillow("P", depth=GRAY),
    "cmyk.tif": pillow("CMYK", depth=COLOUR),
    "rgb16.png": opencv(*[GRAY / 255.0] * 3),
    "white0.tif": tiff(65535 - SIXTEEN, photometric="miniswhite"),
    "planes.tif": tiff(np.stack([SIXTEEN] * 3), photometric="rgb", planarconfig=2),
    "f.tif": tiff(three(GRAY / np.float32(255)), photometric="rgb"),
}


@pytest.fixture
def is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "LARGE", 0)


def prepared(path: Path) -> jobs.Job:
    (job,) = jobs.ready([jobs.Request(path, "")], ((32, 32),), painters.Colouring())
    assert isinstance(job, jobs.Job), job
    return job


def coloured(job: jobs.Job) -> jobs.Levels:
    """In colours that differ from cell to cell."""
    painter = painters.Colouring(looks.Look(scale=1.5))
    (done,) = processing.process(Painted(deviation=20.0), [job], painter, 0)
    assert done.error is None, done.error
    (part,) = processing.rendered(painter, done)
    return part.levels


@pytest.mark.parametrize("name", FILES)
def test_rows_are_those_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    FILES[name](tmp_path / name)
    whole = prepared(tmp_path / name)
    expected = coloured(whole)
    monkeypatch.setattr(photos, "LARGE", 0)
    job = prepared(tmp_path / name)
    assert isinstance(job.lightness, Rows) and isinstance(whole.lightness, np.ndarray)
    assert np.array_equal(np.asarray(job.lightness), whole.lightness)
    assert np.array_equal(job.lightness[100:103], whole.lightness[100:103])
    assert job.photo.is_colour == whole.photo.is_colour
    assert job.photo.metadata == whole.photo.metadata and job.dtype == whole.dtype
    assert np.abs(job.small - whole.small).max() < 1e-3
    assert job.pixels < whole.pixels
    shown = coloured(job)
    assert isinstance(shown, Rows) and shown.shape == expected.shape
    assert shown.dtype == np.asarray(expected).dtype
    apart = np.abs(np.asarray(shown).astype(int) - np.asarray(expected).astype(int))
    assert apart.max() <= (1 if shown.dtype == np.uint8 else 16)
    assert (apart > 0).mean() < 0.01 or shown.dtype == np.uint16


def test_what_needs_all_of_a_picture_gets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hints, sheets and previews of rows are those of the whole; what mixes colours is whole."""
    small = np.ascontiguousarray(COLOUR[::3, ::3])
    Image.fromarray(small).save(tmp_path / "a.png")
    hints = [{"x": 14, "y": 10, "color": "#c03020"}, {"x": 50, "y": 40, "color": "#2030c0"}]
    request = jobs.Request(tmp_path / "a.png", "", hints=hints)
    kinds = [painters.Colouring(), painters.Colouring(sheet="compare")]
    kinds += [painters.Colouring(variations=2, sheet="grid"), painters.Colouring(variations=2)]

    def pictures(painter: painters.Colouring) -> list[np.ndarray]:
        model = Painted(deviation=20.0)
        (done,) = processing.process(
            model, jobs.ready([request], model.buckets, painter), painter, 0
        )
        return [np.asarray(part.levels).astype(int) for part in processing.rendered(painter, done)]

    expected = [pictures(painter) for painter in kinds]
    monkeypatch.setattr(photos, "LARGE", 0)
    for painter, whole in zip(kinds, expected, strict=True):
        for one, other in zip(pictures(painter), whole, strict=True):
            assert np.abs(one - other).max() <= 1
    for change in ({"restore": True}, {"inside": np.ones(small.shape[:2], np.float32)}):
        request = jobs.Request(tmp_path / "a.png", "", **change)
        (job,) = jobs.ready([request], ((32, 32),), painters.Colouring())
        assert isinstance(job, jobs.Job) and isinstance(job.lightness, np.ndarray)


@pytest.mark.parametrize("name", WHOLE)
def test_what_has_more_than_levels_stays_whole(tmp_path: Path, is_large: None, name: str) -> None:
    WHOLE[name](tmp_path / name)
    assert isinstance(prepared(tmp_path / name).lightness, np.ndarray)


@pytest.mark.parametrize("bits", [8, 16])
def test_all_levels_are_as_whole_files_have_them(tmp_path: Path, bits: int) -> None:
    kind = np.dtype(f"uint{bits}")
    every = np.arange(2**bits, dtype=kind).reshape(-1, 64)
    tifffile.imwrite(tmp_path / "a.tif", every)
    whole = photos.load_photo(tmp_path / "a.tif").pixels.rgb
    data = (tmp_path / "a.tif").read_bytes()
    with Image.open(tmp_path / "a.tif") as picture:
        rows = levels.pixels(data, picture)
    assert rows is not None and np.array_equal(np.asarray(rows.rgb), whole)
    assert np.shares_memory(tiffs.stored(data), np.frombuffer(data, np.uint8))


def test_profiles_apply_to_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(COLOUR).save(tmp_path / "a.png", icc_profile=profile_of_gamma(1.8))
    whole = prepared(tmp_path / "a.png")
    monkeypatch.setattr(photos, "LARGE", 0)
    job = prepared(tmp_path / "a.png")
    assert np.array_equal(np.asarray(job.lightness), whole.lightness)
    monkeypatch.setattr(profiles, "conversion", lambda *_: None)
    assert not np.array_equal(np.asarray(prepared(tmp_path / "a.png").lightness), whole.lightness)


def test_averages_are_those_of_areas() -> None:
    values = RNG.uniform(0, 100, (640, 480)).astype(np.float32)
    rows = Rows(values.shape, np.float32, lambda strip: values[strip], values.nbytes)
    exact = values.reshape(32, 20, 24, 20).mean((1, 3))
    assert np.abs(recombine.to_model_size(rows, 32, 24) - exact).max() < 1e-3
    for size in ((7, 5), (33, 31), (639, 479), (640, 480), (640, 7)):  # of no whole cells
        expected = recombine.to_model_size(values, *size)
        assert np.abs(recombine.to_model_size(rows, *size) - expected).max() < 1e-3


def test_narrow_pictures_grow_as_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(GRAY[:, :3]).save(tmp_path / "a.png")
    whole = prepared(tmp_path / "a.png")
    monkeypatch.setattr(photos, "LARGE", 0)
    assert np.array_equal(prepared(tmp_path / "a.png").small, whole.small)


def rows_of(array: np.ndarray) -> Rows:
    return Rows(array.shape, array.dtype, lambda strip: array[strip].copy(), array.nbytes)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize(("height", "width"), [(157, 211), (160, 16), (1, 1), (9, 1)])
def test_files_by_rows_hold_what_whole_ones_do(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    suffix: str,
    depth: type,
    height: int,
    width: int,
) -> None:
    monkeypatch.setattr(rowwise, "_JPEG_PIXELS", 8 * width)  # more restarts than there are names
    monkeypatch.setattr(rowwise, "_MOST_INTERVAL", -(-width // 8))
    array = np.ascontiguousarray(COLOUR[:height, :width])
    if depth == np.uint16:
        array = array.astype(np.uint16) * 257 - (array % 7)
    exif = Image.Exif()
    exif[0x010E] = "grandmother"
    carried = Metadata(exif=exif.tobytes()[6:])
    for name, photo in (("whole", array), ("rows", rows_of(array))):
        lost = saving.save_photo(tmp_path / f"{name}{suffix}", photo, carried, note={"seed": 3})
        assert lost == ()
    whole, rows = tmp_path / f"whole{suffix}", tmp_path / f"rows{suffix}"
    assert saving.note_of(rows) == {"seed": 3}
    with Image.open(whole) as before, Image.open(rows) as after:
        assert np.array_equal(np.asarray(after), np.asarray(before))
        assert dict(after.getexif()) == dict(before.getexif())
        assert after.getexif()[0x010E] == "grandmother"
    if suffix == ".tif":
        assert rows.read_bytes() == whole.read_bytes()
    if suffix != ".jpg":
        shown = cv2.imread(str(rows), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(shown[..., ::-1], array)
    else:
        assert rows.read_bytes().count(b"\xff\xd0") >= (height > 64)


def test_png_filters_are_all_there(tmp_path: Path) -> None:
    """Each is the smallest of some line, and OpenCV undoes it."""
    ramp = np.arange(96, dtype=np.uint8)
    noise = RNG.integers(0, 256, (5, 96, 3), dtype=np.uint8)
    mean = np.zeros((40, 96), np.uint8)
    for y in range(1, 40):
        for x in range(96):
            left = int(mean[y, x - 1]) if x else 0
            mean[y, x] = ((left + int(mean[y - 1, x])) // 2 + 37) % 256
    parts = [np.zeros((2, 96, 3), np.uint8), noise, np.repeat(noise[-1:], 3, 0)]
    parts += [three(np.add.outer(np.arange(9) * 5, ramp * 2).astype(np.uint8)), three(mean)]
    array = np.concatenate(parts)
    saving.save_photo(tmp_path / "a.png", rows_of(array))
    assert np.array_equal(cv2.imread(str(tmp_path / "a.png"))[..., ::-1], array)
    lines = np.concatenate([np.zeros((1, 96 * 3), np.uint8), array.reshape(len(array), -1)])
    assert set(rowwise._filtered(lines, 3)[:, 0]) == {0, 1, 2, 3, 4}


def test_what_fails_midway_leaves_nothing(tmp_path: Path) -> None:
    def compute(strip: slice) -> np.ndarray:
        if strip.start > 0:
            raise OSError(28, "No space left on device")
        return np.zeros((strip.stop, 1 << 14, 3), np.uint8)

    rows = Rows((4096, 1 << 14, 3), np.uint8, compute, 0)
    for suffix in (".png", ".jpg", ".tif"):
        with pytest.raises(UserError, match="No space left"):
            saving.save_photo(tmp_path / f"a{suffix}", rows)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".webp", ".avif"])
def test_other_formats_are_written_whole(tmp_path: Path, suffix: str) -> None:
    for name, photo in (("whole", COLOUR), ("rows", rows_of(COLOUR))):
        saving.save_photo(tmp_path / f"{name}{suffix}", photo)
    whole, rows = tmp_path / f"whole{suffix}", tmp_path / f"rows{suffix}"
    assert rows.read_bytes() == whole.read_bytes()


@pytest.mark.proof
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_memory_grows_as_the_file(tmp_path: Path, is_large: None, suffix: str) -> None:
    """By a byte a pixel; what is whole takes four for the lightness and three for the levels."""
    peaks, sizes = [], []
    for times in (3, 6):
        tifffile.imwrite(tmp_path / "a.tif", np.tile(GRAY, (times, 15)))
        sizes.append((tmp_path / "a.tif").stat().st_size)
        tracemalloc.start()
        try:
            shown = coloured(prepared(tmp_path / "a.tif"))
            saving.save_photo(tmp_path / f"b{suffix}", shown)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert sizes[1] - sizes[0] > 1e6
    assert peaks[1] - peaks[0] < 1.3 * (sizes[1] - sizes[0])
