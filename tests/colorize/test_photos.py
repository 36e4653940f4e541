"""Golden values: what was written into the files, and the rules for names by example."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from colorjax.colorize.command.paths import find_photos, output_paths
from colorjax.colorize.files.kinds import EXTRAS, FORMATS
from colorjax.colorize.files.photos import check, load_photo
from colorjax.colorize.files.saving import save_photo
from colorjax.errors import UserError


@pytest.fixture
def ramp() -> np.ndarray:
    """Gray levels 0..255 in a 16 x 16 square."""
    return np.arange(256, dtype=np.uint8).reshape(16, 16)


def _broken(folder: Path) -> dict[str, Path]:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    paths = {name: folder / f"{name}.jpg" for name in ("missing", "empty", "text", "folder")}
    paths["empty"].touch()
    paths["text"].write_text("dear grandmother")
    paths["folder"].mkdir()
    for suffix in ("jpg", "png", "tif", "webp", "gif", "bmp"):
        whole = folder / f"whole.{suffix}"
        Image.fromarray(noise).save(whole)
        paths[suffix] = folder / f"truncated.{suffix}"
        paths[suffix].write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    return paths


def test_what_cannot_be_read_is_one_sentence(tmp_path):
    says = {"missing": "does not exist", "folder": "not a file"}
    for name, path in _broken(tmp_path).items():
        with pytest.raises(UserError) as error:
            load_photo(path)
        message = str(error.value)
        assert str(path) in message and "\n" not in message and len(message) < 300
        assert says.get(name, "is not a picture that can be read") in message


def test_bombs_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    """Also beyond what Pillow itself refuses, 179 megapixels, whose limit stays as it was."""
    Image.new("1", (14000, 14000)).save(tmp_path / "bomb.png")
    limit = Image.MAX_IMAGE_PIXELS
    monkeypatch.setattr("colorjax.data.decoding.pixels", lambda *_: pytest.fail("decoded"))
    for read in (load_photo, check):
        with pytest.raises(UserError, match="14000 x 14000 pixels, more than 190,000,000.*max_pix"):
            read(tmp_path / "bomb.png", 190_000_000)
    assert check(tmp_path / "bomb.png") == 1 and limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.proof
def test_random_damage_never_leaves_another_error(tmp_path, ramp):
    rng = np.random.default_rng(0)
    for suffix in ("png", "jpg", "tif", "gif", "webp"):
        Image.fromarray(ramp).save(tmp_path / f"a.{suffix}")
        whole = np.frombuffer((tmp_path / f"a.{suffix}").read_bytes(), np.uint8)
        refused = 0
        for _ in range(60):
            data = whole.copy()
            data[rng.integers(0, len(data), 4)] = rng.integers(0, 256, 4)
            (tmp_path / "b").write_bytes(data.tobytes())
            try:
                photo = load_photo(tmp_path / "b")
                assert np.isfinite(photo.rgb).all() and photo.rgb.min() >= 0
            except UserError:
                refused += 1
        assert refused > 0


def test_save_writes_what_it_is_given_and_no_half_file(tmp_path, ramp, monkeypatch):
    rgb = np.stack([ramp, ramp.T, 255 - ramp], axis=-1)
    target = tmp_path / "new" / "folder" / "a.png"
    save_photo(target, rgb.astype(np.float32) / 255)
    np.testing.assert_array_equal(np.asarray(Image.open(target)), rgb)
    save_photo(tmp_path / "a.jpeg", rgb.astype(np.float32) / 255, quality=100)
    assert np.abs(np.asarray(Image.open(tmp_path / "a.jpeg")).astype(int) - rgb).max() < 8
    with pytest.raises(UserError, match="png"):
        save_photo(tmp_path / "a.gif", rgb / 255)

    def fail(path, data):
        raise OSError("No space left on device")

    before = target.read_bytes()
    monkeypatch.setattr("colorjax.files.write_bytes", fail)
    with pytest.raises(UserError, match="No space left"):
        save_photo(target, rgb / 255)
    assert target.read_bytes() == before and list(target.parent.iterdir()) == [target]


def test_exif_too_long_for_jpeg_is_left_out(tmp_path, ramp):
    exif = Image.Exif()
    exif[0x010E] = "x" * 70_000
    Image.fromarray(ramp).save(tmp_path / "a.tif", exif=exif)
    photo = load_photo(tmp_path / "a.tif")
    save_photo(tmp_path / "a.jpg", photo.rgb, photo.metadata)
    with Image.open(tmp_path / "a.jpg") as saved:
        assert saved.size == (16, 16)


def _touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_find_photos(tmp_path):
    root, single = tmp_path / "in", tmp_path / "scan.xyz"
    _touch(root / "b.png", root / "s" / "a.JPG", root / "notes.txt", root / "._b.png", single)
    _touch(root / ".hidden" / "c.png", root / "out" / "b.png")
    found = find_photos([single, root, root / "b.png"], exclude=root / "out").pictures
    assert found == [
        (single, Path(".")),
        (root / "b.png", Path(".")),
        (root / "s" / "a.JPG", Path("s")),
    ]
    assert len(find_photos([root]).pictures) == 3
    with pytest.raises(UserError, match="does not exist"):
        find_photos([tmp_path / "nowhere"])
    (tmp_path / "void").mkdir()
    with pytest.raises(UserError, match="holds no pictures"):
        find_photos([tmp_path / "void"])


def test_output_paths_in_a_folder(tmp_path):
    here, sub = Path("."), Path("s")
    names = ["a.tif", "a.PNG", "b.jpg", "b.png", "c.jpeg", "x/d.png", "y/d.png"]
    photos = [(tmp_path / name, here) for name in names] + [(tmp_path / "s" / "a.tif", sub)]
    results = output_paths(photos, tmp_path / "out")
    expected = "a_tif.png a_png.png b.jpg b.png c.jpg d_png.png d_png_2.png s/a.png".split()
    assert [r.relative_to(tmp_path / "out").as_posix() for r in results] == expected


def test_output_paths_of_one_file_and_mistakes(tmp_path):
    one, two = (tmp_path / "a.png", Path(".")), (tmp_path / "b.png", Path("."))
    _touch(tmp_path / "a.png", tmp_path / "plain")
    assert output_paths([one], tmp_path / "out.jpg") == [tmp_path / "out.jpg"]
    for photos, output, says in [
        ([one, two], "out.jpg", "one file for 2 pictures"),
        ([one], "out.gif", "end its name in"),
        ([one], "plain", "is a file"),
        ([one], ".", "would be replaced"),
        ([one], "a.png", "would be replaced"),
    ]:
        with pytest.raises(UserError, match=says):
            output_paths(photos, tmp_path / output)


@pytest.mark.parametrize(("name", "extra"), [("a.HEIC", "heic"), ("a.jxl", "jxl")])
def test_the_extra_that_reads_a_file_is_named(tmp_path, monkeypatch, name, extra) -> None:
    without = {suffix: kind for suffix, kind in FORMATS.items() if suffix not in EXTRAS}
    monkeypatch.setattr("colorjax.colorize.files.photos.FORMATS", without)
    (tmp_path / name).write_bytes(b"not for Pillow alone")
    with pytest.raises(UserError, match=rf"pip install 'colorjax\[{extra}\]'"):
        load_photo(tmp_path / name)


@pytest.mark.parametrize("suffix", [".tif", ".png", ".webp", ".jp2"])
def test_pillows_own_limit_is_no_limit(tmp_path, monkeypatch, suffix) -> None:
    """Which it asks about at opening and, of a TIFF, once more at decoding: 179 million pixels."""
    Image.fromarray(np.full((40, 50), 99, np.uint8)).save(tmp_path / f"a{suffix}")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 900)
    photo = load_photo(tmp_path / f"a{suffix}")
    assert photo.rgb.shape == (40, 50, 3) and Image.MAX_IMAGE_PIXELS == 900
