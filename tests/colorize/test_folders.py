"""Which files of a folder are photographs, and that nothing is left out silently."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, seed
from hypothesis import strategies as st

from colorjax.colorize.command.paths import check_writable, find_photos, output_paths
from colorjax.colorize.files.kinds import EXTRAS, FORMATS
from colorjax.colorize.files.saving import OUTPUT_SUFFIXES, save_photo
from colorjax.errors import UserError
from tests.searching import searched


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_what_is_left_out_is_counted_by_its_kind(tmp_path, monkeypatch) -> None:
    without = {suffix: kind for suffix, kind in FORMATS.items() if suffix not in EXTRAS}
    monkeypatch.setattr("colorjax.colorize.command.paths.FORMATS", without)
    root = tmp_path / "in"
    names = "a.heic b.HEIC c.jxl d.psd e.tga f.mpo g.jpe h notes.txt i.png .hidden.png"
    touch(*(root / name for name in names.split()), tmp_path / "other" / "x.png")
    os.symlink(tmp_path / "other", root / "linked")
    photographs = find_photos([root])
    assert [path.name for path, _ in photographs.pictures] == ["f.mpo", "g.jpe", "i.png"]
    told = photographs.told
    for part in (
        "2 .heic",
        "colorjax[heic]",
        "1 .jxl",
        "colorjax[jxl]",
        "1 .psd",
        "1 .tga",
        "1 .txt",
        "1 linked folders",
        "1 without a suffix",
    ):
        assert part in told
    assert "hidden" not in told and "\n" not in told
    touch(tmp_path / "phone" / "a.heic")
    with pytest.raises(UserError, match=r"holds no pictures.*1 \.heic.*colorjax\[heic\]"):
        find_photos([tmp_path / "phone"])


def test_a_link_to_itself_is_one_bad_picture(tmp_path) -> None:
    touch(tmp_path / "l" / "a.png")
    os.symlink("b.png", tmp_path / "l" / "b.png")
    os.symlink("loop", tmp_path / "l" / "loop")
    names = [path.name for path, _ in find_photos([tmp_path / "l"]).pictures]
    assert names == ["a.png", "b.png"]
    assert len(find_photos([tmp_path / "l" / "b.png"]).pictures) == 1
    check_writable([tmp_path / "out" / "a.png"], tmp_path / "out")


NAMES = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=12
)
PHOTOS = st.lists(
    st.tuples(
        st.sampled_from(["a", "A", "a.b", "\u0130", "\udcff", "-"]) | NAMES,
        st.sampled_from([".png", ".PNG", ".jpg", ".jpeg", ".tif", "", ".a_2"]),
        st.sampled_from([".", "b", "b/c", "B"]) | NAMES.filter(lambda name: name != ".."),
    ),
    min_size=2,
    max_size=12,
    unique=True,
)


@seed(0)
@searched(60)
@given(PHOTOS, st.sampled_from([None, ".png", ".webp"]))
def test_each_photograph_has_a_place_of_its_own_within_the_output(photos, suffix) -> None:
    """Whatever they are called, also where upper and lower case are one."""
    files = [(Path("in", folder, stem + end), Path(folder)) for stem, end, folder in photos]
    results = output_paths(files, "out", suffix)
    assert len({str(path).lower() for path in results}) == len(files)
    for path, (_, folder) in zip(results, files, strict=True):
        assert path.parent == Path("out") / folder and path.suffix in OUTPUT_SUFFIXES


def test_results_of_an_earlier_run_are_no_photographs(tmp_path) -> None:
    touch(tmp_path / "a.tif")
    gray = np.full((9, 9, 3), 0.5, np.float32)
    save_photo(tmp_path / "a.png", gray, note={"seed": 0})
    save_photo(tmp_path / "b.jpg", gray, note={"seed": 0})
    save_photo(tmp_path / "c.png", gray)
    photographs = find_photos([tmp_path])
    assert [path.name for path, _ in photographs.pictures] == ["a.tif", "c.png"]
    assert photographs.told == "2 earlier results"
    assert len(find_photos([tmp_path / "a.png"]).pictures) == 1, "given by name it is one"


def test_a_folder_that_cannot_be_looked_into_is_told(tmp_path, monkeypatch) -> None:
    touch(tmp_path / "a.png", tmp_path / "closed" / "b.png")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    photographs = find_photos([tmp_path])
    assert len(photographs.pictures) == 1
    (problem,) = photographs.problems
    assert "closed" in str(problem) and "Permission denied" in str(problem)


def test_places_that_cannot_be_written_to_are_told_first(tmp_path) -> None:
    touch(tmp_path / "plain")
    out = tmp_path / "out"
    (out / "a.png").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    os.symlink(tmp_path / "elsewhere", out / "linked")
    for result, words in (
        (tmp_path / "plain" / "deep" / "a.png", "cannot be written to"),
        (Path("/proc/colorjax/a.png"), "cannot be written to"),
        (out / "a.png", "is a folder where a result"),
        (out / "linked" / "a.png", "is a link out of"),
    ):
        with pytest.raises(UserError, match=words):
            check_writable([result], out)
    check_writable([out / "new" / "b.png"], out)
    assert not list((out / "new").iterdir())
