"""docs/photographs.md walked from its first command to its last, as by a reader in one folder."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

import colorjax
from colorjax.colorize.command import run

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "photographs.md").read_text()
SIZE = (96, 72)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with everything that the page's commands name, and nothing else."""
    monkeypatch.chdir(tmp_path)
    for folder, names in {
        ".": ["photo.jpg"],
        "old_photographs": [f"{i}.png" for i in range(4)],
        "frames": [f"{i}.png" for i in range(3)],
    }.items():
        Path(folder).mkdir(exist_ok=True)
        for seed, name in enumerate(names):
            coarse = np.random.default_rng(seed).integers(20, 235, (5, 6), np.uint8)
            picture = Image.fromarray(coarse).resize(SIZE, Image.Resampling.BICUBIC)
            picture.save(Path(folder, name))
    Path("old_photographs/0.txt").write_text("a red car")
    Path("prompts.csv").write_text("file,prompt\n0.png,a red car\n")
    Path("names.txt").write_text("old_photographs/0.png\nold_photographs/1.png\n")
    strokes = Image.new("RGBA", SIZE)
    ImageDraw.Draw(strokes).line((5, 5, 90, 9), "red", 4)
    strokes.save("strokes.png")
    Path("points.json").write_text(json.dumps([{"x": 40, "y": 25, "color": "#7a2b1f"}]))
    Image.new("L", SIZE, 255).save("mask.png")
    return tmp_path


@pytest.mark.proof
def test_the_page_runs_as_it_is_written(place, small_release, monkeypatch, capsys) -> None:
    commands = re.findall(r"^ {4}python -m colorjax\.colorize (.*)$", PAGE, re.MULTILINE)
    for command in commands:
        assert run.main([*shlex.split(command), "--model", str(small_release)]) == 0, command
    said = capsys.readouterr().out
    made = {path.relative_to(place).as_posix() for path in place.rglob("*.[jp][pn]g")}
    single = {"red.jpg", "six.jpg", "pair.jpg", "again.jpg"}
    assert made >= single | {"outputs/photo.jpg", "outputs/photo.doubt.jpg", "coloured/3.png"}
    assert "prompt: a red car" in said and "coloured/1.png  kept" in said
    assert Path("again.jpg").read_bytes() == Path("red.jpg").read_bytes()
    assert size("pair.jpg")[0] > 1.9 * SIZE[0]

    (sample,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    load = colorjax.load
    monkeypatch.setattr(colorjax, "load", lambda _: load(small_release))
    exec(compile(sample, "photographs.md", "exec"), {})
    assert size("warmer.jpg") == SIZE


def size(name: str) -> tuple[int, int]:
    with Image.open(name) as picture:
        return picture.size
