"""What an earlier version has left behind: a run to go on with and a release to load.

`tests/assets/before/README.md` says how they were made, and what that version made of them.
"""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from colorjax.configs import lcad as lcad_config
from colorjax.devices import processes, sharding
from colorjax.methods import lcad
from colorjax.train.run import run_stage

ROOT = Path(__file__).parents[1]
BEFORE = ROOT / "tests" / "assets" / "before"
SIZES = {
    "data.directory": "tests/assets/cifar10",
    "data.train_split": "test",
    "model.text_encoder.hidden_size": 8,
    "model.text_encoder.intermediate_size": 8,
    "model.text_encoder.num_hidden_layers": 1,
    "model.text_encoder.num_attention_heads": 1,
    "model.image_encoder.hidden_size": 8,
    "model.image_encoder.intermediate_size": 8,
    "model.image_encoder.num_hidden_layers": 1,
    "model.image_encoder.num_attention_heads": 1,
    "model.image_encoder.patch_size": 8,
    "model.projection_dim": 8,
    "model.vae.block_out_channels": (4, 8),
    "model.vae.norm_num_groups": 2,
    "model.unet.block_out_channels": (8,),
    "model.unet.attention_levels": (True,),
    "model.unet.num_attention_heads": (1,),
    "model.unet.norm_num_groups": 2,
    "model.colorize.num_steps": 2,
    "luminance.perceptual_weight": 0.0,
    "luminance.discriminator.features": 8,
    "log_every": 1,
    "sample_every": 0,
    "checkpoint_every": 0,
}
LATENT = {
    "latent.batch_size": 8,
    "latent.total_steps": 6,
    "latent.warmup_steps": 1,
    "latent.learning_rate": 1e-2,
    "latent.trainable": ("(.*/)?cec_.*", "conv_out/.*"),
    "latent.spike_factor": 50.0,
}


def config() -> ConfigDict:
    made = lcad_config.get_config("tiny,stage=latent")
    made.update_from_flattened_dict(SIZES | LATENT)
    return made


def rows(path: Path) -> list[dict[str, float]]:
    return [json.loads(row) for row in path.read_text().splitlines()]


class StopAfter(processes.Stop):
    """As if SIGTERM came at a step: samples and release at the end would compile for a minute."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self._left = steps

    def after_step(self) -> bool:
        self._left -= 1
        self.asked = self._left == 0
        return self.asked


@pytest.mark.proof
def test_a_run_begun_before_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)  # the run knows its data by a relative path
    workdir = tmp_path / "run"
    shutil.copytree(BEFORE / "run", workdir)
    mesh = sharding.make_mesh(1, 1, devices=jax.devices()[:1])
    with jax.set_mesh(mesh):
        run_stage("latent", config(), workdir, mesh, StopAfter(2))
    said = capsys.readouterr().out
    assert "resumed from step 3" in said and "stopped at step 5" in said
    written = rows(workdir / "latent" / "metrics.jsonl")
    assert written[:3] == rows(BEFORE / "run" / "latent" / "metrics.jsonl")
    for got, want in zip(written[3:], rows(BEFORE / "metrics.jsonl")[:2], strict=True):
        for name in ("step", "loss", "gradient_norm", "skipped"):
            assert got[name] == pytest.approx(want[name], rel=1e-4), name


@pytest.mark.proof
def test_a_release_made_before_colours_as_before() -> None:
    model, params = lcad.load(BEFORE / "release")
    ramp = np.linspace(-1.0, -0.22, 32 * 32, dtype=np.float32).reshape(1, 32, 32, 1)
    tokens = np.arange(1, 25, dtype=np.int32)[None]
    keys = jax.random.split(jax.random.key(0), 1)
    inputs = lcad.Inputs(ramp, tokens, tokens[:, ::-1].copy(), 2.0, keys)
    options = lcad.Options(2, "even")
    image = jax.jit(lambda p, i: lcad.colorize(model, p, i, options))(params, inputs)
    np.testing.assert_allclose(image, np.load(BEFORE / "image.npy"), atol=1e-4)
