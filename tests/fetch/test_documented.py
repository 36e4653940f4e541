"""docs/weights.md by its own commands, word for word but for sizes, from a hub on this machine."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import colorjax
from colorjax import release
from tests.convert import layouts
from tests.fetch import loopback
from tests.test_documents import DATA, ROOT, SMALL, STARTS, documented, run

PAGE = "weights.md"
ACCEPT = "cc-by-nc-4.0"


@pytest.fixture
def folder(
    published: loopback.Hub, caches: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Where the commands run; they ask the hub on this machine, by the client's own variables."""
    monkeypatch.setenv("HF_ENDPOINT", published.url)
    monkeypatch.setenv("HF_HOME", str(caches))
    there = tmp_path / "here"
    there.mkdir()
    (there / "photo.jpg").symlink_to(ROOT / "examples" / "astronaut.jpg")
    return there


@pytest.mark.proof
def test_lcads_own_weights_colour_a_photograph(folder: Path) -> None:
    layouts.lcad_checkpoint(folder).rename(folder / "coco_weight.ckpt")
    run(folder, "fetch", documented(PAGE, "fetch", "lcad", "--accept_licence", ACCEPT, "--from"))
    run(folder, "colorize", documented(PAGE, "colorize", "--model", "lcad"))
    assert colorjax.load("lcad").settings["decoder"] == "guided"
    (picture,) = (folder / "outputs").iterdir()
    assert np.asarray(Image.open(picture)).ndim == 3


@pytest.mark.proof
def test_a_training_starts_from_stable_diffusion(folder: Path) -> None:
    """A step of the first stage; what it makes is bound by the licence of what it started from."""
    said = run(folder, "fetch", documented(PAGE, "fetch", "sd15"))
    train = documented(PAGE, "train", "--config.init_from=sd15")
    assert " ".join(["python -m colorjax.train", *train]) in said
    steps = ["--config.luminance.total_steps=1", "--config.luminance.batch_size=1"]
    one = ["--config.stages=('luminance',)", *steps]
    run(folder, "train", [*train, *DATA, *SMALL, *one, *STARTS["lcad"][-1]])
    config = release.read_config(folder / "runs" / "lcad" / "release")
    assert config["licence"] == "creativeml-openrail-m"
    assert config["origin"] == release.read_config(release.locate("sd15"))["origin"]


@pytest.mark.proof
def test_a_published_model_colours_from_the_hub_byte_for_byte(
    folder: Path, published: loopback.Hub, small_release: Path
) -> None:
    shutil.copytree(small_release, folder / "runs" / "lcad_tiny" / "release")
    (folder / "figures.json").write_text('{"output": {"ssim": 0.9}}')
    run(folder, "publish", documented(PAGE, "publish", "--licence", "apache-2.0"))
    assert "| output | 0.9 |" in (folder / "FOLDER" / "README.md").read_text()
    published.add("owner/name", folder / "FOLDER")
    plain = ["--plain", "--output"]  # without a note of the model's name, which differs
    command = documented(PAGE, "colorize", "hub:owner/name")
    original = [w.replace("hub:owner/name", "runs/lcad_tiny/release") for w in command]
    for words, output in ((command, "there.png"), (original, "here.png")):
        run(folder, "colorize", [*words, *plain, output])
    assert (folder / "there.png").read_bytes() == (folder / "here.png").read_bytes()
