"""A release goes on learning from a folder of pictures, by one command."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from colorjax import release
from colorjax.configs import finetune as config_file
from colorjax.data import records, transforms
from colorjax.errors import UserError
from colorjax.methods import lcad, naming
from colorjax.prepare import zero_shot
from colorjax.train import finetune
from tests import small
from tests.test_documents import documented, run


def write_pictures(folder: Path, count: int, size: int = 48) -> Path:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(count):
        coarse = rng.integers(0, 256, (6, 6, 3)).astype(np.uint8)
        picture = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
        picture.save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def sure_release(tmp_path_factory) -> Path:
    """One with towers that share a space, sure of what they see."""
    directory = tmp_path_factory.mktemp("sure") / "release"
    small.write_cold_release(directory, distilled={"guidance_scale": 1.2})
    sizes = {k: v for k, v in release.read_config(directory).items() if k != "format"}
    sizes["cold_colorize"]["num_steps"] = "distilled"
    params = small.drawn(lambda key: naming.init(naming.build(sizes), key))
    params |= {"logit_scale": np.full((), 9.0, np.float32)}
    params.pop("text_model")
    sizes |= {"subjects": ["a car", "a dog"]}
    release.write(directory, sizes, {"image_encoder": params})
    return directory


def config_of(pictures: Path, init_from: Path | str, variant: str = ""):
    config = config_file.get_config(variant)
    config.pictures, config.init_from = str(pictures), str(init_from)
    return config


def test_pictures_without_captions_are_named_and_measured(sure_release, tmp_path, capsys) -> None:
    folder = write_pictures(tmp_path / "in", 10)
    config = config_of(folder, sure_release)
    finetune.begin(config, tmp_path / "run")
    data = tmp_path / "run" / "data"
    assert config.data.directory == str(data) and config.stages == ("latent",)
    assert config.model.image_size == 32 and config.model.unet.block_out_channels == (8, 16)
    assert config.model.cold_colorize.num_steps == finetune.WALK_STEPS
    assert config.evaluate_pictures == 2
    rows = [
        records.Record.unpack(r) for r in records.open_split(data, "train").__getitems__([0, 1])
    ]
    classify = zero_shot.load(sure_release.resolve())
    for row in rows:
        assert min(transforms.decode(row.image).shape[:2]) == 40  # 1.25 times the model's 32
        subject = classify(transforms.decode(row.image))
        assert row.captions["uncoloured"] == [subject] and subject in ("a car", "a dog")
        assert re.search(rf"{subject[2:]} on an? \w+ background", row.captions["complete"][0])
    assert "train: 8 pictures" in capsys.readouterr().out
    before = sorted(data.iterdir())
    finetune.begin(config_of(folder, sure_release), tmp_path / "run")  # they are not made again
    assert sorted(data.iterdir()) == before and "train:" not in capsys.readouterr().out
    (folder / "new.png").write_bytes((folder / "0.png").read_bytes())
    with pytest.raises(UserError, match="was begun with other pictures than those of"):
        finetune.begin(config_of(folder, sure_release), tmp_path / "run")


def test_captions_that_people_wrote_are_kept(sure_release, tmp_path) -> None:
    folder = write_pictures(tmp_path / "in", 4)
    lines = ["file_name,caption", *(f"{i}.png,a striped cat {i}" for i in range(4))]
    (folder / "captions.csv").write_text("\n".join(lines) + "\n")
    config = config_of(folder, sure_release, "method=diffusing_colors")
    finetune.begin(config, tmp_path / "run")
    assert config.stages == ("cold",) and config.method == "diffusing_colors"
    rows = records.open_split(config.data.directory, "train").__getitems__([0, 1, 2])
    said = [records.Record.unpack(row).captions for row in rows]
    assert all(list(one) == ["complete"] and "striped cat" in one["complete"][0] for one in said)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (dict(pictures=""), "pictures='' is no folder; give one of colour pictures"),
        (dict(init_from=""), "init_from is missing: give the release to go on with"),
        (dict(init_from="nothing_like_it"), "'nothing_like_it' is unknown"),
    ],
)
def test_mistakes_are_told_before_anything_begins(values, said, tmp_path) -> None:
    config = config_of(write_pictures(tmp_path / "in", 2), "bundled")
    config.update(values)
    with pytest.raises(UserError, match=said):
        finetune.begin(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_before_and_after_stand_side_by_side(tmp_path, capsys) -> None:
    """Each column of the second sheet comes after the same column of the first one."""
    config = config_of(tmp_path, "bundled")
    config.stages, config.evaluate_pictures = ("latent",), 2
    folder = tmp_path / "latent"
    (folder / "held_out").mkdir(parents=True)
    rows = [{"step": 0, "held_out/complete/psnr_pooled": 20.0}, {"step": 1, "loss": 1.0}]
    rows += [{"step": 9, "held_out/complete/psnr_pooled": 21.5}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for step, values in ((0, (10, 20, 30)), (9, (10, 20, 90))):
        pixels = np.repeat(np.array(values, np.uint8), 4)[None].repeat(5, axis=0)
        Image.fromarray(pixels).convert("RGB").save(folder / "held_out" / f"{step:07d}.png")
    finetune.finish(config, tmp_path)
    sheet = np.asarray(Image.open(tmp_path / "before_after.png"))
    np.testing.assert_array_equal(sheet[0, ::4, 0], [10, 20, 30, 90])
    assert re.search(r"complete/psnr_pooled +20.00 +21.50", capsys.readouterr().out)


@pytest.mark.proof
def test_the_page_is_walked_from_an_empty_folder(tmp_path) -> None:
    """Word for word but for the model, which is a small one, and the number of steps."""
    sizes = small.smallest().model.to_dict() | {"method": "lcad", "subjects": ["a car", "a dog"]}
    params = small.random_params(lcad.build(sizes))
    towers = small.drawn(lambda key: naming.init(naming.build(sizes), key))
    params["image_encoder"] = {k: v for k, v in towers.items() if k != "text_model"}
    release.write(tmp_path / "base", sizes, params, small.DATA / "tokenizer")
    write_pictures(tmp_path / "film", 6)
    train = documented("finetune.md", "train", "--config.pictures=film")
    steps = ["--config.latent.total_steps=1", "--config.evaluate_every=1"]
    train = [word.replace("=bundled", "=base") for word in train]
    said = run(tmp_path, "train", [*train, *steps])
    assert "1 held-out pictures, before and after 1 steps" in said
    made = tmp_path / "runs" / "finetune"
    assert (made / "before_after.png").is_file()
    assert "lora" in release.parts_in(made / "release")
    assert release.read_config(made / "release")["subjects"] == ["a car", "a dog"]
    again = run(tmp_path, "train", [*train, *steps])
    assert "finished before" in again and "before and after 1 steps" in again
    photo = tmp_path / "photo.jpg"
    Image.open(tmp_path / "film" / "0.png").convert("L").save(photo)
    colour = documented("finetune.md", "colorize", "--lora")
    run(tmp_path, "colorize", [word.replace("bundled", "base") for word in colour])
