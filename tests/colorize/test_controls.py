"""What a person steers by: golden values are closed forms, or another implementation's."""

import json
import time

import numpy as np
import pytest
from PIL import Image
from skimage.color import rgb2lab

from colorjax.colorize import jobs, painters, processing
from colorjax.colorize.chroma import doubt, hints, looks, recombine
from colorjax.colorize.colorizer import Colorizer
from colorjax.errors import UserError
from colorjax.maths import color

RNG = np.random.default_rng(0)
MEAN = np.array([12.0, -7.0])


class Painted(Colorizer):
    """Colours of a known mean, and of a known deviation by the seed."""

    compilations = 0

    def __init__(self, deviation: float = 0.0) -> None:
        self.buckets, self.batch_size, self._deviation = ((32, 32),), 4, deviation
        self.tokenize = lambda texts: np.zeros((len(texts), 77), np.int32)

    def __call__(self, pictures):
        seeds = np.broadcast_to(np.asarray(pictures.seed), (len(pictures.lightness),))
        lab = np.full((len(seeds), 32, 32, 3), 60.0)
        for row, seed in zip(lab, seeds):
            noise = np.random.default_rng(int(seed)).normal(0, self._deviation, (32, 32, 2))
            row[..., 1:] = MEAN + noise
        return color.from_unit(np.asarray(color.lab_to_srgb(lab.astype(np.float32))))


@pytest.fixture
def photograph(tmp_path):
    levels = np.tile(np.linspace(110, 180, 64).astype(np.uint8), (48, 1))
    Image.fromarray(levels).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def outcome(request: jobs.Request, painter: jobs.Painter, colorizer=None) -> jobs.Outcome:
    colorizer = colorizer or Painted()
    prepared = jobs.ready([request], colorizer.buckets, painter)
    (done,) = processing.process(colorizer, prepared, painter, 5)
    if done.error is not None:
        raise done.error
    return done


def parts(request: jobs.Request, painter: jobs.Painter, colorizer=None) -> dict:
    done = outcome(request, painter, colorizer)
    return {part.name: part for part in processing.rendered(painter, done)}


def test_doubt_is_the_deviation_of_the_model(photograph) -> None:
    """Of a and b each 3: together the root of 18, up to what 64 samples leave (0.2 percent)."""
    painter = painters.Colouring(doubt=64)
    done = outcome(jobs.Request(photograph, ""), painter, Painted(3.0))
    assert done.figures["doubt_mean"] == pytest.approx(18**0.5, rel=0.01)
    assert outcome(jobs.Request(photograph, ""), painter).figures["doubt_mean"] < 1e-3
    spread = painter.spread(done.job, done.computed[1])
    assert np.percentile(spread, 95) == pytest.approx(done.figures["doubt_95"], abs=1e-3)


def test_the_map_of_doubt_has_the_photographs_shape_and_a_scale() -> None:
    flat = np.full((8, 8), doubt.FULL / 2, np.float32)
    drawn = doubt.drawn(flat, 100, 300)
    assert drawn.shape == (128, 300, 3) and (drawn[:100] == drawn[0, 0]).all()
    middle = drawn[106, 16 + 60].astype(int)
    assert np.abs(middle - drawn[0, 0]).max() <= 6, "the middle of the scale is this colour"


def test_variations_are_seeds_of_their_own_and_as_if_alone(photograph) -> None:
    request, model = jobs.Request(photograph, ""), Painted(3.0)
    several = parts(request, painters.Colouring(variations=6), model)
    assert list(several) == ["", ".2", ".3", ".4", ".5", ".6"]
    assert several[".3"].about == {"seed": 7}
    alone = painters.Colouring()
    (done,) = processing.process(model, jobs.ready([request], model.buckets, alone), alone, 7)
    (part,) = processing.rendered(alone, done)
    np.testing.assert_array_equal(part.levels, several[".3"].levels)


def test_a_sheet_of_variations_and_a_pair(photograph) -> None:
    request = jobs.Request(photograph, "")
    grid = parts(request, painters.Colouring(variations=4, sheet="grid"))
    assert list(grid) == [""] and grid[""].levels.shape[1] == 3 * 102 - 6
    pair = parts(request, painters.Colouring(sheet="compare"))[""].levels
    assert pair.shape == (48, 128, 3)
    gray = np.asarray(Image.open(photograph).convert("RGB")).astype(int)
    assert np.abs(pair[:, :64] - gray).max() <= 1
    np.testing.assert_array_equal(pair[:, 64:], parts(request, painters.Colouring())[""].levels)


@pytest.mark.parametrize(
    ("look", "expected"),
    [
        (looks.Look(), MEAN),
        (looks.Look(scale=0.5), MEAN / 2),
        (looks.Look.of("8,-3"), MEAN + [-3, 8]),
        (looks.Look(scale=0.0), [0, 0]),
    ],
)
def test_a_look_changes_all_chroma(photograph, look, expected) -> None:
    shown = parts(jobs.Request(photograph, ""), painters.Colouring(look))[""].levels
    lab = rgb2lab(shown)[..., 1:].reshape(-1, 2)
    np.testing.assert_allclose(lab.mean(0), expected, atol=0.3)


def test_looks_are_checked_and_come_back_from_a_note() -> None:
    for text in ("8", "a,b", "80,0"):
        with pytest.raises(UserError, match="tint"):
            looks.Look.of(text)
    with pytest.raises(UserError, match="vividness is 9"):
        looks.Look(9.0)
    look = looks.Look(1.25, 4.0, -2.0)
    assert looks.Look.of_note(json.loads(json.dumps(look.about))) == look


def test_outside_of_a_mask_every_byte_stays(tmp_path) -> None:
    values = RNG.integers(0, 256, (48, 64, 3), np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    mask = np.zeros((48, 64), np.uint8)
    mask[10:30, 20:40] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    request = jobs.Request(tmp_path / "a.png", "", inside=tmp_path / "mask.png")
    shown = parts(request, painters.Colouring())[""].levels
    np.testing.assert_array_equal(shown[mask == 0], values[mask == 0])
    whole = parts(jobs.Request(tmp_path / "a.png", ""), painters.Colouring())[""].levels
    np.testing.assert_array_equal(shown[mask > 0], whole[mask > 0])
    empty = jobs.Request(tmp_path / "a.png", "", inside=np.zeros((48, 64)))
    with pytest.raises(UserError, match="nothing in it"):
        parts(empty, painters.Colouring())


def dense(lightness: np.ndarray, known: np.ndarray, where: np.ndarray, pull: float) -> np.ndarray:
    """The paper's equations 1 and 2, pixel by pixel, sigma^2 within 4..36, by elimination."""
    height, width = lightness.shape
    matrix, right = np.eye(height * width), np.zeros(height * width)
    for y in range(height):
        for x in range(width):
            here = y * width + x
            if where[y, x]:
                right[here] = known[y, x]
                continue
            rows = np.clip(np.arange(y - 1, y + 2), 0, height - 1)
            columns = np.clip(np.arange(x - 1, x + 2), 0, width - 1)
            variance = np.clip(lightness[np.ix_(rows, columns)].var(), 4.0, 36.0)
            weights = {}
            for j in range(max(0, y - 1), min(height, y + 2)):
                for i in range(max(0, x - 1), min(width, x + 2)):
                    if (j, i) != (y, x):
                        step = (lightness[y, x] - lightness[j, i]) ** 2
                        weights[j * width + i] = np.exp(-step / (2 * variance))
            for there, weight in weights.items():
                matrix[here, there] -= weight / sum(weights.values())
            matrix[here, here] += pull
    return np.linalg.solve(matrix, right).reshape(height, width)


@pytest.mark.parametrize("pull", [0.0, 0.01])
def test_strokes_spread_as_the_paper_says(pull) -> None:
    lightness = RNG.uniform(30, 70, (7, 9))
    where = np.zeros((7, 9), bool)
    where[1, 2] = where[5, 7] = True
    known = RNG.uniform(-50, 50, (7, 9))
    spread = hints.solved(lightness, known[..., None], where, pull)[..., 0]
    np.testing.assert_allclose(spread, dense(lightness, known, where, pull), atol=1e-3)


def test_between_two_strokes_chroma_is_a_straight_line() -> None:
    where = np.zeros((1, 11), bool)
    where[0, [0, 10]] = True
    known = np.linspace(-20, 20, 11)[None, :, None]
    spread = hints.solved(np.full((1, 11), 50.0), known, where, 0.0)
    np.testing.assert_allclose(spread, known, atol=1e-4)


def test_a_stroke_ends_at_an_edge_and_what_it_says_is_kept() -> None:
    lightness = np.full((96, 96), 25.0, np.float32)
    lightness[:, 48:] = 80.0
    small = recombine.to_model_size(lightness, 32, 32)
    model = recombine.Chroma(np.full((32, 32, 2), -20.0, np.float32), small)
    point = [{"x": 20, "y": 48, "color": "#a03020", "radius": 3}]
    shown = hints.blended(model, hints.read(point, 96, 96), lightness)
    red = rgb2lab(np.array([[[0xA0, 0x30, 0x20]]], np.uint8))[0, 0, 1:]
    np.testing.assert_allclose(shown.ab[48, 20], red, atol=0.5)
    assert np.abs(shown.ab[:, :40] - red).mean() < 6.0, "the dark half is the stroke's"
    np.testing.assert_allclose(shown.ab[:, 56:], -20.0, atol=1.0)


def test_strokes_and_points_are_read_alike(tmp_path, photograph) -> None:
    layer = Image.new("RGBA", (64, 48))
    layer.paste((200, 40, 30, 255), (10, 10, 14, 14))
    layer.save(tmp_path / "strokes.png")
    points = [{"x": 11.5, "y": 11.5, "color": "rgb(200, 40, 30)", "radius": 2}]
    (tmp_path / "points.json").write_text(json.dumps(points))
    painter = painters.Colouring()
    plain = parts(jobs.Request(photograph, ""), painter)[""].levels
    for name in ("strokes.png", "points.json"):
        request = jobs.Request(photograph, "", hints=tmp_path / name)
        shown = parts(request, painter)[""].levels
        assert shown[12, 12, 0] > plain[12, 12, 0] + 15, "redder there"


def test_points_that_cover_each_other() -> None:
    """The later one is seen; thousands of them are no work for minutes."""
    many = [{"x": 1, "y": 1, "color": "blue", "radius": 8}] * 4000
    last = {"x": 2000, "y": 2000, "color": "rgb(200, 40, 30)", "radius": 1500}
    begun = time.process_time()
    read = hints.read([*many, last, {"x": 1, "y": 1, "color": "blue", "radius": 8}], 8000, 8000)
    assert time.process_time() - begun < 10.0
    red, blue = rgb2lab(np.array([[[200, 40, 30]], [[0, 0, 255]]], np.uint8))[:, 0, 1:]
    np.testing.assert_allclose(read.ab[500, 500], red, atol=0.1)
    np.testing.assert_allclose(read.ab[0, 0], blue, atol=0.1)
    assert not read.where[-1, -1] and not read.ab[-1, -1].any()


def test_hints_of_a_large_photograph_are_kept_small(monkeypatch) -> None:
    monkeypatch.setattr(hints, "_MOST_PIXELS", 400)
    point = [{"x": 150, "y": 80, "color": "red", "radius": 12}]
    read = hints.read(point, 160, 160)
    assert read.where.shape == (20, 20) and read.where[10, 19]
    layer = Image.new("RGBA", (160, 160))
    layer.paste((200, 40, 30, 255), (140, 70, 160, 90))
    strokes = hints.read(layer, 160, 160)
    assert strokes.where.shape == (20, 20) and strokes.where[10, 19] and not strokes.where[0, 0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[]", "must be a list of points"),
        ('[{"x": 1, "y": 2}]', "point 1 .* cannot be used"),
        ('[{"x": 1, "y": 2, "color": "reddish"}]', "cannot be used"),
        ('[{"x": 99, "y": 2, "color": "red"}]', "outside of the photograph's 64 x 48"),
        (f'[{{"x": 1{0:0400d}, "y": 2, "color": "red"}}]', "cannot be used"),
        ('[{"x": 1e999, "y": 2, "color": "red"}]', "outside of the photograph"),
        ('[{"x": 1, "y": 2, "color": "rgb(256, 0, 0)"}]', "levels go from 0 to 255"),
        ("{", "cannot be read"),
    ],
)
def test_hints_that_cannot_be_used_are_told(tmp_path, content, words) -> None:
    (tmp_path / "points.json").write_text(content)
    with pytest.raises(UserError, match=words):
        hints.read(tmp_path / "points.json", 48, 64)


def test_hints_out_of_proportion_are_told(tmp_path) -> None:
    (tmp_path / "points.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="points.json' cannot be read"):
        hints.read(tmp_path / "points.json", 48, 64)
    with pytest.raises(UserError, match="has 5001 points; give at most 5000"):
        hints.read([{"x": 1, "y": 2, "color": "red"}] * 5001, 48, 64)
    Image.new("1", (8001, 8000)).save(tmp_path / "strokes.png")
    with pytest.raises(UserError, match="more pixels than a photograph may"):
        hints.read(tmp_path / "strokes.png", 48, 64)


def test_strokes_that_cannot_be_used_are_told(tmp_path) -> None:
    for layer, words in (
        (Image.new("RGB", (64, 48)), "no transparency"),
        (Image.new("RGBA", (64, 64)), "same shape"),
        (Image.new("RGBA", (64, 48)), "no strokes"),
    ):
        with pytest.raises(UserError, match=words):
            hints.read(layer, 48, 64)
    with pytest.raises(UserError, match="do not exist"):
        hints.read(tmp_path / "none.png", 48, 64)


def test_a_faded_scan_is_stretched_only_when_asked(tmp_path) -> None:
    levels = np.tile(np.linspace(90, 160, 64).astype(np.uint8), (48, 1))
    Image.fromarray(levels).save(tmp_path / "a.png")
    gray = painters.Colouring(looks.Look(scale=0.0))
    kept = parts(jobs.Request(tmp_path / "a.png", ""), gray)[""].levels
    assert (kept.min(), kept.max()) == (90, 160)
    shown = parts(jobs.Request(tmp_path / "a.png", "", restore=True), gray)[""].levels
    assert shown.min() <= 3 and shown.max() >= 253
    assert (np.diff(shown[0, :, 0].astype(int)) >= 0).all(), "order is kept"
