"""Figures of held-out pictures while a stage trains, and the best step beside the latest."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from skimage import color as skcolor

from colorjax import release
from colorjax.data import captions, records, transforms
from colorjax.devices import sharding
from colorjax.errors import UserError
from colorjax.maths import color
from colorjax.methods import lcad
from colorjax.train import held_out
from colorjax.train.held_out import Best, Pictures
from colorjax.train.run import run_stage
from tests import small

COUNT = 16


@pytest.fixture(scope="module")
def pictures(cifar: Path) -> Pictures:
    rows = records.open_split(cifar, "test").__getitems__(list(range(COUNT)))
    parts = [records.Record.unpack(row) for row in rows]
    image = np.stack([transforms.decode(one.image) for one in parts])
    texts = {
        level: [captions.fixed(one.captions, level) for one in parts] for level in captions.LEVELS
    }
    return Pictures({"image": image}, texts)


def test_figures_are_those_of_the_outputs(pictures: Pictures) -> None:
    """The truth obeys its own captions and is right; gray by scikit-image."""
    truth = color.from_bytes(pictures.examples["image"])
    gray = color.from_unit(color.gray(color.lightness(color.to_unit(truth))))
    columns = {"gray": gray, "truth": truth, "complete": truth, "scarce": gray}
    figures = held_out.measure(columns, pictures)
    assert not [name for name in figures if name.startswith(("gray/", "truth/"))]
    assert figures["complete/psnr_pooled"] > 45
    assert figures["complete/obedience"] == 1.0 and "scarce/obedience" not in figures
    assert figures["complete/delta_colourfulness"] < 0.1
    lab = skcolor.rgb2lab(pictures.examples["image"] / 255.0)
    lab[..., 1:] = 0
    error = np.square(skcolor.lab2rgb(lab) - pictures.examples["image"] / 255.0).mean()
    assert figures["scarce/psnr_pooled"] == pytest.approx(-10 * np.log10(error), abs=0.03)
    assert figures["scarce/colourfulness"] < 0.5


def test_the_best_step_is_remembered(tmp_path: Path) -> None:
    best = Best(tmp_path, "complete/psnr_pooled")
    assert [
        best.improves(step, {"complete/psnr_pooled": value})
        for step, value in ((1, 20.0), (2, 19.0), (3, 21.0), (3, 21.0))
    ] == [*(True, False, True, False)]
    best.remember()
    again = Best(tmp_path, "complete/psnr_pooled")
    assert (again.value, again.step) == (21.0, 3)
    assert Best(tmp_path, "psnr_pooled").step == -1, "another measure begins anew"


def test_less_is_better_of_a_distance_and_names_are_told(tmp_path: Path) -> None:
    best = Best(tmp_path, "frechet_vgg16")
    assert best.improves(1, {"a/frechet_vgg16": 5.0}) and not best.improves(
        2, {"a/frechet_vgg16": 6.0}
    )
    with pytest.raises(UserError, match="a/psnr_pooled"):
        best.improves(3, {"a/psnr_pooled": 6.0})
    config = small.config()
    config.keep_best = "psnr"
    with pytest.raises(UserError, match="psnr_pooled, delta_colourfulness"):
        held_out.check(config)
    config.keep_best = "psnr_pooled"
    with pytest.raises(UserError, match="evaluate_every"):
        held_out.check(config)


@pytest.mark.proof
def test_a_stage_measures_and_keeps_its_best(tmp_path: Path) -> None:
    """Beside a run that measures nothing: the same weights; and its best step is a release."""
    sizes = small.smallest().model.to_dict()
    params = small.random_params(lcad.build(sizes))
    start = tmp_path / "start"
    release.write(start, sizes | {"method": "lcad"}, params, small.DATA / "tokenizer")
    weights = {}
    for name in ("plain", "measured"):
        config = small.smallest()
        config.init_from = str(start)
        config.latent.update(total_steps=3, learning_rate=0.05, warmup_steps=0)
        config.sample_every = 0
        if name == "measured":
            config.update(evaluate_every=1, evaluate_pictures=4, keep_best="complete/psnr_pooled")
        run_stage("latent", config, tmp_path / name, sharding.make_mesh(devices=jax.devices()[:1]))
        path = tmp_path / name / "release" / "unet.safetensors"
        weights[name] = path.read_bytes()
    assert weights["plain"] == weights["measured"]
    rows = [
        json.loads(row)
        for row in (tmp_path / "measured/latent/metrics.jsonl").read_text().splitlines()
    ]
    values = {
        row["step"]: row["held_out/complete/psnr_pooled"]
        for row in rows
        if "held_out/complete/psnr_pooled" in row
    }
    assert sorted(values) == [0, 1, 2, 3]  # 0: before anything was learned
    best = json.loads((tmp_path / "measured/latent/best.json").read_text())
    assert best["step"] == max(values, key=lambda step: values[step])
    assert best["value"] == max(values.values())
    assert (tmp_path / "measured/latent/best" / str(best["step"])).is_dir()
    kept = (tmp_path / "measured/release_best/unet.safetensors").read_bytes()
    assert (kept == weights["measured"]) == (best["step"] == 3)
    assert (tmp_path / "measured/release_best/vae.safetensors").is_file()
