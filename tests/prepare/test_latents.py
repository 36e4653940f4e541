"""Cached latents: what stands in them, who may read them, and that training sees no difference."""

import json
import shutil

import jax
import numpy as np
import pytest

from colorjax import release
from colorjax.data import captions, latents, pipeline, records, texts, tokenizer, transforms
from colorjax.errors import UserError
from colorjax.methods import lcad
from colorjax.methods.encoding import text_encoder
from colorjax.prepare import __main__ as command
from colorjax.prepare.vocabulary import tokenizer_of
from colorjax.train import run
from colorjax.train.stages import latent
from tests import small

SIZE = 32


def batch_of(directory, **more):
    sizes = small.config().model.text_encoder
    tokenize = tokenizer.Tokenizer(
        small.DATA / "tokenizer", sizes.max_position_embeddings, sizes.vocab_size
    )
    options = dict(size=SIZE, batch_size=8, seed=3, tokenize=tokenize, crop=None) | more
    batches = pipeline.train_batches(directory, "test", **options)
    first = next(batches)
    batches.close()
    return first


@pytest.fixture(scope="module")
def few(cifar, tmp_path_factory):
    """24 prepared pictures."""
    directory = tmp_path_factory.mktemp("few")
    source = records.open_split(cifar, "test")
    rows = [records.Record.unpack(source[place]) for place in range(24)]
    shard = records.write_shard(directory / records.shard_name("test", 0, 1), rows)
    records.write_manifest(directory, "CIFAR-10", {"test": [shard]})
    return directory


@pytest.fixture(scope="module")
def made(few, small_release, tmp_path_factory):
    output = tmp_path_factory.mktemp("cached") / "out"
    words = ["--cache=latents", f"--input={few}", f"--model={small_release}", "--crops=0"]
    assert command.main([*words, "--splits=test", f"--output={output}"]) == 0
    return output


@pytest.mark.proof
def test_the_batch_and_the_loss_are_those_of_the_pictures(few, made, small_release) -> None:
    """To 1e-5: the same crops, mirror images and captions, and moments that need no encoder."""
    before, after = batch_of(few), batch_of(made)
    for key in before:
        np.testing.assert_array_equal(after[key], before[key])
    assert after["context"].shape == (8, 24, 16)
    model, params = lcad.load(small_release)
    eps, noise = np.random.default_rng(0).normal(size=(2, 8, 8, 8, 4)).astype(np.float32)
    random = {"timesteps": np.arange(0, 1000, 125, np.int32), "eps": eps, "posterior_noise": noise}

    @jax.jit
    def loss(params, batch):
        moments = batch.get("moments")
        given = (batch["image"], batch["input_ids"])
        context = batch.get("context")
        return latent.loss(model, params, *given, **random, moments=moments, context=context)

    assert float(loss(params, after)) == pytest.approx(float(loss(params, before)), rel=1e-5)
    without = params | {
        part: jax.tree.map(np.zeros_like, params[part]) for part in ("vae", "text_encoder")
    }
    assert float(loss(without, after)) == float(loss(params, after))  # neither encoder is asked


def test_every_sentence_that_is_drawn_has_its_states(few, made, small_release) -> None:
    """Those that the text encoder makes of its tokens, whatever is drawn; another's are refused."""
    cache = texts.of_split(made, "test")
    assert cache.sha256 == release.digest(small_release, "text_encoder")
    states, tokenize = texts.States(made, "test"), tokenizer_of(small_release)
    assert texts.of_split(few, "test") is None
    encode = text_encoder(small_release)
    rng = np.random.default_rng(0)
    source = records.open_split(made, "test")
    rows = [records.Record.unpack(source[place]) for place in range(24)]
    for row in rows[:3]:
        only_complete = {"complete": row.captions["complete"]}
        drawn = {captions.sample(row.captions, rng, 0.2, 0.1, 0.5) for _ in range(60)}
        ids = tokenize(sorted(drawn))
        np.testing.assert_allclose(states(ids), encode(ids), atol=1e-5)
        able = set(texts.drawn(only_complete)) | {"", *captions.SCARCE}
        made_partial = {captions.sample(only_complete, rng, 0.2, 0.1, 0.5) for _ in range(200)}
        assert made_partial <= able and len(made_partial) > 8
    with pytest.raises(UserError, match="a caption has no text states in .* by its tokens"):
        states(tokenize(["a sentence that nobody wrote"]))
    records.verify(made)


def test_random_crops_are_those_of_training_and_each_is_taken(few, small_release, tmp_path) -> None:
    output = tmp_path / "out"
    words = ["--cache=latents", f"--input={few}", f"--model={small_release}", "--crops=3"]
    command.main([*words, "--splits=test", "--seed=5", f"--output={output}"])
    cache = latents.of_split(output, "test")
    assert cache == (release.digest(small_release, "vae"), SIZE, 3, (8, 8, 8))
    record = records.Record.unpack(records.open_split(output, "test")[1])
    whole = records.Record.unpack(records.open_split(few, "test")[1])
    assert record.image == b"" and record.captions == whole.captions and len(record.views) == 6
    image = transforms.decode(whole.image)
    for crop in range(3):
        rng = np.random.default_rng((5, 1, crop))
        cut = transforms.random_resized_crop(image, rng, SIZE)
        pair = [transforms.decode(view[0]) for view in record.views[2 * crop : 2 * crop + 2]]
        np.testing.assert_array_equal(pair, [cut, cut[:, ::-1]])
    rng = np.random.default_rng(0)
    drawn = {latents.draw(record, rng, cache)[1].tobytes() for _ in range(100)}
    assert drawn == {view[1] for view in record.views}


def test_an_interrupted_caching_goes_on(few, small_release, made, tmp_path, monkeypatch) -> None:
    output = tmp_path / "out"
    words = ["--cache=latents", f"--input={few}", f"--model={small_release}", "--crops=0"]
    words += ["--splits=test", f"--output={output}"]
    monkeypatch.setattr(records, "write_manifest", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        command.main(words)
    monkeypatch.undo()
    (partial,) = tmp_path.glob(".out.partial")
    (shard,) = partial.glob("*.array_record")
    begun = shard.stat().st_mtime_ns
    command.main(words)
    (kept,) = output.glob("*.array_record")
    assert kept.stat().st_mtime_ns == begun and not partial.exists()
    assert kept.read_bytes() == next(made.glob("*.array_record")).read_bytes()
    there = [records.MANIFEST, kept.name, *texts.names("test")]
    assert sorted(path.name for path in output.iterdir()) == sorted(there)


def test_what_does_not_fit_is_told(made, few, small_release, tmp_path) -> None:
    config = small.config()
    config.init_from = str(small_release)
    config.data.update(directory=str(made), train_split="test")
    of_release = {part: release.digest(small_release, part) for part in ("vae", "text_encoder")}
    run.cached.check_weights(config, of_release)
    with pytest.raises(UserError, match="were made by another VAE .*make them again by python"):
        run.cached.check_weights(config, {"vae": "0" * 64})
    inputs = {"vae": release.digest(small_release, "vae"), "text_encoder": "0" * 64}
    with pytest.raises(UserError, match="text states of .* were made by another text encoder"):
        run.cached.check_weights(config, inputs)
    config.latent.update(lora_rank=2, lora_targets=("text_encoder/.*/q_proj/kernel",))
    with pytest.raises(UserError, match="stage 'latent' trains the text encoder: cache with"):
        run.cached.check_stage("latent", config)
    config.latent.lora_rank = 0
    with pytest.raises(UserError, match="stage 'vae' cannot learn from .only text_to_image, lat"):
        run.cached.check_stage("vae", config)
    run.cached.check_stage("latent", config)
    with pytest.raises(UserError, match="turned_share and gray_share must be 0"):
        batch_of(made, turned_share=0.1)
    with pytest.raises(UserError, match="are of 32 pixels, and the model's pictures have 64"):
        batch_of(made, size=64)
    again = ["--cache=latents", f"--input={made}", f"--model={small_release}"]
    for words, said in (
        (again + ["--splits=test"], "has latents already"),
        (again + ["--splits=val"], "--splits='val' is not in"),
        (["--cache=latents", f"--input={few}", "--model=nowhere", "--splits=test"], "'nowhere'"),
    ):
        with pytest.raises(UserError, match=said):
            command.main([*words, f"--output={tmp_path / 'out'}"])
    damaged = shutil.copytree(made, tmp_path / "damaged")
    manifest = json.loads((damaged / records.MANIFEST).read_text())
    manifest["latents"]["test"]["sha256"] = "none"
    (damaged / records.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="latents.test.sha256"):
        latents.of_split(damaged, "test")
