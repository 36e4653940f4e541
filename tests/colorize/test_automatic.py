"""`--prompt auto`, from the command line and the library, on a small random model."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import colorjax
from colorjax import release
from colorjax.colorize import __main__ as colorize
from colorjax.data import captions
from colorjax.errors import UserError
from colorjax.methods import naming
from tests import small

SUBJECTS = ["a red car", "a dog"]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """L-CAD with towers that share a space, sure of what they see."""
    directory = tmp_path_factory.mktemp("automatic") / "release"
    small.write_cold_release(directory)
    sizes = {k: v for k, v in release.read_config(directory).items() if k != "format"}
    params = small.drawn(lambda key: naming.init(naming.build(sizes), key))
    params |= {"logit_scale": np.full((), 9.0, np.float32)}
    params.pop("text_model")
    release.write(directory, sizes | {"subjects": SUBJECTS}, {"image_encoder": params})
    return directory


@pytest.fixture
def photo(tmp_path) -> Path:
    coarse = np.random.default_rng(0).uniform(20, 235, (5, 5)).astype(np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(coarse).resize((44, 40), Image.Resampling.BICUBIC).save(path)
    return path


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


@pytest.mark.proof
def test_the_caption_is_the_prompt_and_is_said(model, photo, tmp_path, capsys) -> None:
    out = tmp_path / "out.png"
    command = [str(photo), "--model", str(model)]
    assert colorize.main([*command, "--prompt", "auto", "--output", str(out)]) == 0
    said = capsys.readouterr().out
    (caption,) = [subject for subject in SUBJECTS if f'as "{subject}"' in said]
    typed = tmp_path / "typed.png"
    assert colorize.main([*command, "--prompt", caption, "--output", str(typed)]) == 0
    np.testing.assert_array_equal(pixels(out), pixels(typed))
    capsys.readouterr()
    again = [*command, "--prompt", "auto", "--output", str(out)]
    assert colorize.main(again) == 0 and "kept" in capsys.readouterr().out
    assert colorize.main([*again, "--overwrite", "--json"]) == 0
    (line,) = [json.loads(row) for row in capsys.readouterr().out.splitlines() if "done" in row]
    assert line["caption"] == line["prompt"] == caption
    like = tmp_path / "like.png"
    assert colorize.main([str(photo), "--like", str(out), "--output", str(like)]) == 0
    assert like.read_bytes() == out.read_bytes()


def test_the_library_says_it_in_the_settings(model, photo, loaded, monkeypatch) -> None:
    colorizer = colorjax.load(model)
    colorizer.colorizer = next(iter(loaded.values()), colorizer.colorizer)  # compiled already
    result = colorizer(photo, prompt="auto")
    assert result.settings["prompt"] in SUBJECTS
    typed = colorizer(photo, prompt=result.settings["prompt"])
    np.testing.assert_array_equal(np.asarray(result.image), np.asarray(typed.image))
    with pytest.raises(UserError, match="'auto' has none yet"):
        colorizer(photo, prompt="auto", masks="attention")
    monkeypatch.setattr(naming, "LEAST", 1.1)
    assert colorizer(photo, prompt="auto").settings["prompt"] == captions.SCARCE[0]


@pytest.mark.parametrize("more", [["--masks", "attention"], ["--levels"]])
def test_what_is_about_a_prompts_words_needs_them(more, model, photo, tmp_path) -> None:
    command = [str(photo), "--model", str(model), "--output", str(tmp_path / "out")]
    with pytest.raises(UserError, match="give --prompt TEXT"):
        colorize.main([*command, "--prompt", "auto", *more])
