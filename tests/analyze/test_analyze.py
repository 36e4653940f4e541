"""The colour analysis: its fits against closed forms, its command on a small random model."""

import json

import numpy as np
import pytest
from PIL import Image

from colorjax.analyze import __main__ as analyze
from colorjax.analyze import fits, measures
from colorjax.errors import UserError


def test_a_straight_line_is_found() -> None:
    x = np.arange(11) / 5
    line = fits.straight_line(x, 3 * x - 1, 0.0, 1.0)
    assert line == {"slope": pytest.approx(3), "offset": pytest.approx(-1), "r2": pytest.approx(1)}
    # Of x^2 on 0, 1, 2: the line 2x - 1/3, residues 1/3, -2/3, 1/3, R^2 = 1 - (6/9) / (26/3).
    bent = fits.straight_line(
        np.array([0.0, 1.0, 2.0, 9.0]), np.array([0.0, 1.0, 4.0, 81.0]), 0.0, 2.0
    )
    assert bent["slope"] == pytest.approx(2) and bent["offset"] == pytest.approx(-1 / 3)
    assert bent["r2"] == pytest.approx(1 - (6 / 9) / (26 / 3))


def test_the_probe_finds_an_affine_map() -> None:
    rng = np.random.default_rng(0)
    latents = rng.normal(size=(20, 16, 4))
    weights, offset = rng.normal(size=(4, 3)), np.array([50.0, 1.0, -2.0])
    lab = latents @ weights + offset
    found = fits.probe(latents, lab)
    np.testing.assert_allclose(found["weights"], weights, atol=1e-9)
    np.testing.assert_allclose(found["offset"], offset, atol=1e-9)
    assert min(found["r2"].values()) == pytest.approx(1.0)
    expected = np.corrcoef(latents[..., 2].ravel(), lab[..., 1].ravel())[0, 1]
    assert found["correlation of channels with L, a, b"][2][1] == pytest.approx(expected)
    unrelated = fits.probe(latents, rng.normal(size=(20, 16, 3)))
    assert max(unrelated["r2"].values()) < 0.1


def test_hue_drift_is_the_angle_between_hues() -> None:
    """Chroma 20 turned by 30 degrees across 180, beside pixels without a hue."""
    angles = np.radians([170.0, 200.0])
    lab = np.stack([np.full(2, 50.0), 20 * np.cos(angles), 20 * np.sin(angles)], axis=-1)
    one, other = (np.tile(row, (1, 2, 2, 1)).astype(np.float32) for row in lab)
    other[0, 0] = [50.0, 0.1, 0.0]
    assert float(measures.hue_drift(one, other)[0]) == pytest.approx(30.0, abs=1e-3)
    assert float(measures.hue_drift(other * [1, 0, 0], one)[0]) == 0.0


@pytest.mark.proof
def test_the_command_writes_figure_and_json(small_release, cifar, tmp_path, capsys) -> None:
    command = ["--model", str(small_release), "--data", str(cifar), "--batch_size", "8"]
    assert analyze.main([*command, "--limit", "16", "--output", str(tmp_path / "a")]) == 0
    figures = json.loads((tmp_path / "a" / "analysis.json").read_text())
    assert figures["pictures"] == 16 and len(figures["scales"]) == 11
    assert figures["ratio to s = 1"]["chroma"][5] == 1.0
    # Scale 1 against itself, by two programs that may round differently.
    assert figures["hue drift in degrees"][5] == pytest.approx(0.0, abs=1e-5)
    assert all(np.isfinite(figures["luma PSNR"]))
    with Image.open(tmp_path / "a" / "analysis.png") as picture:
        assert picture.width > 800
    assert "linear probe" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--limit", "0"], "limit is 0"),
        (["--data", "nowhere"], "nowhere"),
        (["--batch_size", "300"], "batch_size of at most"),
    ],
)
def test_mistakes_are_told(more, words, small_release, cifar, tmp_path) -> None:
    command = ["--model", str(small_release), "--data", str(cifar), "--output", str(tmp_path)]
    with pytest.raises(UserError, match=words):
        analyze.main([*command, *more])
