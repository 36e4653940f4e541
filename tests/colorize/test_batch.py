"""One picture's failure is that picture's; a colorizer without a model stands for the real one."""

import errno
import io
import json
import sys

import cv2
import jax
import numpy as np
import pytest
from PIL import Image

from colorjax.colorize import batching, failures, jobs, painters, processing
from colorjax.colorize.buckets import buckets
from colorjax.colorize.colorizer import Colorizer
from colorjax.colorize.command.report import JSON, Report, say
from colorjax.errors import UserError, printable


class Gray(Colorizer):
    """Makes gray of everything, or what a test says."""

    def __init__(self, compute=None) -> None:
        self.buckets, self.batch_size, self._compute = ((32, 32),), 2, compute
        self.tokenize = lambda texts: np.zeros((len(texts), 77), np.int32)

    compilations = 0

    def __call__(self, pictures):
        images = np.zeros((*pictures.lightness.shape, 3), np.float32)
        return images if self._compute is None else self._compute(images, pictures.lightness)


@pytest.fixture
def photographs(tmp_path) -> list:
    paths = [tmp_path / f"{i}.png" for i in range(5)]
    for path in paths:
        Image.new("L", (20, 20), 99).save(path)
    return paths


def outcomes(paths, colorizer) -> list:
    requests = [jobs.Request(path, "a red car") for path in paths]
    painter = painters.Colouring()
    prepared = jobs.ready(requests, colorizer.buckets, painter)
    return list(processing.process(colorizer, prepared, painter, 0))


@pytest.mark.parametrize(
    "error", [MemoryError(), OSError(errno.ENOMEM, "Cannot allocate memory"), RuntimeError("odd")]
)
def test_whatever_goes_wrong_in_reading_is_one_picture(photographs, monkeypatch, error) -> None:
    read = jobs.photos.read

    def fail(source, *more, **options):
        if source == photographs[1]:
            raise error
        return read(source, *more, **options)

    monkeypatch.setattr(jobs.photos, "read", fail)
    done = outcomes(photographs, Gray())
    failed = [outcome for outcome in done if outcome.error]
    assert len(done) == 5 and len(failed) == 1 and "1.png" in str(failed[0].error)
    memory = not isinstance(error, RuntimeError)
    assert ("too little memory" in str(failed[0].error)) == memory
    assert "--batch_size" in str(failed[0].error) or not memory


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory"), "lower --batch_size"),
        (ZeroDivisionError("a fault of ours"), "cannot be coloured (a fault of ours)"),
    ],
)
def test_a_batch_that_fails_is_tried_picture_by_picture(photographs, error, told) -> None:
    Image.new("L", (20, 20), 200).save(photographs[1])
    sizes = []

    def compute(images, lightness):
        sizes.append(len(images))
        if (lightness > 70).any():
            raise error
        return images

    done = outcomes(photographs, Gray(compute))
    assert sizes == [2, 1, 1, 2, 1]
    assert [bool(outcome.error) for outcome in done] == [False, True, False, False, False]
    assert "1.png" in str(done[1].error) and told in str(done[1].error)


def test_of_each_bucket_two_programs_whatever_the_sizes_and_tails() -> None:
    """By the shapes that programs are compiled for; that they are compiled once each is jax's."""
    shapes = set()

    class Recorded(Gray):
        def __call__(self, pictures):
            count, *size = pictures.lightness.shape
            shapes.add((batching.size(count, 1, self.batch_size), *size))
            return super().__call__(pictures)

    colorizer, rng = Recorded(), np.random.default_rng(0)
    colorizer.buckets, colorizer.batch_size = buckets(32, 8), 4
    sizes = rng.integers(8, 60, (50, 2))
    for tail in (1, 2, 3):
        sources = [np.full((h, w), 99, np.uint8) for h, w in [*sizes, *[(40, 40)] * tail]]
        assert len(outcomes(sources, colorizer)) == 50 + tail
    assert len(shapes) <= 2 * len(colorizer.buckets)
    assert {shape[1:] for shape in shapes} == set(colorizer.buckets)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_not_saved(photographs, value) -> None:
    def compute(images, _):
        images[0, 3, 3, 0] = value
        return images

    done = outcomes(photographs[:2], Gray(compute))
    assert "not finite" in str(done[0].error) and done[0].computed is None
    assert done[1].error is None and done[1].computed is not None


def test_memory_is_told_whoever_says_so() -> None:
    assert failures.is_of_memory(cv2.error("Insufficient memory"))
    assert not failures.is_of_memory(cv2.error("odd"))
    assert not failures.is_of_memory(OSError(errno.ENOSPC, "No space left on device"))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\x1b[31m.png", r"a\x1b[31m.png"),
        ("a\n9999 coloured", r"a\n9999 coloured"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\udcff.png", r"\udcff.png"),
        ("Großvater 写真.png", "Großvater 写真.png"),
    ],
)
def test_names_cannot_steer_the_terminal(name, shown, capsys) -> None:
    assert printable(name) == shown
    Report().fail(UserError(f"'{name}' is odd"))
    assert capsys.readouterr().err == f"colorjax: skipped: '{shown}' is odd\n"


def test_a_stream_that_takes_no_more_is_given_up(monkeypatch) -> None:
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        for _ in range(3):
            say("a.png  0.1 s")


def test_on_a_terminal_a_bar_shows_what_is_done(monkeypatch, tmp_path) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal, lines = Terminal(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(sys, "stdout", lines)
    report = Report()
    report.start(3)
    report.succeed(tmp_path / "a.png", 0.1, 0.0)
    report.fail(UserError("'b.png' is odd"), "b.png")
    report.keep(tmp_path / "c.png", "c.jpg")
    report._bar.refresh()  # which else comes ten times a second
    report.sum_up()
    said = terminal.getvalue()
    assert "3/3" in said and "skipped=1" in said and "'b.png' is odd" in said
    assert "1 coloured, 1 kept as finished, 1 skipped" in said and not lines.getvalue()


def test_for_programs_there_is_a_line_of_json_each(capsys, tmp_path) -> None:
    report = Report(mode=JSON)
    report.succeed(tmp_path / "a.png", 0.125, 0.0, {"file": "a.jpg", "doubt_mean": 3.5})
    report.fail(UserError("'b' is odd"), "b.jpg")
    report.keep(tmp_path / "c.png", "c.jpg")
    report.film(2, {"flicker": 1.0, "flicker_one_by_one": 3.0})
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["status"] for row in rows] == ["done", "skipped", "kept", "film"]
    assert [row.get("file") for row in rows] == ["a.jpg", "b.jpg", "c.jpg", None]
    assert rows[0]["doubt_mean"] == 3.5 and rows[1]["error"] == "'b' is odd"
    report.write_skipped(tmp_path, "skipped.jsonl")
    assert json.loads((tmp_path / "skipped.jsonl").read_text())["file"] == "b.jpg"
    Report().write_skipped(tmp_path, "skipped.jsonl")
    assert not list(tmp_path.iterdir()), "of an earlier run"
