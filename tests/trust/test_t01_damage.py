"""T1: damaged photographs are read or told in a sentence; nothing else happens to the process."""

import json
import subprocess
import sys
from pathlib import Path

from tests.colorize.test_formats import INPUTS
from tests.trust.conftest import Row

KINDS = (
    *("l.png", "rgb16.png", "interlaced.png", "rgb.jpg", "progressive.jpg", "cmyk.jpg"),
    *("lzw.tif", "rgb16.tif", "jpeg.tif", "rgba.webp", "rgb.avif", "rgb.bmp", "p.gif", "i16.pgm"),
    *("rgb.jp2", "rgb.mpo"),
)


def test_damaged_photographs(tmp_path: Path, row: Row) -> None:
    """In a process of its own: a crash of a decoder would be the end of it."""
    whole = tmp_path / "whole"
    whole.mkdir()
    for name in KINDS:
        INPUTS[name][0](whole / name)
    count = row.count(16 * 16, 12_000)
    words = [sys.executable, "-m", "tests.trust.reading", str(whole), str(count), str(row.seed)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert not told["odd"] and set(told["outcomes"]) == {"read", "told"}, told
    assert sum(told["outcomes"].values()) == count
    assert told["slowest"] < 1.0 and told["memory"] < 300e6, told
    row.tell(
        f"{count:,} of {len(KINDS)} formats: {told['outcomes']['told']:,} told, "
        f"{told['outcomes']['read']:,} read; at most {told['memory'] / 1e6:.0f} MB and "
        f"{told['slowest']:.2f} s"
    )
