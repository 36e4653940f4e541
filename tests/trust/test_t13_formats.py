"""T13: whatever kind of file, the result has its size, its lightness and what it says of itself."""

from pathlib import Path

from tests.colorize import test_formats as formats
from tests.trust.conftest import Row


def test_kinds_in_and_out(tmp_path: Path, row: Row) -> None:
    chosen = row.rng().permutation(len(formats.CASES))[: row.count(6, len(formats.CASES))]
    for i in chosen:
        folder = tmp_path / str(i)
        folder.mkdir()
        formats.test_what_goes_in_comes_out(folder, *formats.CASES[i])
    kinds = {formats.CASES[i][0] for i in chosen}
    row.tell(f"{len(chosen)} of {len(kinds)} kinds in and 5 kinds out")


def test_orientations_shapes_and_levels(tmp_path: Path, row: Row) -> None:
    turned = range(1, row.count(2, 9) + 0)
    count = 0
    for suffix in (".jpg", ".tif", ".webp"):
        for n in turned:
            folder = tmp_path / f"{n}{suffix}"
            folder.mkdir()
            formats.test_orientation_is_applied_and_reset(folder, n, suffix)
            count += 1
    shapes = [(1, 1), (2, 3), (1, 20_000), (3_000, 1)][: row.count(2, 4)]
    for height, width in shapes:
        folder = tmp_path / f"{height}x{width}"
        folder.mkdir()
        formats.test_photographs_of_every_shape(folder, height, width)
    row.tell(f"{count} orientations, {len(shapes)} shapes from 1 x 1 to 1 x 20,000")
