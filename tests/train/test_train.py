"""Training end to end at a very small size: order, resuming, skipping, messages."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from colorjax import release
from colorjax.data.tokenizer import Tokenizer
from colorjax.devices import sharding
from colorjax.errors import UserError
from colorjax.methods import lcad
from colorjax.train import checkpoint, loop, optim, tracking, weights
from colorjax.train.run import (
    build,
    caption_examples,
    check,
    check_needs,
    run_stage,
    train_batches,
)
from colorjax.train.weights import find_weights
from tests import small

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All stages of the small configuration, two steps each."""
    directory = tmp_path_factory.mktemp("run")
    run(small.smallest(), directory)
    return directory


def run(config, workdir: Path) -> None:
    for name in config.stages:
        check(name, config, mesh())
    check_needs(config, workdir)
    with jax.set_mesh(mesh()):
        for name in config.stages:
            run_stage(name, config, workdir, mesh())


def mesh():
    """Two devices: that more of them give the same is what `test_meshes` proves."""
    return sharding.make_mesh(devices=jax.devices()[:2])


@pytest.mark.proof
def test_stages_leave_a_release_that_colours(workdir: Path) -> None:
    parts = release.parts_in(workdir / "release")
    assert parts == {*lcad.PARTS, "image_encoder", "text_to_image_unet"}
    model, params = lcad.load(workdir / "release")
    assert model.scaling_factor != 1.0 and np.isfinite(model.scaling_factor)
    luminance = np.zeros((1, 32, 32, 1), np.float32)
    tokens = np.zeros((1, 24), np.int32)
    inputs = lcad.Inputs(luminance, tokens, tokens, 1.0, jax.random.split(jax.random.key(0), 1))
    options = lcad.Options(2, "even")
    image = jax.jit(lambda *of: lcad.colorize(model, *of, options))(params, inputs)
    assert image.shape == (1, 32, 32, 3) and np.isfinite(image).all()


@pytest.mark.proof
def test_cec_starts_from_the_stand_in_at_zero(workdir: Path) -> None:
    config = small.smallest()
    stage = build("latent", config, find_weights("latent", config, workdir), 2)
    start = jax.jit(stage.init)(jax.random.key(0), stage.start).params
    base = release.read_part(workdir / "release", "text_to_image_unet")
    np.testing.assert_array_equal(start["conv_in"]["kernel"], base["conv_in"]["kernel"])
    assert not start["cec_conv_in"]["kernel"].any()
    after = release.read_part(workdir / "release", "unet")
    assert after["cec_conv_in"]["kernel"].any(), "two steps must have moved the extension"


@pytest.mark.proof
def test_metrics_and_samples_are_written(workdir: Path) -> None:
    for name in small.smallest().stages:
        rows = [json.loads(row) for row in (workdir / name / "metrics.jsonl").open()]
        assert [row["step"] for row in rows] == [1, 2]
        assert all(np.isfinite(row["loss"]) for row in rows)
        assert list((workdir / name).glob("events*"))
    sheet = Image.open(workdir / "latent" / "samples" / "0000002.png")
    columns, rows = 5, 8  # gray, truth and three caption levels
    assert sheet.size == (columns * 34 * 2, rows * 34 * 2)


@pytest.mark.proof
def test_a_finished_stage_is_skipped(workdir: Path, capsys) -> None:
    before = (workdir / "release" / "SHA256SUMS").read_bytes()
    run(small.smallest(), workdir)
    assert capsys.readouterr().out.count("skipped") == 5
    assert (workdir / "release" / "SHA256SUMS").read_bytes() == before


class Interrupted(Exception):
    pass


class FakeWandb:
    """In the place of the package, which would go online: what it was told."""

    def __init__(self) -> None:
        self.options: dict = {}
        self.rows: dict[int, dict] = {}
        self.finished = False

    def init(self, **options):
        self.options = options
        return self

    def log(self, values: dict, step: int) -> None:
        self.rows[step] = values

    def finish(self) -> None:
        self.finished = True


@pytest.mark.proof
def test_a_resumed_run_is_the_uninterrupted_run(
    workdir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """Every leaf of the state, bit for bit, after a break at step 3 of 5, watched or not."""
    digests = {}
    online = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", online)
    for name, breaks in (("whole", False), ("broken", True)):
        config = small.smallest()
        config.checkpoint_every = 3
        config.latent.total_steps = 5
        stage = build("latent", config, find_weights("latent", config, workdir), 5)
        tokenize = Tokenizer(small.DATA / "tokenizer", 24)

        def batches(start, stop=False):
            stream = train_batches(config, config.latent, tokenize, start)
            for i, batch in enumerate(stream):
                if stop and i == 4:
                    raise Interrupted
                yield batch

        def go(stop):
            watch = tracking.Watch() if breaks else tracking.Watch(2, 2, "a project")
            with jax.set_mesh(mesh()):
                return loop.train(
                    loop.Run(
                        name="latent",
                        stage=stage,
                        config=config,
                        mesh=mesh(),
                        directory=tmp_path / name,
                        total_steps=5,
                        batches=lambda start: batches(start, stop),
                        examples=caption_examples(config, tokenize, 8),
                        watch=watch,
                    )
                )

        if breaks:
            with pytest.raises(Interrupted):
                go(True)
            saved = checkpoint.Checkpoints(tmp_path / name / "checkpoints")
            assert saved.steps == [3]
            saved.close()
        state = go(False)
        assert int(state.step) == 5
        leaves = jax.tree.leaves(jax.device_get(state))
        digests[name] = [hashlib.sha256(np.asarray(leaf).tobytes()).hexdigest() for leaf in leaves]
    assert digests["whole"] == digests["broken"]
    assert list((tmp_path / "whole" / "profile").rglob("*.xplane.pb"))
    assert not (tmp_path / "broken" / "profile").exists()
    assert online.options["project"] == "a project" and online.finished
    assert online.options["id"].endswith("-whole") and online.options["resume"] == "allow"
    assert sorted(online.rows) == [1, 2, 4, 5]
    assert np.isfinite(online.rows[5]["latent/loss"])
    assert capsys.readouterr().out.count("goodput") == 3


def test_what_is_missing_is_named_with_the_command(tmp_path: Path) -> None:
    config = small.smallest()
    config.stages = ("luminance",)
    with pytest.raises(UserError, match="part 'vae'.*--config=configs/lcad.py:tiny,stage=vae "):
        run(config, tmp_path)
    config.data.directory = str(tmp_path / "nowhere")
    config.luminance.total_steps = 0
    with pytest.raises(UserError, match="32 pixels by .*colorjax.prepare --source=cifar10 .*where"):
        run(config, tmp_path)


@pytest.mark.proof
def test_a_config_that_has_no_start_is_told(workdir: Path, tmp_path: Path) -> None:
    shutil.copytree(workdir / "release", tmp_path / "release")
    (tmp_path / "release" / "text_to_image_unet.safetensors").unlink()
    config = small.smallest()
    config.stages = ("latent",)
    with pytest.raises(UserError, match="stage=text_to_image"):
        run(config, tmp_path)


@pytest.mark.proof
def test_continuing_leaves_a_whole_release(workdir: Path, tmp_path: Path) -> None:
    config = small.smallest()
    config.stages = ("latent",)
    config.init_from = str(workdir / "release")
    config.latent.total_steps = 1
    config.latent.warmup_steps = 0
    run(config, tmp_path)
    model, params = lcad.load(tmp_path / "release")
    before, (_, old) = lcad.load(workdir / "release"), lcad.load(workdir / "release")
    assert model.scaling_factor == before[0].scaling_factor != 1.0
    np.testing.assert_array_equal(
        params["vae"]["quant_conv"]["kernel"], old["vae"]["quant_conv"]["kernel"]
    )
    moved = params["unet"]["conv_in"]["kernel"] - old["unet"]["conv_in"]["kernel"]
    assert 0 < np.abs(moved).max() < 0.01, "one step from the given weights"


@pytest.mark.proof
def test_retraining_an_early_stage_keeps_the_scale(workdir: Path, tmp_path: Path) -> None:
    shutil.copytree(workdir, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "clip")
    config = small.smallest()
    config.stages = ("clip",)
    run(config, tmp_path / "run")
    scale = release.read_config(workdir / "release")["scaling_factor"]
    assert release.read_config(tmp_path / "run" / "release")["scaling_factor"] == scale


@pytest.mark.proof
def test_a_stage_begun_otherwise_is_not_mixed(workdir: Path, tmp_path: Path) -> None:
    shutil.copytree(workdir, tmp_path / "run")
    config = small.smallest()
    config.stages = ("latent",)
    config.latent.total_steps = 3
    config.seed = 5
    with pytest.raises(UserError, match="seed=0, not 5"):
        run(config, tmp_path / "run")
    config.seed = 0
    run(config, tmp_path / "run")
    rows = (tmp_path / "run" / "latent" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows] == [1, 2, 3]


def test_a_run_without_a_tokenizer_trains_one(tmp_path: Path) -> None:
    config = small.smallest()
    config.tokenizer = ""
    made = weights.find_tokenizer(config, tmp_path)
    for name in ("vocab.json", "merges.txt"):
        assert (made / name).read_text() == (small.DATA / "tokenizer" / name).read_text()
    del config.clip
    with pytest.raises(UserError, match="--config.tokenizer"):
        weights.find_tokenizer(config, tmp_path / "empty")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"vae.batch_size": 9}, "multiple of the number of devices, 2"),
        ({"dtype": "float33"}, "float33"),
        ({"vae.schedule": "linear"}, "linear"),
        ({"model.unet.cec": "down_block"}, "down_block"),
        ({"data.eval_split": "dev"}, "dev"),
        ({"vae.trainable": ("encoder/.*",)}, "vae.trainable is .*; this stage trains all"),
        ({"remat": "blocks"}, "remat is 'blocks', which stage vae has not"),
        ({"dtype": "bfloat16"}, "dtype is 'bfloat16', which stage vae has not"),
    ],
)
def test_wrong_values_are_told_before_training(
    changes, words, tmp_path: Path, small_release
) -> None:
    config = small.smallest()
    config.stages = ("vae",) if "model.unet.cec" not in changes else ("latent",)
    config.init_from = str(small_release)
    config.update_from_flattened_dict(changes)
    with pytest.raises(UserError, match=words):
        run(config, tmp_path)
    assert not (tmp_path / "release").exists()


@pytest.mark.proof
def test_continuing_takes_the_architecture_of_what_it_starts_from(
    workdir: Path, tmp_path: Path
) -> None:
    shutil.copytree(workdir / "release", tmp_path / "given")
    read = release.read_config(tmp_path / "given")
    release.write(tmp_path / "given", read | {"prediction_type": "v"}, {})
    config = small.smallest()
    config.stages = ("latent",)
    config.init_from = str(tmp_path / "given")
    config.model.unet.update(block_out_channels=(8, 24), num_attention_heads=(1, 1))
    config.model.text_encoder.update(num_hidden_layers=2, max_position_embeddings=77)
    run(config, tmp_path / "run")
    written = release.read_config(tmp_path / "run" / "release")
    assert written["prediction_type"] == "v"
    assert all(written[part] == read[part] for part in ("unet", "text_encoder", "vae"))
    lcad.load(tmp_path / "run" / "release")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config=configs/lcad.py:tiny", "--config.latent.learning_rat=1"], "learning_rate"),
        pytest.param(
            ["--config=configs/lcad.py:tiny", "--config.latnt.learning_rate=1"],
            "config.latent",
            marks=pytest.mark.proof,
        ),
        pytest.param(
            ["--config=configs/lcad.py:tiny", "--config.latent.batch_size=many"],
            "many",
            marks=pytest.mark.proof,
        ),
        pytest.param(["--config=configs/lcad.py:tiny", "more"], "more", marks=pytest.mark.proof),
        pytest.param(["--config=configs/lcad.py:tiny=false"], "tiny", marks=pytest.mark.proof),
        (["--config=configs/lcad.py:tyni"], "tyni"),
        pytest.param(["--config=configs/nothing.py"], "nothing.py", marks=pytest.mark.proof),
        pytest.param([], "--config", marks=pytest.mark.proof),
        pytest.param(
            ["--config=configs/lcad.py:tiny,stage=paint"], "paint", marks=pytest.mark.proof
        ),
        (["--config=configs/lcad.py:stage=latent", "--config.data.directory=nowhere"], "nowhere"),
    ],
)
def test_a_wrong_command_is_one_sentence(arguments, words, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "colorjax.train", *arguments, f"--workdir={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr and "Traceback" not in done.stderr
    assert len([row for row in done.stderr.splitlines() if row.startswith("colorjax:")]) == 1


def test_configurations_work_from_any_folder(tmp_path: Path) -> None:
    config = ROOT / "configs" / "lcad.py"
    command = [sys.executable, "-m", "colorjax.train", f"--config={config}:tiny"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 2 and "data/cifar10" in done.stderr, done.stderr


def test_paper_recipe_trains_the_extended_channels_only() -> None:
    from colorjax.configs import lcad as lcad_config

    config = lcad_config.get_config()
    assert config.stages == ("luminance", "latent")
    assert (config.luminance.learning_rate, config.latent.learning_rate) == (1e-6, 5e-5)
    model = lcad.build(config.model.to_dict())
    inputs = (
        jax.ShapeDtypeStruct((1, 32, 32, 4), np.float32),
        jax.ShapeDtypeStruct((1,), np.int32),
        jax.ShapeDtypeStruct((1, 77, 768), np.float32),
        jax.ShapeDtypeStruct((1, 32, 32, 512), np.float32),
    )
    params = jax.eval_shape(model.unet.init, jax.random.key(0), *inputs)["params"]
    chosen, _ = optim.split(params, config.latent.trainable)
    assert sum(leaf.size for leaf in jax.tree.leaves(chosen)) == 1_474_560 + 32_440_320


def test_variants_of_the_recipe() -> None:
    from colorjax.configs import lcad as lcad_config

    transfer = lcad_config.get_config("data=imagenet,captions=scarce,stage=latent")
    assert transfer.data.directory == "data/imagenet" and transfer.stages == ("latent",)
    assert (transfer.latent.scarce_share, transfer.latent.drop_share) == (1.0, 0.1)
    released = lcad_config.get_config("released")
    assert released.model.unet.cec == "conv_in" and "up_blocks_.*" in released.latent.trainable
    assert (released.latent.learning_rate, released.latent.weight_decay) == (2e-5, 0.01)
    assert released.luminance.artifact_weights == "released"
    assert transfer.name == "lcad_imagenet_scarce" != lcad_config.get_config().name == "lcad"
    assert lcad_config.get_config("tiny,stage=vae").name == "lcad_tiny"
    assert lcad_config.get_config("released,cec=down_blocks").model.unet.cec == "down_blocks"
    without = lcad_config.get_config("ablation=no_slr")
    assert without.model.unet.cec == "none" and without.latent.trainable == (".*",)
    for same, how in (("no_lic", "--decoder=plain"), ("no_iss", "without --masks")):
        with pytest.raises(UserError, match=f"{same}' is the full model.*{how}"):
            lcad_config.get_config(f"tiny,ablation={same}")
    assert lcad_config.get_config("tiny").luminance.discriminator.layers == 2
    assert lcad_config.get_config().luminance.discriminator.layers == 3
    for wrong in ("data=mnist", "ablation=no_x", "tiny,data=coco", "captions=few"):
        with pytest.raises(UserError, match="variant"):
            lcad_config.get_config(wrong)
