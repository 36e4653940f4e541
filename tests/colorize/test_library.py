"""The library's face on a small random model: what goes in, what comes out, what is refused."""

import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import colorjax
from colorjax.colorize import __main__ as command
from colorjax.colorize import jobs, processing
from colorjax.colorize.files import saving
from colorjax.colorize.library import PhotoColorizer
from colorjax.colorize.loading import load_methods
from colorjax.errors import UserError
from colorjax.maths import color
from colorjax.methods.registry import WITHOUT_PROMPT
from colorjax.release import writing
from tests import small

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    """With the parts of both methods and a ranker."""
    return small.write_cold_release(tmp_path_factory.mktemp("both") / "release", sigma=0.1)


@pytest.fixture(scope="module")
def colorizer(release, loaded) -> PhotoColorizer:
    """The model of the module's commands too."""
    photographs = colorjax.load(release)
    loaded[release, "lcad"] = photographs.colorizer
    return photographs


@pytest.fixture(scope="module")
def cold(release) -> PhotoColorizer:
    return colorjax.load(release, method="diffusing_colors")


def smooth(seed: int, height: int, width: int) -> np.ndarray:
    """A smooth gray picture, uint8 [h,w]."""
    coarse = np.random.default_rng(seed).uniform(20, 235, (5, 5)).astype(np.uint8)
    picture = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(picture)


def pixels(result) -> np.ndarray:
    return np.asarray(result.image)


@pytest.fixture(scope="module")
def two_ways(release, tmp_path_factory) -> Path:
    """A release that colours by Diffusing Colors what nobody says anything of."""
    directory = tmp_path_factory.mktemp("two ways") / "release"
    shutil.copytree(release, directory)
    said = {"method": "diffusing_colors", "num_steps": 3, "vividness": 0.5}
    config = json.loads((directory / "config.json").read_text())
    writing.write(directory, config | {WITHOUT_PROMPT: said}, {})
    return directory


def test_without_a_prompt_the_releases_method_for_that_is_loaded(two_ways) -> None:
    asked, *others = load_methods(two_ways)[0]
    assert asked.colorizer.method.name == "lcad" and asked.unprompted is not None
    unprompted = asked.unprompted()
    assert unprompted.method.name == "diffusing_colors" and unprompted is asked.unprompted()
    assert (unprompted.settings["num_steps"], unprompted.settings["vividness"]) == (3, 0.5)
    # Parts are in memory once, those of the method that is asked for by name among them.
    for photographs in (asked, *others):
        params = photographs.colorizer.params
        for part in params.keys() & unprompted.params.keys():
            assert unprompted.params[part] is params[part]
        assert photographs.colorizer.load_ranker is unprompted.load_ranker
    assert [one.unprompted for one in others] == [None]


def test_a_method_for_no_prompt_without_its_parts_is_told(small_release, tmp_path) -> None:
    directory = tmp_path / "release"
    shutil.copytree(small_release, directory)
    config = json.loads((directory / "config.json").read_text())
    writing.write(directory, config | {WITHOUT_PROMPT: {"method": "diffusing_colors"}}, {})
    (own,), refused = load_methods(directory)
    assert own.unprompted is None and own.colorizer.method.name == "lcad"
    assert "for photographs without a prompt" in " ".join(refused)
    photographs = colorjax.load(directory)
    with pytest.raises(UserError, match="no part 'cold_unet'.*name a method, or say what"):
        photographs(smooth(0, 32, 32))


def test_only_what_has_neither_prompt_nor_masks_is_coloured_without_one(colorizer, cold) -> None:
    photographs = PhotoColorizer(
        colorizer.colorizer, "both", "digest", lambda: str, unprompted=lambda: cold.colorizer
    )
    gray = smooth(0, 32, 32)

    def method(*prompt, masks=None, **settings) -> str:
        prompts = prompt[0] if prompt else None
        batch = photographs.batch([gray], prompts, 0, masks, settings)
        assert batch.said[0]["method"] == batch.said[1]["method"] == batch.colorizer.method.name
        return batch.colorizer.method.name

    assert method() == method(" auto ") == method(fidelity=0.5) == "diffusing_colors"
    assert method(negative_prompt="a frog") == "lcad"
    assert method("a car") == method("") == method(["auto"]) == "lcad"
    masks = np.ones((1, 32, 32), np.float32)
    assert method(masks=masks) == method("a red car", masks=masks) == "lcad"
    with pytest.raises(UserError, match="fidelity is a setting of --method=diffusing_colors"):
        method("a car", fidelity=0.5)


@pytest.mark.proof
def test_a_path_a_picture_and_arrays_give_what_the_command_writes(
    colorizer, release, tmp_path
) -> None:
    gray = smooth(0, 40, 44)
    path, out = tmp_path / "photo.png", tmp_path / "out.png"
    Image.fromarray(gray).save(path)
    arguments = [str(path), "--prompt", "a red car", "--seed", "5", "--model", str(release)]
    assert command.main([*arguments, "--output", str(out)]) == 0
    sources = (
        path,
        str(path),
        Image.open(path),
        gray,
        gray[..., None] / np.float32(255),
        np.repeat(gray[..., None], 3, axis=-1) / 255.0,
    )
    for source in sources:
        result = colorizer(source, prompt="a red car", seed=5)
        assert result.image.size == (44, 40) and result.error is None
        np.testing.assert_array_equal(pixels(result), np.asarray(Image.open(out)))
    colorizer(path, prompt="a red car", seed=5).save(tmp_path / "deep" / "saved.png")
    assert (tmp_path / "deep" / "saved.png").read_bytes() == out.read_bytes()


def test_metadata_is_carried_and_orientation_applied(colorizer, tmp_path) -> None:
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = "grandmother", 6
    Image.fromarray(smooth(1, 40, 40)[:, :39]).save(tmp_path / "a.jpg", exif=exif)
    opened = Image.open(tmp_path / "a.jpg")
    for source in (tmp_path / "a.jpg", opened):
        result = colorizer(source)
        assert result.image.size == (40, 39)
        result.save(tmp_path / "b.jpg")
        with Image.open(tmp_path / "b.jpg") as saved:
            kept = saved.getexif()
        assert kept[0x010E] == "grandmother" and kept[0x0112] == 1
    assert opened.getexif()[0x0112] == 6, "the caller's picture stays as it was"


@pytest.mark.proof
def test_many_keep_their_order_and_bad_ones_are_told(colorizer, tmp_path) -> None:
    """Of two buckets, so that batches are ready in another order."""
    shapes = [(40, 40), (33, 90), (36, 36), (64, 64), (90, 40), (50, 50)]
    photos: list = [smooth(i, *shape) for i, shape in enumerate(shapes)]
    (tmp_path / "text.jpg").write_text("not a picture")
    photos.insert(1, tmp_path / "text.jpg")
    photos.insert(4, np.zeros((2, 2, 2), np.uint8))
    prompts = [f"a red car {i}" for i in range(len(photos))]
    results = list(colorizer.many(photos, prompts, seed=2))
    assert [result.settings["prompt"] for result in results] == prompts
    for i, (photo, prompt, result) in enumerate(zip(photos, prompts, results)):
        if i in (1, 4):
            assert result.image is None and isinstance(result.error, UserError)
            with pytest.raises(UserError):
                result.save(tmp_path / "no.png")
            with pytest.raises(UserError, match=re.escape(str(result.error))):
                colorizer(photo, prompt)
        else:
            alone = colorizer(photo, prompt, seed=2)
            # Alone it is another program's, which rounds differently.
            assert np.abs(pixels(result).astype(int) - pixels(alone)).max() <= 1
    with pytest.raises(UserError, match="2 prompts for 8 photographs"):
        colorizer.many(photos, prompts[:2])


def test_results_wait_for_earlier_ones_only_as_memory_allows(colorizer, monkeypatch) -> None:
    """With room for three pictures the lonely first one is coloured before its batch is full."""
    monkeypatch.setattr(processing, "MAX_PENDING_PIXELS", 33 * 90 + 6 * 40 * 40)
    photos = [smooth(i, *((33, 90) if i == 0 else (40, 40))) for i in range(13)]
    read, prepare = [], jobs.prepare
    monkeypatch.setattr(jobs, "prepare", lambda *given: read.append(1) or prepare(*given))
    results = colorizer.many(photos, "a car")
    assert next(results).image.size == (90, 33)
    assert 5 <= len(read) <= 9, "four are a batch, and what waits or is kept counts"
    assert len(list(results)) == 12


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((20, 20, 4), np.uint8), r"shape \(20, 20, 4\)"),
        (np.zeros((20, 20), np.int32), "holds int32"),
        (np.full((20, 20), 200.0), "from 200 to 200; fractions"),
        (np.full((20, 20), np.nan), "fractions are in"),
        (np.zeros((0, 20), np.uint8), "nothing to colour"),
    ],
)
def test_arrays_that_are_no_photographs(array, words, colorizer) -> None:
    with pytest.raises(UserError, match=words):
        colorizer(array)


def test_settings_say_what_made_a_picture(colorizer, release) -> None:
    photo = smooth(3, 40, 40)
    settings = {"guidance_scale": 3.0, "temperature": 0.7, "negative_prompt": "a dog"}
    result = colorizer(photo, "a red car", seed=4, **settings)
    said = result.settings
    assert said["model"] == str(release) and said["method"] == "lcad" and said["seed"] == 4
    assert said["prompt"] == "a red car" and said["num_steps"] == 2 and said["photo"] == "an array"
    assert settings.items() <= said.items() and colorizer.settings["temperature"] == 0.5
    about = ("model", "method", "photo", "prompt", "seed", "masks")
    again = colorjax.load(
        said["model"], said["method"], **{k: v for k, v in said.items() if k not in about}
    )
    repeated = again(photo, said["prompt"], seed=said["seed"])
    np.testing.assert_array_equal(pixels(repeated), pixels(result))
    assert (pixels(result) != pixels(colorizer(photo, "a red car", seed=4))).any()


def test_nothing_compiles_for_another_value_or_photograph(colorizer) -> None:
    colorizer(smooth(5, 40, 40), "a car")
    before = colorizer.colorizer.compilations
    for i, scale in enumerate((1.5, 2.0, 7.5)):  # 1 leaves half of the work out: another program
        changes = {"guidance_scale": scale, "negative_prompt": "a dog" * i, "temperature": 0.1 * i}
        colorizer(smooth(i, 50 + i, 53), f"a car {i}", seed=i, **changes)
    assert colorizer.colorizer.compilations == before


@pytest.mark.proof
def test_vividness_of_lcad(colorizer) -> None:
    """1 is the path without it, 0 is gray, the ranker's choice is one of its candidates."""
    photo = smooth(6, 40, 40)
    usual = pixels(colorizer(photo, "a red car"))
    before = colorizer.colorizer.compilations
    np.testing.assert_array_equal(pixels(colorizer(photo, "a red car", vividness=1)), usual)
    assert colorizer.colorizer.compilations == before
    gray = pixels(colorizer(photo, "a red car", vividness=0)).astype(int)
    assert np.ptp(gray, axis=-1).max() <= 2
    almost = pixels(colorizer(photo, "a red car", vividness=1 + 1e-6)).astype(int)
    assert np.abs(almost - usual).max() <= 2
    half = color.srgb_to_lab(pixels(colorizer(photo, "a red car", vividness=0.5)) / np.float32(255))
    full = color.srgb_to_lab(usual / np.float32(255))
    assert np.abs(half[..., 1:]).mean() > 0.1 and np.abs(half - full)[..., 1:].mean() > 0.1
    automatic = colorizer(photo, "a red car", vividness="auto")
    assert automatic.settings["vividness"] == "auto"
    assert np.ptp(pixels(automatic).astype(int), axis=-1).max() > 5


@pytest.fixture(scope="module")
def halves() -> np.ndarray:
    """Masks of two phrases, the left and the right half."""
    masks = np.zeros((2, 20, 20), bool)
    masks[0, :, :10] = masks[1, :, 10:] = True
    return masks


@pytest.mark.proof
@pytest.mark.parametrize("method", ["lcad", "diffusing_colors"])
def test_masks_act(method, colorizer, cold, halves) -> None:
    one = colorizer if method == "lcad" else cold
    photo, prompt = smooth(7, 40, 40), "the red car, the blue truck"
    usual, given, swapped, attention = (
        pixels(one(photo, prompt, masks=masks)).astype(int)
        for masks in (None, halves, halves[::-1].copy(), "attention")
    )
    for other in (usual, swapped, attention):
        assert np.abs(given - other).max() > 2
    said = one(photo, prompt, masks=halves).settings
    assert said["masks"] == "an array" and said["refine_step_size"] == 10.0
    with pytest.raises(UserError, match="2 phrases"):
        one(photo, prompt, masks=halves[:1])


@pytest.mark.proof
def test_masks_without_a_step_change_nothing(release, cold, halves) -> None:
    """Replaying the cold network's unchanged attention is the ordinary pass."""
    photo, prompt = smooth(7, 40, 40), "the red car, the blue truck"
    idle = colorjax.load(release, "diffusing_colors", refine_step_size=0.0)
    usual = pixels(cold(photo, prompt)).astype(int)
    assert np.abs(pixels(idle(photo, prompt, masks=halves)).astype(int) - usual).max() <= 1


@pytest.mark.parametrize(
    ("method", "settings", "words"),
    [
        ("lcad", {"solver": "heun"}, "solver is a setting of --method=diffusing_colors"),
        ("diffusing_colors", {"sampler": "ddim"}, "sampler is a setting of --method=lcad"),
        ("lcad", {"sharpness": 1.0}, "setting is 'sharpness'; it must be one of guidance_scale"),
        ("lcad", {"num_steps": 2.5}, "num_steps is 2.5; it must be a whole number"),
        ("lcad", {"decoder": "best"}, "decoder is 'best'; it must be one of guided, plain"),
        ("lcad", {"vividness": "much"}, "vividness is 'much'; it must be a number or 'auto'"),
        ("magic", {}, "method is 'magic'; it must be one of lcad, diffusing_colors"),
    ],
)
def test_mistakes_of_loading_are_told(release, method, settings, words) -> None:
    with pytest.raises(UserError, match=re.escape(words)):
        colorjax.load(release, method, **settings)


def test_mistakes_of_calls_are_told(colorizer) -> None:
    photo = smooth(8, 40, 40)
    for more, words in (
        ({"num_steps": 4}, "num_steps is fixed when a model is loaded"),
        ({"solver": "heun"}, "solver is a setting of"),
        ({"guidance_scale": "high"}, "guidance_scale is 'high'; it must be a number"),
        ({"seed": -1}, "seed is -1"),
        ({"prompt": "red\udcff"}, "no text"),
        ({"masks": "nowhere", "prompt": "a red car"}, "'nowhere' do not exist"),
    ):
        with pytest.raises(UserError, match=words):
            colorizer(photo, **more)


def test_what_a_release_lacks_is_told(release, tmp_path) -> None:
    import shutil

    shutil.copytree(release, tmp_path / "without")
    (tmp_path / "without" / "ranker.safetensors").unlink()
    without = colorjax.load(tmp_path / "without")
    for load_or_call in (
        lambda: colorjax.load(tmp_path / "without", vividness="auto"),
        lambda: without(smooth(9, 40, 40), vividness="auto"),
    ):
        with pytest.raises(UserError, match="no ranker"):
            load_or_call()
    small.write_cold_release(tmp_path / "noiseless", sigma=0.0)
    with pytest.raises(UserError, match="trained without any"):
        colorjax.load(tmp_path / "noiseless", "diffusing_colors", temperature=0.5)


def test_the_readme_runs_as_pasted(tmp_path, monkeypatch) -> None:
    (sample,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert sample.count("\n") <= 8
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    exec(compile(sample, "README.md", "exec"), {})
    (picture,) = tmp_path.rglob("red.*")
    rgb = np.asarray(Image.open(picture).convert("RGB")).astype(int)
    assert rgb.shape[:2] == np.asarray(Image.open(ROOT / "examples" / "car.png")).shape[:2]
    centre = rgb[rgb.shape[0] // 4 : -rgb.shape[0] // 4, rgb.shape[1] // 4 : -rgb.shape[1] // 4]
    assert centre[..., 0].mean() > centre[..., 2].mean(), "a red car is redder than blue"


def test_a_result_is_adjusted_without_the_model(colorizer, tmp_path) -> None:
    photo = smooth(11, 40, 44)
    result = colorizer(photo, "a red car")
    before = colorizer.colorizer.compilations
    np.testing.assert_array_equal(pixels(result.adjusted()), pixels(result))
    gray = pixels(result.adjusted(0.0)).astype(int)
    assert np.ptp(gray, axis=-1).max() <= 1 and np.abs(gray[..., 0] - photo).max() <= 1
    warm = result.adjusted(tint=(20.0, 0.0))
    assert warm.settings["tint"] == "20,0" and "tint" not in result.settings
    blue = pixels(warm)[..., 2].mean() - pixels(result)[..., 2].mean()
    assert blue < -5 and colorizer.colorizer.compilations == before
    # Relative to the model's colouring, however often it was adjusted.
    again = result.adjusted(0.3, (9.0, 9.0)).adjusted(tint=(20.0, 0.0))
    np.testing.assert_array_equal(pixels(again), pixels(warm))
    assert again.settings == warm.settings
    with pytest.raises(UserError, match="tint warm is 99"):
        result.adjusted(tint=(99.0, 0.0))


def test_a_result_is_saved_as_deep_as_its_photograph(colorizer, tmp_path) -> None:
    levels = (smooth(12, 40, 44).astype(np.uint16) << 8) + 77
    cv2.imwrite(str(tmp_path / "a.png"), levels)
    result = colorizer(tmp_path / "a.png")
    for name, kind in (("b.png", np.uint16), ("b.tif", np.uint16), ("b.jpg", np.uint8)):
        gray = result.adjusted(0.0)
        gray.save(tmp_path / name)
        assert gray.encoded(Path(name).suffix) == (tmp_path / name).read_bytes()
        saved = cv2.imread(str(tmp_path / name), cv2.IMREAD_UNCHANGED)
        assert saved.dtype == kind and saved.shape == (40, 44, 3)
        if kind is np.uint16:
            assert np.abs(saved[..., 1].astype(int) - levels).max() <= 64
    result.save(tmp_path / "plain.png", plain=True)
    assert saving.note_of(tmp_path / "plain.png") is None
    with pytest.raises(UserError, match="'.gif' is no format to write; take .png"):
        result.encoded(".gif")
    assert saving.note_of(tmp_path / "b.tif")["chroma_scale"] == 0.0


def test_variations_doubt_hints_and_a_mask(colorizer) -> None:
    photo = smooth(13, 40, 44)
    several = colorizer.variations(photo, 3, "a red car", seed=4)
    assert [result.settings["seed"] for result in several] == [4, 5, 6]
    alone = colorizer(photo, "a red car", seed=5)
    assert np.abs(pixels(several[1]).astype(int) - pixels(alone)).max() <= 1
    doubt = colorizer.doubt(photo, "a red car", samples=3)
    assert doubt.spread.shape == (32, 32) and 0 < doubt.mean < doubt.most
    assert doubt.image.size == (160, 40 + 28)
    with pytest.raises(UserError, match="samples is 1"):
        colorizer.doubt(photo, samples=1)
    mask = np.zeros((40, 44))
    mask[:, :20] = 1
    point = [{"x": 5, "y": 5, "color": "#d02010", "radius": 3}]
    hinted = pixels(colorizer(photo, seed=4, hints=point, only_masked=mask))
    assert hinted[5, 5, 0] > hinted[5, 5, 2] + 20, "red there"
    np.testing.assert_array_equal(hinted[:, 21:], photo[:, 21:, None].repeat(3, axis=-1))
