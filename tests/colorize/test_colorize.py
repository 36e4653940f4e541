"""The command people use, on a small random model: what must hold whatever the weights are."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from colorjax.colorize import __main__ as colorize
from colorjax.colorize import batching, jobs, painters
from colorjax.colorize.buckets import bucket_for, buckets
from colorjax.colorize.colorizer import Colorizer
from colorjax.errors import UserError
from colorjax.maths import color
from colorjax.methods.method import Pictures

# Of three buckets, two of which hold two pictures and so colour a batch.
SIZES = [(40, 40), (120, 60), (33, 90), (100, 48), (200, 210)]


@pytest.fixture(scope="module")
def colorizer(small_release: Path) -> Colorizer:
    return Colorizer(small_release)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Smooth gray pictures of several sizes, in a folder with a subfolder."""
    rng = np.random.default_rng(0)
    root = tmp_path / "in"
    for i, (height, width) in enumerate(SIZES):
        coarse = rng.uniform(20, 235, (5, 5)).astype(np.uint8)
        place = root / ("deep" if i == 2 else "")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(
            place / f"{i}.png"
        )
    return root


def run(*arguments: object, model: Path) -> int:
    return colorize.main([str(a) for a in arguments] + ["--model", str(model)])


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def test_a_folder_keeps_sizes_names_and_lightness(folder, tmp_path, small_release) -> None:
    assert run(folder, "--output", tmp_path / "out", model=small_release) == 0
    for i, (height, width) in enumerate(SIZES):
        name = f"deep/{i}.png" if i == 2 else f"{i}.png"
        gray, coloured = read(folder / name), read(tmp_path / "out" / name)
        assert coloured.shape == (height, width, 3)
        assert np.ptp(coloured.astype(int), axis=-1).max() > 5, "no colour came out"
        # Luminance (CIE Y) of 8-bit sRGB, computed here: both must be the same gray.
        error = np.abs(as_gray(coloured) - gray[..., 0])
        assert error.max() <= 1.0


def as_gray(image: np.ndarray) -> np.ndarray:
    """The 8-bit gray of equal luminance (IEC 61966-2-1)."""
    value = image / 255.0
    linear = np.where(value > 0.04045, ((value + 0.055) / 1.055) ** 2.4, value / 12.92)
    y = linear @ [0.212671, 0.715160, 0.072169]
    return 255 * np.where(y > 0.0031308, 1.055 * y ** (1 / 2.4) - 0.055, 12.92 * y)


@pytest.mark.proof
def test_pixels_depend_on_picture_and_seed_only(folder, tmp_path, small_release) -> None:
    """Alone or in a batch: the programs of one picture and of a full batch round differently."""
    run(folder, "--output", tmp_path / "all", model=small_release)
    for i, name in enumerate(["0.png", "deep/2.png"]):
        alone = tmp_path / f"alone{i}.png"
        run(folder / name, "--output", alone, model=small_release)
        among = read(tmp_path / "all" / name).astype(int)
        assert np.abs(read(alone).astype(int) - among).max() <= 1
        like = ["--like", tmp_path / "all" / name, "--output", tmp_path / "like.png"]
        run(folder / name, *like, model=small_release)
        assert (tmp_path / "like.png").read_bytes() == (tmp_path / "all" / name).read_bytes()
    run(folder / "0.png", "--output", tmp_path / "seed.png", "--seed", 1, model=small_release)
    assert (read(tmp_path / "seed.png") != read(tmp_path / "all/0.png")).any()
    run(folder / "0.png", "--output", tmp_path / "p.png", "--prompt", "red", model=small_release)
    assert (read(tmp_path / "p.png") != read(tmp_path / "all/0.png")).any()


@pytest.mark.proof
def test_temperature_zero_leaves_no_choice_to_the_seed(folder, tmp_path, small_release) -> None:
    for seed in (0, 1):
        arguments = [folder / "0.png", "--temperature", 0, "--seed", seed]
        assert run(*arguments, "--output", tmp_path / f"{seed}.png", model=small_release) == 0
    np.testing.assert_array_equal(read(tmp_path / "0.png"), read(tmp_path / "1.png"))


@pytest.mark.proof
def test_a_new_size_never_compiles_again(colorizer: Colorizer) -> None:
    ids = colorizer.tokenize(["a car"])
    sizes = colorizer.buckets[1:3]  # each of them compiles for as long as this test may take
    for height, width in sizes:
        for _ in range(2):
            gray = np.full((1, height, width), 50, np.float32)
            colorizer(Pictures(gray, ids, 0))
    for count in range(1, colorizer.batch_size + 1):
        height, width = sizes[0]
        picture = np.full((count, height, width), 20 + count, np.float32)
        colorizer(Pictures(picture, np.repeat(ids, count, 0), count))
    # Beside the single pictures' programs one for the full batch of the bucket that had one.
    assert colorizer.compilations == len(sizes) + 1


def test_weights_lie_on_the_device(colorizer: Colorizer) -> None:
    """A program given NumPy's arrays would fetch them from the host for every batch."""
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(colorizer.params))


def test_a_batch_is_one_picture_or_full() -> None:
    sizes = [batching.size(count, 1, 4) for count in (1, 2, 3, 4)]
    assert sizes == [1, 4, 4, 4]
    assert [batching.size(count, 8, 32) for count in (1, 8, 9, 32)] == [8, 8, 32, 32]
    with pytest.raises(ValueError, match="5 pictures for batches of 4"):
        batching.size(5, 1, 4)


@pytest.mark.parametrize(("size", "multiple"), [(32, 8), (256, 64), (512, 64)])
def test_buckets_are_few_valid_and_of_one_area(size: int, multiple: int) -> None:
    sizes = buckets(size, multiple)
    assert len(sizes) == 5 and (size, size) in sizes
    for height, width in sizes:
        assert height % multiple == width % multiple == 0
        assert 0.75 <= height * width / size**2 <= 1.25
    assert bucket_for(100, 100, sizes) == (size, size)
    tall, wide = bucket_for(400, 100, sizes), bucket_for(100, 400, sizes)
    assert tall == wide[::-1] and wide[1] > wide[0]


def test_noise_is_of_the_seed_alone(colorizer: Colorizer) -> None:
    """Whatever a picture shows and wherever it stands; so a retouched copy hardly differs."""
    light = np.linspace(10, 90, 1024, dtype=np.float32).reshape(1, 32, 32)
    batch = np.repeat(light, 3, axis=0)
    batch[1, 5, 5] += 0.4
    batch[2] = 100 - batch[2]
    ids = colorizer.tokenize(["a car"] * 3)
    first, retouched, _ = colorizer(Pictures(batch, ids, 7))
    _, last = colorizer(Pictures(batch[[2, 0]], ids[:2], np.array([7, 7], np.uint32)))
    np.testing.assert_array_equal(first, last)
    another = colorizer(Pictures(light, ids[:1], 8))[0]
    assert np.abs(retouched - first).mean() < 0.02 * np.abs(another - first).mean()
    two = colorizer(Pictures(batch[[0, 0]], ids[:2], np.array([7, 8], np.uint32)))
    # A single picture is another program's than a batch, which rounds differently.
    np.testing.assert_allclose(two, [first, another], atol=1e-5)


def bad_files(folder: Path) -> dict[str, Path]:
    (folder / "text.jpg").write_text("not a picture")
    (folder / "empty.png").write_bytes(b"")
    (folder / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(30))
    return {name: folder / name for name in ("text.jpg", "empty.png", "cut.png")}


@pytest.mark.parametrize("name", ["text.jpg", "empty.png", "cut.png"])
def test_a_bad_picture_is_one_sentence(name, tmp_path, small_release, capsys) -> None:
    path = bad_files(tmp_path)[name]
    assert run(path, "--output", tmp_path / "out", model=small_release) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert sum(name in line for line in lines) == 1 and "Traceback" not in "".join(lines)
    (left,) = (tmp_path / "out").glob("*")
    (row,) = map(json.loads, left.read_text().splitlines())
    assert left.name == "skipped.jsonl" and row["file"] == str(path) and name in row["error"]


def test_bad_pictures_do_not_stop_the_rest(folder, tmp_path, small_release, capsys) -> None:
    bad = bad_files(folder)
    assert run(folder, "--output", tmp_path / "out", model=small_release) == 1
    assert len(list((tmp_path / "out").rglob("*.png"))) == len(SIZES)
    error = capsys.readouterr().err
    assert all(name in error for name in bad) and "5 coloured, 3 skipped" in error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.png"], "missing.png"),
        (["PHOTO", "--model", "nowhere"], "nowhere"),
        (["PHOTO", "--num_steps", "0"], "num_steps is 0"),
        (["PHOTO", "--num_steps", "3", "--spacing", "released"], "num_steps is 3"),
        (["PHOTO", "--seed", "-1"], "seed is -1"),
        (["PHOTO", "--batch_size", "0"], "batch_size is 0"),
        (["PHOTO", "--guidance_scale", "nan"], "guidance_scale is nan"),
        (["PHOTO", "--temperature", "inf"], "temperature is inf"),
        (["PHOTO", "--prompt", "red\udcff"], "no text"),
    ],
)
def test_mistakes_are_told(arguments, words, folder, tmp_path, small_release) -> None:
    given = [str(folder / "0.png") if a == "PHOTO" else a for a in arguments]
    if "--model" not in given:
        given += ["--model", str(small_release)]
    with pytest.raises(UserError, match=words):
        colorize.main(given + ["--output", str(tmp_path / "out")])


def test_words_beyond_the_text_encoder_are_named(folder, tmp_path, small_release, capsys) -> None:
    prompt = " ".join(["red"] * 40) + " elephant"
    out = tmp_path / "x.png"
    assert run(folder / "0.png", "--output", out, "--prompt", prompt, model=small_release) == 0
    assert "elephant" in capsys.readouterr().err


@pytest.fixture
def halves(folder, tmp_path) -> Path:
    """A mask of the left and one of the right half, for every picture of the folder."""
    mask = np.zeros((20, 20), np.uint8)
    mask[:, :10], mask[:, 10:] = 1, 2
    path = tmp_path / "halves.png"
    Image.fromarray(mask).save(path)
    return path


@pytest.mark.proof
def test_masks_change_the_picture_and_none_compiles_anew(
    folder, halves, tmp_path, small_release
) -> None:
    picture, prompt = folder / "0.png", ["--prompt", "the red car, the blue truck"]
    outputs = {}
    for name, more in {
        "without": [],
        "given": ["--masks", halves],
        "weak": ["--masks", halves, "--refine_step_size", 0],
        "attention": ["--masks", "attention"],
    }.items():
        target = tmp_path / f"{name}.png"
        assert run(picture, *prompt, *more, "--output", target, model=small_release) == 0
        outputs[name] = read(target).astype(int)
    assert np.abs(outputs["given"] - outputs["without"]).max() > 1
    assert np.abs(outputs["weak"] - outputs["without"]).max() <= 1
    assert np.abs(outputs["attention"] - outputs["without"]).max() > 1


def test_levels_stand_in_a_row(folder, tmp_path, small_release) -> None:
    target = tmp_path / "levels.png"
    command = ["--prompt", "a red car", "--levels", "--output", target]
    assert run(folder / "4.png", *command, model=small_release) == 0
    row = read(target)
    assert row.shape == (200, 4 * 210, 3)
    gray = read(folder / "4.png")
    assert np.abs(row[:, :210].astype(int) - gray).max() <= 1
    plain = tmp_path / "plain.png"
    assert run(folder / "4.png", "--prompt", "a car", "--output", plain, model=small_release) == 0
    np.testing.assert_array_equal(row[:, 420:630], read(plain))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--levels"], "give --prompt"),
        (["--masks", "attention"], "give --prompt"),
        (["--masks", "nowhere", "--prompt", "a red car"], "'nowhere' do not exist"),
        (["--masks", "attention", "--levels", "--prompt", "a red car"], "do not go together"),
        (["--masks", "halves", "--prompt", "a cup, a plate, a spoon"], "labels 1, 2"),
    ],
)
def test_mistakes_about_prompts_are_told(
    folder, halves, tmp_path, small_release, capsys, arguments, message
) -> None:
    arguments = [halves if a == "halves" else a for a in arguments]
    command = [folder / "0.png", "--output", tmp_path / "out.png", *arguments]
    try:
        assert run(*command, model=small_release) == 1
        assert message in capsys.readouterr().err
    except UserError as error:
        assert message in str(error)


def test_a_tinted_scan_is_read_as_gray(tmp_path) -> None:
    """Only lightness enters, whatever the tint."""
    rng = np.random.default_rng(3)
    coarse = Image.fromarray(rng.uniform(90, 150, (4, 4)).astype(np.uint8))
    gray = (
        np.asarray(coarse.resize((40, 40), Image.Resampling.BICUBIC), np.float32)[..., None] / 255
    )
    lab = color.srgb_to_lab(np.repeat(gray, 3, axis=-1))
    sepia = color.lab_to_srgb(lab + np.array([0.0, 4.0, 9.0], np.float32))
    for name, picture in {"gray": np.repeat(gray, 3, axis=-1), "sepia": sepia}.items():
        Image.fromarray(np.round(picture * 255).astype(np.uint8)).save(tmp_path / f"{name}.png")
    gray_job, sepia_job = (
        jobs.prepare(
            jobs.Request(tmp_path / f"{name}.png", "a red car"), [(32, 32)], painters.Colouring()
        )
        for name in ("gray", "sepia")
    )
    assert np.abs(read(tmp_path / "gray.png") - read(tmp_path / "sepia.png").astype(int)).max() > 10
    assert np.abs(gray_job.small - sepia_job.small).max() < 0.3  # of 100: rounding to bytes
