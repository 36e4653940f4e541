"""Photographs of Debian's packages, on a folder that looks like theirs unpacked."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from colorjax.errors import UserError
from colorjax.prepare.sources import debian
from colorjax.prepare.sources.entries import Entry, PixelContent

RED, BLUE = (200, 30, 30), (30, 60, 200)


@pytest.fixture
def unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Blue scenes and eleven red discs of stamps, one of them twice and one of them drawn."""
    monkeypatch.setattr(debian, "_PER_SCENE", 5)
    for name in debian._SCENES:
        package, _, file = name.partition("/")
        path = tmp_path / debian._WALLPAPERS[package] / file
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (96, 64), BLUE).save(path)
    stamps = tmp_path / debian._STAMPS / "food" / "fruit"
    stamps.mkdir(parents=True)
    disc = np.hypot(*(np.mgrid[:64, :64] - 31.5)) < 30
    pixels = np.concatenate([np.full((64, 64, 3), RED), disc[..., None] * 255], -1)
    names = [f"apple{i:02d}" for i in range(11)] + ["apple00_mirror", "mug"]
    for name in names:
        Image.fromarray(pixels.astype(np.uint8)).save(stamps / f"{name}.png")
        (stamps / f"{name}.txt").write_text("A bunch of ripe apples. Eat one!\n")
    return tmp_path


def entries(path: Path, split: str) -> list[Entry]:
    items = list(debian.read(path, split, None))
    assert all(isinstance(item, Entry) for item in items)
    return [item for item in items if isinstance(item, Entry)]


@pytest.mark.proof
def test_a_tenth_of_the_files_is_the_test_split(unpacked: Path) -> None:
    test, train = entries(unpacked, "test"), entries(unpacked, "train")
    # 21 scenes in order: places 5 and 15 are for tests; of 11 stamps the sixth.
    assert len(test) == 2 * 5 + 64 and len(train) == 19 * 5 + 10 * 64
    files = [{entry.key.rsplit("-", 1)[0] for entry in split} for split in (test, train)]
    assert not files[0] & files[1]
    assert "food-fruit-apple05" in files[0]


def test_stamps_are_seen_on_grounds_and_named_twice(unpacked: Path) -> None:
    stamps = [entry for entry in entries(unpacked, "test") if "apple" in entry.key]
    assert {entry.label for entry in stamps} == {"apples", "fruit"}
    on_scenes = 0
    for entry in stamps:
        assert isinstance(entry.content, PixelContent)
        pixels = entry.content.pixels.astype(int)
        assert pixels.shape == (32, 32, 3)
        middle, corner = pixels[14:18, 14:18].mean((0, 1)), pixels[0, 0]
        assert middle[0] > 2 * middle[2], "the red disc is in the middle"
        on_scenes += bool(np.ptp(corner / BLUE) < 0.1)
    assert 16 < on_scenes < 48, "about half of them on the blue scenes"


def test_the_same_pictures_every_time(unpacked: Path) -> None:
    first, again = (list(islice(debian.read(unpacked, "train", None), 3)) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        assert isinstance(one, Entry) and isinstance(other, Entry)
        assert one.content.read() == other.content.read()


def test_what_is_missing_or_damaged_is_told(unpacked: Path) -> None:
    lake = unpacked / debian._WALLPAPERS["plasma"] / "BytheWater/contents/images/2560x1600.jpg"
    lake.write_bytes(lake.read_bytes()[:200])
    with pytest.raises(UserError, match="cannot be read .*; unpack its package again"):
        entries(unpacked, "train")
    lake.unlink()
    with pytest.raises(UserError, match="unpack Debian's package plasma-workspace-wallpapers"):
        entries(unpacked, "train")
