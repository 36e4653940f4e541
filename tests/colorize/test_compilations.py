"""How often XLA compiles, by its own count: once for each bucket, whatever photographs come.

The networks are left out, so that what is counted costs nothing: the loading, the buckets, the
filling of batches and the command are those of every run.
"""

from collections import Counter
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from colorjax import release
from colorjax.colorize import colorizer as module
from colorjax.colorize.__main__ import main
from colorjax.colorize.buckets import ASPECTS, bucket_for
from colorjax.colorize.colorizer import Colorizer
from colorjax.colorize.files import saving
from colorjax.inputs import Pictures

EVENT = "/jax/core/compile/backend_compile_duration"


def without_networks(_networks, _params, pictures):
    """As many colours as photographs, by their seeds."""
    share = pictures.seed.astype(np.float32)[:, None, None, None] / 100
    return np.array([0.5, 0.0, -0.3], np.float32) * share + pictures.lightness / 100 - 0.5


@pytest.fixture(scope="module")
def model() -> Colorizer:
    programs = {**module.PROGRAMS, "colorize": without_networks}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PROGRAMS", programs)
        return Colorizer(release.BUNDLED)


def counted(work) -> int:
    """The programs of `without_networks` that XLA compiles meanwhile."""
    names: list[str] = []

    def listen(event: str, _seconds: float, **about: object) -> None:
        if event == EVENT and "without_networks" in str(about.get("fun_name")):
            names.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        work()
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    return len(names)


@pytest.fixture
def photographs(tmp_path: Path, model: Colorizer) -> Path:
    """Fifty sizes, of which batches of eight leave one, two or three in every bucket."""
    rng = np.random.default_rng(0)
    left = Counter[int]()
    for number, (aspect, count) in enumerate(zip(ASPECTS, (9, 10, 11, 9, 11), strict=True)):
        for i in range(count):
            height = 20 + 7 * number + i
            size = (height, round(height * aspect * (1 + 0.01 * (i % 5 - 2))))
            assert bucket_for(*size, model.buckets) == model.buckets[number]
            levels = rng.integers(60, 190, size, np.uint8)
            path = tmp_path / "in" / f"{number}-{i}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(levels).save(path)
        left[count % model.batch_size] += 1
    assert set(left) == {1, 2, 3} and len(list((tmp_path / "in").iterdir())) == 50
    return tmp_path / "in"


def test_fifty_sizes_compile_once_for_each_bucket(
    photographs: Path, tmp_path: Path, model: Colorizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("colorjax.colorize.options.make_colorizer", lambda *_: model)
    output = tmp_path / "out"
    arguments = [str(photographs), "--output", str(output), "--quiet"]
    assert counted(lambda: main(arguments)) == len(model.buckets) == len(ASPECTS)
    assert len(list(output.iterdir())) == 50
    # What is left of a stopped run, were it a single photograph, is coloured by the same programs.
    whole = (output / "2-10.png").read_bytes()
    (output / "2-10.png").unlink()
    assert counted(lambda: main(arguments)) == 0
    assert (output / "2-10.png").read_bytes() == whole
    # One photograph alone has a program of its own; made again like a batch's it has the batch's.
    alone = [str(photographs / "2-10.png"), "--quiet", "--output"]
    assert counted(lambda: main([*alone, str(tmp_path / "alone.png")])) == 1
    like = ["--like", str(output / "2-10.png")]
    assert counted(lambda: main([*alone, str(tmp_path / "again.png"), *like])) == 0
    assert (tmp_path / "again.png").read_bytes() == whole
    said = [saving.note_of(path) or {} for path in sorted(tmp_path.glob("*.png"))]
    assert [note["batch"] for note in said] == [8, 1]


def test_a_batch_is_full_or_a_single_picture(model: Colorizer) -> None:
    height, width = model.buckets[2]
    for count, least, filled in ((1, 1, 1), (2, 1, 8), (8, 1, 8), (1, 8, 8), (3, 8, 8)):
        some = model if least == 1 else model.in_batches()
        ids = model.tokenize(["a car"] * count)
        light = np.full((count, height, width), 50, np.float32)
        assert len(some._filled(Pictures(light, ids, 0)).lightness) == filled
        assert len(some(Pictures(light, ids, 0))) == count
