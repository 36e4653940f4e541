"""`colorize` and `evaluate` by Diffusing Colors, on a small random model with a ranker."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from colorjax.colorize import __main__ as colorize
from colorjax.colorize.buckets import bucket_for
from colorjax.colorize.chroma import recombine, sheets
from colorjax.colorize.colorizer import Colorizer
from colorjax.errors import UserError
from colorjax.evaluate import __main__ as evaluate
from colorjax.maths import color
from colorjax.methods.method import Pictures
from colorjax.methods.vividness import CANDIDATES
from tests import small
from tests.colorize.test_colorize import as_gray


@pytest.fixture(scope="module")
def cold_release(tmp_path_factory) -> Path:
    return small.write_cold_release(tmp_path_factory.mktemp("cold") / "release", sigma=0.1)


@pytest.fixture(scope="module")
def colorizer(cold_release, loaded) -> Colorizer:
    """The one that the module's commands use."""
    return loaded.setdefault(
        (cold_release, "diffusing_colors"), Colorizer(cold_release, "diffusing_colors")
    )


@pytest.fixture
def photo(tmp_path) -> Path:
    """A smooth gray photograph."""
    coarse = np.random.default_rng(0).uniform(20, 235, (5, 5)).astype(np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(coarse).resize((60, 44), Image.Resampling.BICUBIC).save(path)
    return path


def run(*arguments: object, model: Path) -> int:
    more = ["--method", "diffusing_colors", "--model", str(model)]
    return colorize.main([str(a) for a in arguments] + more)


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.mark.proof
def test_lightness_is_kept_and_vividness_acts(photo, tmp_path, cold_release) -> None:
    """With random weights colour need not grow; `test_bundled` sees that it does."""
    chroma = []
    for vividness in (0, 0.5, 1):
        out = tmp_path / f"{vividness}.png"
        assert run(photo, "--output", out, "--vividness", vividness, model=cold_release) == 0
        assert np.abs(as_gray(read(out)) - read(photo)[..., 0]).max() <= 1.0
        lab = color.srgb_to_lab(read(out) / np.float32(255))
        chroma.append(np.linalg.norm(lab[..., 1:], axis=-1).mean())
    assert len({round(float(c), 3) for c in chroma}) == 3


@pytest.mark.proof
def test_automatic_takes_the_rankers_choice_and_the_grid_shows_all(
    photo, tmp_path, cold_release, colorizer
) -> None:
    out, sheet = tmp_path / "auto.png", tmp_path / "grid.png"
    assert run(photo, "--output", out, "--vividness", "auto", model=cold_release) == 0
    assert run(photo, "--output", sheet, "--vividness_grid", model=cold_release) == 0
    colorizer = colorizer.changed(vividness="auto")
    lightness = color.lightness(read(photo) / np.float32(255))[..., 0]
    size = bucket_for(*lightness.shape, colorizer.buckets)
    given = recombine.to_model_size(lightness, *size)
    ids = colorizer.tokenize(["a colorful image"])
    found = colorizer.candidates(Pictures(given[None], ids, 0))
    assert found.images.shape == (1, len(CANDIDATES), *size, 3)
    assert found.scores[0].max() - found.scores[0][found.chosen[0]] <= 0.02 + 1e-6
    chosen = found.raw[0, found.chosen[0]]
    expected = np.round(recombine.full_picture(chosen, lightness, given) * 255)
    assert np.abs(read(out) - expected).max() <= 1
    # What the colorizer returns is the decode; the ranker saw it with the lightness kept.
    np.testing.assert_array_equal(colorizer(Pictures(given[None], ids, 0))[0], chosen)
    kept = color.lightness((found.images[0] + 1) / 2)[..., 0]
    assert (
        np.abs(kept - given).max()
        < 0.5
        < np.abs(color.lightness(np.clip((chosen + 1) / 2, 0, 1))[..., 0] - given).max()
    )
    tile = 60 + 36 + sheets.GAP  # no narrower than its label
    assert read(sheet).shape == (3 * (44 + 22) - 6, 3 * tile - 6, 3)


@pytest.mark.proof
def test_prompts_seed_and_neighbours(colorizer) -> None:
    rng = np.random.default_rng(1)
    light = rng.uniform(10, 90, (3, 32, 32)).astype(np.float32)
    ids = colorizer.tokenize(["a red car", "a dog", "a blue ship"])
    whole = colorizer(Pictures(light, ids, 0))
    alone = colorizer(Pictures(light[1:2], ids[1:2], 0))
    np.testing.assert_allclose(alone[0], whole[1], atol=1e-5)
    for other in (
        colorizer(Pictures(light, ids, 1)),
        colorizer(Pictures(light, ids[::-1], 0)),
    ):
        assert np.abs(other[0] - whole[0]).max() > 1e-4


@pytest.mark.proof
def test_a_negative_prompt_and_guidance_matter(cold_release, colorizer) -> None:
    light = np.linspace(10, 90, 1024, dtype=np.float32).reshape(1, 32, 32)
    batch = Pictures(light, colorizer.tokenize(["a red car"]), 0)
    usual = colorizer(batch)
    settings = {"negative_prompt": "a blue ship", "guidance_scale": 4.0}
    other = Colorizer(cold_release, "diffusing_colors", **settings)(batch)
    np.testing.assert_array_equal(colorizer.changed(**settings)(batch), other)
    for name, value in settings.items():
        changed = colorizer.changed(**{name: value})(batch)
        assert min(np.abs(changed - usual).max(), np.abs(changed - other).max()) > 1e-4
    unguided = [
        colorizer.changed(negative_prompt=words, guidance_scale=1.0)(batch)
        for words in ("", "a blue ship")
    ]
    np.testing.assert_allclose(unguided[0], unguided[1], atol=1e-5)


@pytest.mark.proof
def test_the_guided_decoder_is_another(cold_release, colorizer) -> None:
    light = np.linspace(10, 90, 1024, dtype=np.float32).reshape(1, 32, 32)
    batch = Pictures(light, colorizer.tokenize([""]), 0)
    guided = Colorizer(cold_release, "diffusing_colors", decoder="guided")(batch)
    assert np.abs(guided - colorizer(batch)).max() > 1e-3


@pytest.mark.proof
def test_enhancing_changes_colours_only(tmp_path, cold_release) -> None:
    """A faded colour photograph: lightness stays, colours change."""
    rng = np.random.default_rng(2)
    lab = np.full((40, 56, 3), 60.0, np.float32)
    lab[..., 1:] = rng.choice([-6.0, 6.0], (40, 56, 1))
    faded = np.round(np.clip(color.lab_to_srgb(lab), 0, 1) * 255).astype(np.uint8)
    path, out = tmp_path / "faded.png", tmp_path / "out.png"
    Image.fromarray(faded).save(path)
    assert run(path, "--output", out, "--enhance", 0.6, model=cold_release) == 0
    before = color.srgb_to_lab(faded / np.float32(255))
    after = color.srgb_to_lab(read(out) / np.float32(255))
    assert np.abs(after[..., 0] - before[..., 0]).max() < 1.0
    assert np.abs(after[..., 1:] - before[..., 1:]).mean() > 0.1
    assert run(path, "--output", tmp_path / "auto.png", "--enhance", model=cold_release) == 0


def test_a_change_of_chroma_is_added_to_the_photographs_own() -> None:
    """Fine colour detail of the photograph is kept, whatever the small pictures show."""
    rng = np.random.default_rng(3)
    lab = np.full((40, 56, 3), 60.0, np.float32)
    lab[..., 1:] = rng.uniform(-8, 8, (40, 56, 2))
    photo = color.lab_to_srgb(lab)
    small = np.full((8, 8), 60.0, np.float32)

    none = recombine.Chroma(np.zeros((8, 8, 2), np.float32), small)
    np.testing.assert_allclose(recombine.with_chroma(photo, 1.0, none), photo, atol=1e-4)
    shift = recombine.Chroma(np.broadcast_to(np.float32([7, -10]), (8, 8, 2)), small)
    expected = lab * np.float32([1, 1.5, 1.5]) + np.float32([0, 7, -10])
    shown = recombine.with_chroma(photo, 1.5, shift)
    np.testing.assert_allclose(shown, color.lab_to_srgb(expected), atol=2e-3)


def test_starting_times_fall_with_colourfulness(colorizer) -> None:
    """By the colourfulness alone, as without a ranker, in closed form of the same pictures."""
    flag = np.zeros((1, 8, 8, 3), np.float32)
    flag[:, :4, :, 0], flag[:, 4:, :, 2] = 1.0, 1.0
    scales = np.array([0.0, 0.02, 0.05, 1.0], np.float32)
    faded = np.concatenate([flag * s - 0.5 * s for s in scales])
    times = colorizer.starting_times(faded)
    assert times.shape == (4,) and (times >= 0).all() and (times < 1).all()
    assert (np.diff(times) < 0).all()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--vividness", "much"], "vividness is 'much'"),
        (["--num_steps", "0"], "num_steps is 0"),
        (["--solver", "ddim"], "solver is 'ddim'"),
        (["--sampler", "ddim"], "sampler is a setting of --method=lcad"),
        (["--decoder", "best"], "decoder is 'best'"),
        (["--batch_size", "2.5"], "batch_size is '2.5'; it must be a whole number"),
        (["--enhance", "2"], "enhance is '2'"),
        (["--enhance", "--vividness", "auto"], "give a number"),
        (["--enhance", "--vividness_grid"], "exclude each other"),
        (["--method", "lcad", "--solver", "heun"], "solver is a setting of --method=diffusing"),
        (["--method", "lcad", "--enhance"], "enhance is a setting of"),
    ],
)
def test_mistakes_are_told(arguments, words, photo, cold_release, tmp_path) -> None:
    command = [str(photo), "--model", str(cold_release), "--output", str(tmp_path / "x")]
    with pytest.raises(UserError, match=words):
        colorize.main([*command, "--method", "diffusing_colors", *arguments])


def test_a_model_without_a_ranker_says_so(cold_release, photo, tmp_path) -> None:
    import shutil

    shutil.copytree(cold_release, tmp_path / "model")
    (tmp_path / "model" / "ranker.safetensors").unlink()
    for arguments in (["--vividness", "auto"], ["--vividness_grid"]):
        with pytest.raises(UserError, match="no ranker"):
            run(photo, "--output", tmp_path / "x.png", *arguments, model=tmp_path / "model")


@pytest.mark.proof
def test_evaluate_measures_the_method(cold_release, cifar, tmp_path, capsys) -> None:
    common = ["--model", str(cold_release), "--data", str(cifar), "--batch_size", "16"]
    rows = {}
    for vividness in ("0", "1"):
        path = tmp_path / f"{vividness}.json"
        more = ["--method", "diffusing_colors", "--vividness", vividness, "--json", str(path)]
        assert evaluate.main([*common, "--limit", "32", "--captions", "uncoloured", *more]) == 0
        rows[vividness] = json.loads(path.read_text())["rows"]
    name = str(cold_release)
    assert rows["0"]["gray"] == rows["1"]["gray"]
    # Without vividness the output is the gray row, whatever the weights are.
    for figure, value in rows["0"]["gray"].items():
        assert rows["0"][name][figure] == pytest.approx(value, rel=1e-3, abs=0.1)
    assert rows["1"][name]["colourfulness"] > rows["0"][name]["colourfulness"] + 1.0
    assert "uncoloured captions" in capsys.readouterr().out
