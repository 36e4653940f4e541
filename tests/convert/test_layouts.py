"""Every layout of a whole model, converted: what the documents say next works without a flag."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from colorjax import release
from colorjax.colorize import __main__ as colorize
from colorjax.colorize.colorizer import Colorizer
from colorjax.convert import __main__ as convert
from colorjax.errors import UserError
from colorjax.evaluate import __main__ as evaluate
from colorjax.methods import registry
from tests.convert import layouts

# Format -> what is read, and what has to be told.
TOKENS = f"--tokenizer={layouts.TOKENIZER}"
FORMATS = {
    "lcad": ([layouts.lcad_checkpoint], [TOKENS]),
    "ldm": ([layouts.stable_diffusion_file], [TOKENS]),
    "diffusers": ([layouts.stable_diffusion_folder], []),
    "init-lcad": ([layouts.stable_diffusion_folder], []),
    "init-cold": ([layouts.stable_diffusion_folder, layouts.clip_file], []),
}


@pytest.fixture(scope="module")
def releases(tmp_path_factory):
    """Format -> the release that the command makes of it, each made once."""
    made: dict[str, Path] = {}

    def of(kind: str) -> Path:
        if kind not in made:
            root = tmp_path_factory.mktemp(kind)
            makers, flags = FORMATS[kind]
            inputs = [f"--input={make(root)}" for make in makers]
            convert.main([f"--format={kind}", *inputs, f"--output={root / 'DIR'}", *flags])
            made[kind] = root / "DIR"
        return made[kind]

    return of


@pytest.mark.parametrize("kind", FORMATS)
def test_a_release_that_says_nothing_has_the_tables_defaults(releases, kind) -> None:
    config = release.read_config(releases(kind))
    assert not {"colorize", "cold_colorize"} & config.keys()
    colorizer = Colorizer(releases(kind))
    expected = registry.find("lcad").defaults()
    if kind not in ("lcad", "init-lcad"):
        expected["decoder"] = "plain"  # of plain Stable Diffusion
    assert colorizer.settings == expected


def test_a_ranker_starts_from_clips_image_tower(releases) -> None:
    """And the text encoder is Stable Diffusion's, whatever CLIP was given."""
    config = release.read_config(releases("init-cold"))
    tower = release.read_part(releases("init-cold"), "image_encoder")
    assert list(tower) == ["vision_model"] and config["image_encoder"]["patch_size"] == 8
    root = releases("init-cold").parent
    with pytest.raises(UserError, match="CLIP.*by a second --input"):
        convert.main(
            ["--format=init-cold", f"--input={root / 'sd.safetensors'}", f"--output={root / 'X'}"]
        )
    wrong = [f"--input={root / 'sd.safetensors'}"] * 2
    with pytest.raises(UserError):
        convert.main(["--format=init-cold", *wrong, f"--output={root / 'X'}"])
    assert not (root / "X").exists()


@pytest.mark.proof
@pytest.mark.parametrize("kind", FORMATS)
def test_a_converted_release_colours_a_photograph(releases, kind, tmp_path) -> None:
    photo = tmp_path / "photo.png"
    pixels = np.random.default_rng(0).integers(0, 255, (48, 48), np.uint8)
    Image.fromarray(pixels).save(photo)
    output = tmp_path / "out.png"
    command = [str(photo), "--model", str(releases(kind)), "--output", str(output)]
    assert colorize.main(command) == 0
    assert np.asarray(Image.open(output)).shape == (48, 48, 3)


@pytest.mark.proof
@pytest.mark.parametrize("kind", FORMATS)
def test_a_converted_release_is_evaluated(releases, kind, tmp_path, cifar) -> None:
    report = tmp_path / "figures.json"
    command = [f"--model={releases(kind)}", f"--data={cifar}", "--limit=1", "--crop=resize"]
    assert evaluate.main([*command, "--num_steps=2", f"--json={report}"]) == 0
    assert str(releases(kind)) in json.loads(report.read_text())["rows"]
