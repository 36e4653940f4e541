"""The evaluation's reference rows against scikit-image, and its command."""

import json

import numpy as np
import pytest
from skimage import color as skcolor
from skimage.metrics import structural_similarity

from colorjax import evaluate
from colorjax.colorize.colorizer import Colorizer
from colorjax.data import records, transforms
from colorjax.errors import UserError


@pytest.fixture(scope="module")
def truth(cifar) -> np.ndarray:
    source = records.open_split(cifar, "test")
    rows = source.__getitems__(list(range(64)))
    return np.stack([transforms.decode(records.Record.unpack(row).image) for row in rows]) / 255.0


def run(capsys, small_release, cifar, tmp_path, *more) -> dict:
    command = ["--model", str(small_release), "--data", str(cifar), "--batch_size", "48"]
    path = tmp_path / "figures.json"
    assert evaluate.main([*command, "--limit", "64", "--json", str(path), *more]) == 0
    capsys.readouterr()
    return json.loads(path.read_text())


def painted(truth: np.ndarray, ab: np.ndarray) -> np.ndarray:
    """scikit-image's own Lab; out-of-gamut colours are clipped there, which a gray never is."""
    lab = skcolor.rgb2lab(truth)
    lab[..., 1:] = ab
    return np.round(np.clip(skcolor.lab2rgb(lab), 0, 1) * 255) / 255


def test_reference_rows(capsys, small_release, cifar, tmp_path, truth) -> None:
    figures = run(capsys, small_release, cifar, tmp_path, "--captions", "scarce")
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
    assert figures["mean chroma of test"]["psnr_pooled"] > row["psnr_pooled"]


def test_lightness_is_kept_and_captions_matter(
    capsys, small_release, cifar, tmp_path, truth
) -> None:
    scarce = run(capsys, small_release, cifar, tmp_path, "--captions", "scarce")
    complete = run(capsys, small_release, cifar, tmp_path, "--captions", "complete")
    one = scarce["output (scarce captions)"]
    other = complete["output (complete captions)"]
    assert one["psnr_pooled"] != other["psnr_pooled"]
    assert one["ssim"] > 0.5, "with the lightness kept, structure is the picture's"


class Painter(Colorizer):
    """Paints every picture in the colour that the prompt names."""

    batch_size, image_size = 32, 32
    LABS = {"red": (60.0, 20.0, 5.0), "blue": (60.0, -4.0, -30.0)}

    def __init__(self):
        pass

    def tokenize(self, texts):
        return np.array([[int("blue" in text)] for text in texts], np.int32)

    def __call__(self, lightness, input_ids, fingerprints, seed, spans=None, masks=None):
        labs = np.array([self.LABS["blue" if i else "red"] for i in input_ids[:, 0]])
        rgb = skcolor.lab2rgb(labs[:, None, None]).astype(np.float32)
        return np.broadcast_to(rgb * 2 - 1, (*lightness.shape, 3))


def test_swap_measures_along_the_two_colours(cifar, monkeypatch, capsys, tmp_path) -> None:
    monkeypatch.setattr(evaluate.settings, "make_colorizer", lambda *args: Painter())
    monkeypatch.setattr(evaluate.release, "locate", lambda model: model)
    # No lightness is put back, so that the painted colours are what is measured.
    monkeypatch.setattr(evaluate, "shown", lambda raw, lightness: (raw + 1) / 2)
    command = ["--data", str(cifar), "--limit", "40", "--json", str(tmp_path / "f.json")]
    prompts = ["--swap", "a red car", "a blue car", "--labels", "automobile,truck"]
    evaluate.main([*command, *prompts])
    figures = json.loads((tmp_path / "f.json").read_text())
    axis = evaluate.colour_names.prototype("red")[1:] - evaluate.colour_names.prototype("blue")[1:]
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


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--data", "nowhere"], "nowhere"),
        (["--split", "dev"], "dev"),
        (["--swap", "a car", "a blue car"], "a car"),
        (["--swap", "a red car", "a red bus"], "'red'"),
        (["--model", "missing"], "missing"),
        (["--limit", "0"], "limit"),
    ],
)
def test_mistakes_are_told(more, words, small_release, cifar) -> None:
    command = ["--model", str(small_release), "--data", str(cifar), "--limit", "8"]
    with pytest.raises(UserError, match=words):
        evaluate.main([*command, "--batch_size", "8", *more])
