"""T12: a picture's bytes depend on picture, prompt and seed: not on order, company or a restart."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from colorjax.colorize import options
from colorjax.colorize.colorizer import Colorizer
from colorjax.colorize.command import run as command
from colorjax.colorize.running import PictureColorizer
from colorjax.colorize.words import prompts
from tests.colorize.test_controls import Painted
from tests.trust.conftest import Row


@pytest.fixture
def colorizer(row: Row, request: pytest.FixtureRequest) -> PictureColorizer:
    """The small model; quickly, one that only draws noise by its seeds."""
    if not row.is_full:
        return Painted(3.0)
    return Colorizer(request.getfixturevalue("small_release"), "lcad", batch_size=4)


def coloured(photographs: list[Path], output: Path) -> dict[str, bytes]:
    """What the command leaves there, by name."""
    words = [*map(str, photographs), "--prompt", "a red car", "--seed", "7", "--quiet"]
    assert command.main([*words, "--output", str(output)]) == 0
    return {path.name: path.read_bytes() for path in sorted(output.glob("*.png"))}


def test_orders(
    colorizer: PictureColorizer, tmp_path: Path, row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As given, in three other orders, and in two halves; the last batch of each is not full."""
    monkeypatch.setattr(options, "make_colorizer", lambda *_: colorizer)
    if not row.is_full:
        monkeypatch.setattr(prompts, "remarks", lambda *_: [])
    rng, count = row.rng(), row.count(6, 102)
    photographs = []
    for i in range(count):
        sides = (24, 24) if not row.is_full else rng.integers(20, 60, 2)
        path = tmp_path / "in" / f"{i:03d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(20, 235, sides).astype(np.uint8)).save(path)
        photographs.append(path)
    whole = coloured(photographs, tmp_path / "whole")
    assert len(whole) == count and len(set(whole.values())) == count
    orders = row.count(1, 3)
    for number in range(orders):
        other = [photographs[i] for i in row.rng(number).permutation(count)]
        assert coloured(other, tmp_path / f"order-{number}") == whole
    half = tmp_path / "resumed"
    coloured(photographs[: count // 2 + 1], half)
    before = {path.name: path.stat().st_mtime_ns for path in half.glob("*.png")}
    assert coloured(photographs, half) == whole
    kept = [name for name, at in before.items() if (half / name).stat().st_mtime_ns == at]
    assert len(kept) == len(before), "what was finished is not made again"
    row.tell(f"{count} pictures in {orders} other orders and in two halves: byte-identical")
