"""One file: what it gives, what it refuses, and that it needs no code of the networks."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import colorjax
from colorjax import inputs, release
from colorjax.colorize import __main__ as colorize
from colorjax.colorize.colorizer import Colorizer
from colorjax.colorize.library import PhotoColorizer
from colorjax.errors import UserError
from colorjax.export import __main__ as command
from colorjax.export import archive, exporting, manifest
from colorjax.export.exported import ExportedColorizer
from colorjax.methods import registry
from tests import small

ROOT = Path(__file__).parents[2]
GRAY = np.random.default_rng(0).integers(20, 235, (40, 44)).astype(np.uint8)


def square(directory: Path, method: str = "lcad", **settings: object) -> Colorizer:
    """A model with one bucket alone, to export few programs."""
    colorizer = Colorizer(directory, method, batch_size=1, **settings)
    colorizer.buckets = ((colorizer.image_size,) * 2,)
    return colorizer


def pixels(result) -> np.ndarray:
    return np.asarray(result.image).astype(int)


@pytest.fixture(scope="module")
def loaded(small_release) -> PhotoColorizer:
    return PhotoColorizer(square(small_release), "small", "digest")


@pytest.fixture(scope="module")
def file(loaded, small_release, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("export") / "small.cjx"
    exporting.write(path, loaded.colorizer, small_release, ("cpu", "tpu"))
    return path


@pytest.fixture(scope="module")
def exported(file) -> PhotoColorizer:
    return colorjax.load(file)


@pytest.mark.proof
def test_the_file_gives_what_the_model_gives(loaded, exported) -> None:
    """To the bit, by the same compiler; and at values that share one program."""
    for seed, settings in ((3, {}), (4, {"guidance_scale": 2.0, "negative_prompt": "a dog"})):
        ours = loaded(GRAY, "a red car", seed=seed, **settings)
        theirs = exported(GRAY, "a red car", seed=seed, **settings)
        np.testing.assert_array_equal(pixels(theirs), pixels(ours))
    assert theirs.settings["guidance_scale"] == 2.0 and theirs.settings["method"] == "lcad"
    assert (pixels(theirs) != pixels(exported(GRAY, "a red car", seed=3))).any()


def test_the_command_colours_with_a_file(file, exported, tmp_path, capsys) -> None:
    """As the library does with it; and a second run knows that the result is there."""
    Image.fromarray(GRAY).save(tmp_path / "gray.png")
    out = tmp_path / "red.png"
    words = [tmp_path / "gray.png", "--model", file, "--prompt", "a red car", "--seed", 3]
    words = [str(word) for word in (*words, "--output", out)]
    assert colorize.main(words) == 0
    theirs = exported(tmp_path / "gray.png", "a red car", seed=3)
    np.testing.assert_array_equal(np.asarray(Image.open(out)), np.asarray(theirs.image))
    capsys.readouterr()
    assert colorize.main(words) == 0
    assert "kept" in "".join(capsys.readouterr())
    more = [*words, "--overwrite"]
    for refused, said in (
        (["--num_steps", "7"], "was exported with 2"),
        (["--prompt", "auto"], "needs a release"),
        (["--method", "diffusing_colors"], "is of lcad"),
    ):
        with pytest.raises(UserError, match=said):
            colorize.main(more + refused)


def test_notes_of_saved_pictures_name_the_same_model(exported, small_release) -> None:
    from colorjax.colorize import finished

    assert exported.colorizer.digest == finished.digest_of_model(small_release)


def test_the_tables_are_those_of_the_methods() -> None:
    for method in registry.METHODS.values():
        data = json.loads(json.dumps(manifest.of_table(method)))
        table = manifest.table_of(data)
        assert table == inputs.Table(method.name, method.title, method.settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"num_steps": 4},
        {"solver": "heun"},
        {"guidance_scale": "high"},
        {"sharpness": 1.0},
        {"seed": -1},
        {"prompt": "red\udcff"},
    ],
    ids=str,
)
def test_mistakes_are_told_in_the_same_sentences(settings, loaded, exported) -> None:
    said = []
    for colorizer in (loaded, exported):
        with pytest.raises(UserError) as told:
            colorizer(GRAY, **settings)
        said.append(str(told.value))
    assert said[0] == said[1]


def test_what_a_model_refuses_is_kept_in_its_words(tmp_path, monkeypatch) -> None:
    """A cold model trained without noise refuses a temperature."""
    directory = small.write_cold_release(tmp_path / "noiseless", sigma=0.0)
    loaded = square(directory, "diffusing_colors")
    monkeypatch.setattr(exporting, "programs_of", lambda *_: iter(()))
    exporting.write(tmp_path / "cold.cjx", loaded, directory)
    exported = colorjax.load(tmp_path / "cold.cjx").colorizer
    said = []
    for colorizer in (loaded, exported):
        with pytest.raises(UserError, match="temperature is 0.5; it scales") as told:
            colorizer.changed(temperature=0.5)
        said.append(str(told.value))
    assert said[0] == said[1] and exported.changed(temperature=1.0)


def test_weights_are_stored_without_loss_in_the_fewest_bytes(tmp_path) -> None:
    kept = ExportedColorizer.__new__(ExportedColorizer)
    rng = np.random.default_rng(0)
    single = rng.normal(size=(4, 5)).astype(np.float32)
    trees = {
        2: {"a": {"b": single.astype(np.float16).astype(np.float32)}},
        4: {"a": {"b": single}},
        3: {"a": {"b": jnp.asarray(single, jnp.bfloat16), "c": single}},
    }
    for size, tree in trees.items():
        data = exporting._stored(tree)
        assert abs(len(data) / sum(leaf.size for leaf in jax.tree.leaves(tree)) - size) < 10
        path = tmp_path / "weights.cjx"
        archive.write(path, {}, [("weights/a", lambda: data)])
        kept._archive = archive.Archive(path)
        read = kept._weights("weights/a")
        assert jax.tree.map(lambda leaf: leaf.dtype, read) == jax.tree.map(lambda x: x.dtype, tree)
        for ours, theirs in zip(jax.tree.leaves(tree), jax.tree.leaves(read), strict=True):
            np.testing.assert_array_equal(np.asarray(ours, float), np.asarray(theirs, float))


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({"num_steps": 4}, "num_steps is 4, but 'small.cjx' was exported with 2"),
        ({"method": "diffusing_colors"}, "is of lcad; leave it out"),
        ({"mesh": "all"}, "runs on one device"),
        ({"dtype": "bfloat16"}, "computes in float32"),
        ({"solver": "heun"}, "is a setting of --method=diffusing_colors"),
        ({"vividness": "auto"}, "has no programs for vividness 'auto': export it with"),
    ],
)
def test_what_a_file_fixes(chosen, words, file) -> None:
    with pytest.raises(UserError, match=re.escape(words)):
        colorjax.load(file, **chosen)


def test_values_that_a_file_was_exported_with_may_be_said(file) -> None:
    assert colorjax.load(file, num_steps=2, temperature=0.25).settings["temperature"] == 0.25


def test_masks_and_faded_pictures_need_their_programs(exported) -> None:
    masks = np.ones((1, 20, 20), bool)
    with pytest.raises(UserError, match="no programs for 'masks': export it with --include masks"):
        exported(GRAY, "a red car", masks=masks)
    with pytest.raises(UserError, match="no programs for 'attention'"):
        exported(GRAY, "a red car", masks="attention")
    with pytest.raises(UserError, match="no programs for faded pictures"):
        exported.colorizer.starting_times(np.zeros((1, 32, 32, 3), np.float32))


def test_any_flipped_bit_is_told_or_of_no_effect(file, tmp_path) -> None:
    """A zip has bytes without a meaning, such as dates; whatever is used is checked."""
    data, path = file.read_bytes(), tmp_path / "flipped.cjx"
    rng = np.random.default_rng(0)
    ends = [*range(64), *range(len(data) - 120, len(data))]
    places = [*ends, *rng.integers(0, len(data), 60).tolist()]
    whole = archive.Archive(file)
    told = 0
    for place in places:
        flipped = bytearray(data)
        flipped[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        try:
            read = archive.Archive(path)
        except UserError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            told += 1
        else:
            assert read.manifest == whole.manifest and read.digest == whole.digest
    assert told > len(places) // 2


def test_cut_files_and_other_files_are_told(file, tmp_path) -> None:
    data, path = file.read_bytes(), tmp_path / "other.cjx"
    for content in (b"", b"text", data[: len(data) // 2], data[100:]):
        path.write_bytes(content)
        with pytest.raises(UserError, match="no whole file of python -m colorjax.export"):
            colorjax.load(path)
    with zipfile.ZipFile(path, "w") as other:
        other.writestr("manifest.json", "{}")
    with pytest.raises(UserError, match="lacks the checksum"):
        colorjax.load(path)
    with pytest.raises(UserError, match="does not exist"):
        colorjax.load(tmp_path / "nowhere.cjx")


def rewritten(file: Path, path: Path, **changes: object) -> Path:
    """A file whose manifest says otherwise, with right checksums."""
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            text = source.read(name)
            if name == archive.MANIFEST:
                text = json.dumps(json.loads(text) | changes).encode()
                target.comment = b"colorjax sha256 " + hashlib.sha256(text).hexdigest().encode()
            target.writestr(name, text)
    return path


def test_other_versions_and_platforms_are_told(file, tmp_path, monkeypatch) -> None:
    path = tmp_path / "other.cjx"
    with pytest.raises(UserError, match="export format 2; this version reads 1"):
        colorjax.load(rewritten(file, path, format=2))
    with pytest.raises(UserError, match="was exported for tpu, and this is cpu"):
        colorjax.load(rewritten(file, path, platforms=["tpu"]))
    with pytest.raises(UserError, match="cannot be used .*settings"):
        colorjax.load(rewritten(file, path, settings=[]))
    with pytest.raises(UserError, match="other parts than"):
        colorjax.load(rewritten(file, path, parts={}))
    monkeypatch.setattr(jax.export, "deserialize", lambda _: 1 / 0)
    with pytest.raises(UserError, match=f"was exported by jax {jax.__version__}, and this is"):
        colorjax.load(file)(GRAY)


def test_the_command_tells_mistakes(small_release, tmp_path) -> None:
    model = ["--model", str(small_release), "--output"]
    for more, words in (
        ([str(tmp_path / "a.zip")], "must end in .cjx"),
        ([str(tmp_path / "a.cjx"), "--platforms", "cpu,abacus"], "platform is 'abacus'"),
        ([str(tmp_path / "a.cjx"), "--include", "dreams"], "include is 'dreams'"),
        ([str(tmp_path / "a.cjx"), "--include", "auto"], "has no ranker"),
        ([str(tmp_path / "a.cjx"), "--mesh", "2"], "mesh is 2"),
    ):
        with pytest.raises(UserError, match=re.escape(words)):
            command.main(model + more)
    assert not list(tmp_path.iterdir())


WITHOUT = """
import sys
# What an editable installation finds modules by, beside the copy that is looked for here.
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
import numpy as np
import colorjax
colorizer = colorjax.load(sys.argv[1])
result = colorizer(np.load(sys.argv[2]), "a red car", seed=3)
result.save(sys.argv[3])
for name in ("models", "methods"):
    try:
        __import__("colorjax." + name)
    except ModuleNotFoundError:
        continue
    raise SystemExit(f"colorjax.{name} is there")
names = [m for m in sys.modules if m.startswith(("colorjax.models", "colorjax.methods"))]
assert not names, names
"""


@pytest.mark.proof
def test_it_runs_without_the_code_of_the_networks(file, loaded, tmp_path) -> None:
    """In a copy of the package that has neither models nor methods."""
    from PIL import Image

    ignored = shutil.ignore_patterns("models", "methods", "bundled", "__pycache__", "train")
    shutil.copytree(ROOT / "colorjax", tmp_path / "colorjax", ignore=ignored)
    np.save(tmp_path / "gray.npy", GRAY)
    words = [sys.executable, "-c", WITHOUT, str(file), "gray.npy", "out.png"]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    theirs = np.asarray(Image.open(tmp_path / "out.png")).astype(int)
    np.testing.assert_array_equal(theirs, pixels(loaded(GRAY, "a red car", seed=3)))


HALVES = np.zeros((1, 20, 20), bool)
HALVES[:, :, :10] = True


@pytest.mark.proof
@pytest.mark.parametrize(
    ("method", "include", "calls"),
    [
        ("lcad", ("masks", "auto"), ({"vividness": "auto"}, {"masks": HALVES, "vividness": 0.7})),
        ("diffusing_colors", (), ({}, {"guidance_scale": 1.0})),
    ],
)
def test_more_programs_give_what_the_model_gives(method, include, calls, tmp_path) -> None:
    """Masks, vividness by number and by the ranker, the other method; for three platforms."""
    directory = small.write_cold_release(tmp_path / "release", sigma=0.1)
    loaded = PhotoColorizer(square(directory, method), "small", "digest")
    path = tmp_path / "all.cjx"
    exporting.write(path, loaded.colorizer, directory, ("cpu", "cuda", "tpu"), include)
    exported = colorjax.load(path)
    for call in calls:
        ours, theirs = (pixels(c(GRAY, "a red car", seed=3, **call)) for c in (loaded, exported))
        # At a scale of 1 the model computes without guidance, the file with one that cancels out.
        assert np.abs(ours - theirs).max() <= (1 if "guidance_scale" in call else 0), call


@pytest.mark.proof
def test_the_bundled_model_by_the_command(tmp_path, monkeypatch) -> None:
    """Two of its programs, for three platforms, with all of its weights."""
    programs_of, path = exporting.programs_of, tmp_path / "colorizer.cjx"

    def of_one_bucket(*given) -> list[exporting.Program]:
        return [p for p in programs_of(*given) if p.example.lightness.shape[1:3] == (32, 32)]

    monkeypatch.setattr(exporting, "programs_of", of_one_bucket)
    command.main(["--output", str(path), "--platforms", "cpu,cuda,tpu", "--batch_size", "1"])
    parts = ("unet", "vae", "text_encoder", "luminance_encoder")
    weights = sum((release.BUNDLED / f"{part}.safetensors").stat().st_size for part in parts)
    assert weights < path.stat().st_size < 1.2 * weights
    photo = ROOT / "examples" / "car.png"
    ours, theirs = (
        pixels(c(photo, "a red car")) for c in (colorjax.load(batch_size=1), colorjax.load(path))
    )
    np.testing.assert_array_equal(theirs, ours)
