"""The evaluation's reference rows against scikit-image, and its command."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from skimage import color as skcolor
from skimage.metrics import structural_similarity

from colorjax.colorize.colorizer import Colorizer
from colorjax.data import captions, colour_names, records, transforms
from colorjax.errors import UserError
from colorjax.evaluate import __main__ as evaluate
from colorjax.evaluate import flags, measuring, networks, painters, pictures, protocols, setting_up
from colorjax.evaluate.measuring import Measurement
from colorjax.evaluate.painters import ModelPainter
from colorjax.evaluate.pictures import Frame, Selection


@pytest.fixture(scope="module")
def truth(cifar) -> np.ndarray:
    source = records.open_split(cifar, "test")
    rows = source.__getitems__(list(range(64)))
    return np.stack([transforms.decode(records.Record.unpack(row).image) for row in rows]) / 255.0


def run(small_release, cifar, folder, *more) -> dict:
    command = ["--model", str(small_release), "--data", str(cifar), "--batch_size", "48"]
    path = folder / "figures.json"
    assert evaluate.main([*command, "--limit", "64", "--json", str(path), *more]) == 0
    rows = json.loads(path.read_text())["rows"]
    return {name.replace(str(small_release), "output"): row for name, row in rows.items()}


@pytest.fixture(scope="module")
def figures(small_release, cifar, tmp_path_factory) -> dict:
    return run(small_release, cifar, tmp_path_factory.mktemp("rows"), "--captions", "scarce")


def painted(truth: np.ndarray, ab: np.ndarray) -> np.ndarray:
    """scikit-image's own Lab; out-of-gamut colours are clipped there, which a gray never is."""
    lab = skcolor.rgb2lab(truth)
    lab[..., 1:] = ab
    return np.round(np.clip(skcolor.lab2rgb(lab), 0, 1) * 255) / 255


@pytest.mark.proof
def test_reference_rows(figures, truth) -> None:
    gray = painted(truth, np.zeros(2))
    row = figures["gray"]
    assert row["pictures"] == 64 and len(figures) == 7
    assert row["psnr_pooled"] == pytest.approx(
        -10 * np.log10(((gray - truth) ** 2).mean()), abs=0.02
    )
    each = [-10 * np.log10(max(((g - t) ** 2).mean(), 1e-6)) for g, t in zip(gray, truth)]
    assert row["psnr_per_image"] == pytest.approx(np.mean(each), abs=0.05)
    ssim = [
        structural_similarity(g, t, channel_axis=-1, data_range=1.0) for g, t in zip(gray, truth)
    ]
    assert row["ssim"] == pytest.approx(np.mean(ssim), abs=2e-3)
    assert row["colourfulness"] < 0.5
    assert figures["truth"]["ssim"] == pytest.approx(1.0)
    assert figures["truth"]["psnr_per_image"] == pytest.approx(60.0)
    assert 10 < figures["truth"]["colourfulness"] < 60
    chroma = np.linalg.norm(skcolor.rgb2lab(truth)[..., 1:], axis=-1)
    assert row["chroma_error"] == pytest.approx(chroma.mean(), abs=0.05)
    assert figures["truth"]["chroma_error"] == pytest.approx(0.0, abs=1e-4)
    assert figures["mean chroma of test"]["psnr_pooled"] > row["psnr_pooled"]


@pytest.mark.proof
def test_lightness_is_kept(figures) -> None:
    output = figures["output"]
    assert output["ssim"] > 0.5, "with the lightness kept, structure is the picture's"
    assert figures["output, raw decode"]["ssim"] < output["ssim"]


class Painter(Colorizer):
    """Paints every picture in the colour that its prompt names first, or in gray."""

    batch_size, image_size = 32, 32
    LABS = {None: (60.0, 0.0, 0.0), "red": (60.0, 20.0, 5.0), "blue": (60.0, -4.0, -30.0)}

    def __init__(self):
        pass

    @classmethod
    def colour(cls, text: str) -> str | None:
        return next((word for word in text.split() if word in cls.LABS), None)

    def tokenize(self, texts):
        colours = list(self.LABS)
        return np.array([[colours.index(self.colour(text))] for text in texts], np.int32)

    def __call__(self, pictures):
        labs = np.array([list(self.LABS.values())[i] for i in pictures.input_ids[:, 0]])
        rgb = skcolor.lab2rgb(labs[:, None, None]).astype(np.float32)
        return np.broadcast_to(rgb * 2 - 1, (*pictures.lightness.shape, 3))

    def reconstruct(self, image):
        return image, image


@pytest.mark.proof
@pytest.mark.parametrize("level", ["complete", "scarce"])
def test_the_captions_asked_for_are_what_colours(level, cifar, truth, monkeypatch) -> None:
    """Each picture in the colour that its own caption of that level names, by scikit-image."""
    # A weak colour, which exists at almost every lightness: scikit-image clips where we desaturate.
    weak = {name: (60.0, a / 4, b / 4) for name, (_, a, b) in Painter.LABS.items()}
    monkeypatch.setattr(Painter, "LABS", weak)
    rows = records.open_split(cifar, "test").__getitems__(list(range(64)))
    texts = [captions.fixed(records.Record.unpack(row).captions, level) for row in rows]
    colours = [Painter.colour(text) for text in texts]
    assert len(set(colours)) == (1 if level == "scarce" else 3)
    wanted = np.stack([painted(t, np.array(weak[c][1:])) for t, c in zip(truth, colours)])
    painter = ModelPainter("painter", Painter(), cifar)
    frame = Frame(32, 32, level, painters.no_tokens)
    measurement = Measurement(
        protocols.find("cifar10"), Selection(cifar, "test", 64), frame, [painter], networks.load()
    )
    row = measuring.measure(measurement).scores("painter")
    expected = -10 * np.log10(((wanted - truth) ** 2).mean())
    assert -10 * np.log10(row["mse"].mean()) == pytest.approx(expected, abs=0.02)


def test_an_automatic_prompt_takes_the_captions_place(cifar) -> None:
    """Each picture in the colour that its lightness is said to be of, whatever its caption says."""

    def caption(lightness: np.ndarray) -> str:
        return "a red car" if lightness.mean() > 50 else "a blue car"

    painter = ModelPainter("painter", Painter(), cifar, captioner=caption)
    batch = next(
        pictures.read(Selection(cifar, "test", 8), Frame(32, 8, "complete", painters.no_tokens))
    )
    light = [skcolor.rgb2lab(picture)[..., 0].mean() for picture in batch.truth]
    expected = [
        skcolor.lab2rgb([[Painter.LABS["red" if value > 50 else "blue"]]])[0, 0] for value in light
    ]
    got = painter.paint(batch, 0)
    np.testing.assert_allclose(got[:, 0, 0], np.array(expected) * 2 - 1, atol=1e-6)
    assert {bool(value > 50) for value in light} == {True, False}


def test_an_automatic_prompt_is_what_has_to_be_obeyed(cifar, monkeypatch) -> None:
    """Painted as told, whatever the set's captions ask for; the truth is held to those."""
    labs = {word: tuple(colour_names.prototype(word)) for word in ("red", "blue")}
    monkeypatch.setattr(Painter, "LABS", {None: (60.0, 0.0, 0.0)} | labs)
    told = ModelPainter("told", Painter(), cifar, captioner=lambda lightness: "a blue car")
    silent = ModelPainter("silent", Painter(), cifar, captioner=lambda lightness: "a car")
    frame = Frame(32, 32, "complete", painters.no_tokens)
    selection = Selection(cifar, "test", 32)
    measurement = Measurement(
        protocols.find("cifar10"), selection, frame, [told, silent], networks.load()
    )
    tally = measuring.measure(measurement)
    np.testing.assert_array_equal(tally.scores("told, raw decode")["obedience"], 1.0)
    assert np.isnan(tally.scores("silent")["obedience"]).all()
    assert np.nanmean(tally.scores("truth")["obedience"]) == 1.0


def test_swap_measures_along_the_two_colours(cifar, monkeypatch, capsys, tmp_path) -> None:
    monkeypatch.setattr(setting_up, "only_model", lambda args: Painter())
    # No lightness is put back, so that the painted colours are what is measured.
    monkeypatch.setattr(pictures, "shown", lambda raw, lightness: (raw + 1) / 2)
    command = ["--data", str(cifar), "--limit", "40", "--json", str(tmp_path / "f.json")]
    prompts = ["--swap", "a red car", "a blue car", "--labels", "automobile,truck"]
    evaluate.main([*command, *prompts])
    figures = json.loads((tmp_path / "f.json").read_text())
    axis = colour_names.prototype("red")[1:] - colour_names.prototype("blue")[1:]
    expected = np.array([24.0, 35.0]) @ axis / np.linalg.norm(axis)
    assert figures["pictures"] == 40
    assert figures["mean projection"] == pytest.approx(expected, abs=0.3)
    assert figures["share above 5"] == 1.0
    labelled = sum(
        records.Record.unpack(row).label in {"automobile", "truck"}
        for row in records.open_split(cifar, "test").__getitems__(list(range(256)))
    )
    evaluate.main([*command[:2], "--limit", "256", *command[4:], *prompts])
    assert json.loads((tmp_path / "f.json").read_text())["pictures"] == labelled


def test_obedience_counts_the_words_whose_colour_comes(cifar, monkeypatch, tmp_path) -> None:
    """The painter knows red and blue; its gray is nearest to teal, the palest prototype."""
    monkeypatch.setattr(setting_up, "only_model", lambda args: Painter())
    monkeypatch.setattr(pictures, "shown", lambda raw, lightness: (raw + 1) / 2)
    command = ["--data", str(cifar), "--limit", "20", "--json", str(tmp_path / "f.json")]
    evaluate.main([*command, "--obey", "a {} car", "--labels", "automobile,truck"])
    figures = json.loads((tmp_path / "f.json").read_text())
    assert figures.pop("pictures") == 20
    assert figures.pop("obedience") == pytest.approx(0.3)
    assert {word for word, share in figures.items() if share == 1.0} == {"red", "blue", "teal"}
    assert set(figures) == set(colour_names.CHROMATIC_COLOURS)


def test_a_prompt_has_the_article_of_its_colour() -> None:
    assert captions.with_article("a {} car", "orange") == "an orange car"
    assert captions.with_article("the {} car, a van", "orange") == "the orange car, a van"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--data", "nowhere"], "nowhere"),
        (["--split", "dev"], "dev"),
        (["--swap", "a car", "a blue car"], "a car"),
        (["--swap", "a red car", "a red bus"], "'red'"),
        (["--obey", "a red car"], "--obey='a red car' must hold {} once"),
        (["--obey", "a {} car", "--labels", "unicorn"], "has a label of \\['unicorn'\\]"),
        (["--obey", "a {} car", "--swap", "a red car", "a blue car"], "two measurements"),
        (["--model", "missing"], "missing"),
        (["--limit", "0"], "limit"),
        (["--masks", "attention", "--swap", "a red car", "a blue car"], "leave --masks and"),
        (["--prompt", "auto", "--swap", "a red car", "a blue car"], "and --prompt out"),
        (["--protocol", "folder", "--data", ""], "give them by --data"),
        (["--model", "bundled", "--model", "bundled"], "name of its own"),
        (["--outputs", "nowhere"], "is no folder"),
        (["--lpips", "nowhere"], "colorjax.fetch lpips_vgg16"),
        (["--fid", "nowhere"], "colorjax.fetch inception"),
        (["--save_statistics", "f.npz"], "give --fid too"),
    ],
)
def test_mistakes_are_told(more, words, small_release, cifar) -> None:
    command = ["--model", str(small_release), "--data", str(cifar), "--limit", "8"]
    with pytest.raises(UserError, match=words):
        evaluate.main([*command, "--batch_size", "8", *more])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_type_that_is_asked_for_is_computed_in(monkeypatch, dtype) -> None:
    loaded = []

    def load(*_, **named) -> Colorizer:
        loaded.append(named["dtype"])
        return object.__new__(Colorizer)

    monkeypatch.setattr(setting_up, "Colorizer", load)
    setting_up._model(flags.parse(["--dtype", dtype]), "bundled", 1)
    assert loaded == [dtype]


def test_a_batch_is_no_larger_than_what_is_measured(small_release, cifar, monkeypatch) -> None:
    sizes: list[Any] = []

    def loaded(directory: Path, method: Any, **settings: Any) -> Any:
        sizes.append(settings["batch_size"])
        return SimpleNamespace(image_size=32, batch_size=int(settings["batch_size"]))

    monkeypatch.setattr(setting_up, "Colorizer", loaded)
    command = ["--model", str(small_release), "--data", str(cifar)]
    for more, size in (("--limit=3", 3), ("--limit=3 --batch_size=8", 8), ("--limit=1000", 100)):
        args = flags.parse([*command, *more.split()])
        assert setting_up.measurement(args).frame.batch_size == size
    assert sizes == [3, "8", 100]
