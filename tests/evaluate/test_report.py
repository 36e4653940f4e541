"""A measurement of painters that need no model: its files, its page, and its study."""

import io
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from colorjax.errors import UserError
from colorjax.evaluate import (
    gallery,
    measuring,
    networks,
    painters,
    protocols,
    results,
    study,
    writing,
)
from colorjax.evaluate.measuring import Measurement
from colorjax.evaluate.painters import OutputsPainter
from colorjax.evaluate.pictures import Batch, Frame, Selection
from colorjax.maths import color
from tests.evaluate import browser

COUNT = 24


class Tinted(NamedTuple):
    """The gray picture with one tint, or near to the truth."""

    name: str
    tint: tuple[float, float, float]
    share: float  # of the truth

    def about(self) -> dict[str, Any]:
        return {"name": self.name}

    def paint(self, batch: Batch, seed: int) -> np.ndarray:
        gray = color.gray(color.lightness(batch.truth))
        mixed = self.share * batch.truth + (1 - self.share) * (gray + np.array(self.tint))
        return color.from_unit(np.clip(mixed, 0, 1).astype(np.float32))


GOOD, BAD = Tinted("good", (0.0, 0.0, 0.0), 0.7), Tinted("<bad> & red", (0.2, -0.1, -0.1), 0.0)


def measurement_of(cifar: Path, *everyone: painters.Painter) -> Measurement:
    selection = Selection(cifar, "test", COUNT)
    frame = Frame(32, COUNT, "complete", painters.no_tokens)
    protocol = protocols.find("cifar10")
    return Measurement(protocol, selection, frame, everyone, networks.load(), references=False)


@pytest.fixture(scope="module")
def measured(cifar: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple:
    measurement = measurement_of(cifar, GOOD, BAD)
    tally = measuring.measure(measurement)
    result = results.result(measurement, tally)
    folder = tmp_path_factory.mktemp("report")
    writing.folder(folder, measurement, tally, result)
    return measurement, tally, result, folder


@pytest.mark.proof
def test_the_files_say_what_the_table_says(measured: tuple) -> None:
    _, _, result, folder = measured
    figures = json.loads((folder / "figures.json").read_text())
    assert figures["rows"] == result.rows and set(figures["rows"]) == {
        *("good", "good, raw decode", "<bad> & red", "<bad> & red, raw decode", "truth")
    }
    low, high = figures["intervals_95"]["good"]["psnr_pooled"]
    assert low < figures["rows"]["good"]["psnr_pooled"] < high
    assert figures["list"]["pictures"] == COUNT and not figures["list"]["is_the_protocols"]
    assert figures["rows"]["truth"]["obedience"] == 1.0, "captions are measured from the truth"
    assert {one["measure"] for one in figures["comparisons"]} >= {"ssim", "ciede2000"}
    assert all(one["p_holm"] < 0.05 for one in figures["comparisons"] if one["measure"] == "ssim")
    grid = Image.open(folder / "grid.png")
    assert grid.size == (4 * 34 * 3, gallery.FIRST * 34 * 3)


def test_worst_and_best_are_the_ends_of_the_scores(measured: tuple) -> None:
    _, tally, _, _ = measured
    ends = {(one.painter, one.measure.name): one for one in gallery.extremes(tally, ["good"])}
    psnr = tally.scores("good")["psnr"]
    by_psnr = ends["good", "psnr_per_image"]
    assert by_psnr.worst == list(np.argsort(psnr, kind="stable")[:3])
    assert by_psnr.best[0] == psnr.argmax()
    assert ends["good", "ciede2000"].worst[0] == tally.scores("good")["ciede2000"].argmax()


def test_the_page_holds_everything_and_escapes_names(measured: tuple) -> None:
    _, _, result, folder = measured
    page = (folder / "report.html").read_text()
    assert not re.search(r"(src|href)=[\"'](?!data:|#)", page), "nothing beside it is fetched"
    assert "<bad>" not in page and "&lt;bad&gt; &amp; red" in page
    assert f"{result.rows['good']['psnr_pooled']:.2f}" in page
    assert page.count("<svg") == len(result.columns) + 1
    assert "24 pictures are not the protocol&#x27;s list of 10000" in page


def test_outputs_of_another_program_are_measured_alike(
    measured: tuple, cifar: Path, tmp_path: Path
) -> None:
    """Its own pictures from a folder: what is measured is 8-bit, so not a digit changes."""
    measurement, tally, _, _ = measured
    gallery.save_all(measurement, tmp_path)
    again = OutputsPainter("again", tmp_path / "good")
    own = measuring.measure(measurement_of(cifar, GOOD, again))
    for name, values in own.scores("again, raw decode").items():
        np.testing.assert_allclose(values, tally.scores("good")[name], rtol=1e-5, atol=1e-6)
    (tmp_path / "good" / "test-00003.png").unlink()
    with pytest.raises(UserError, match="no picture called test-00003"):
        measuring.measure(measurement_of(cifar, GOOD, again))
    (tmp_path / "good" / "test-00003.png").write_bytes(b"nothing")
    with pytest.raises(UserError, match="is no picture"):
        measuring.measure(measurement_of(cifar, GOOD, again))


def test_pictures_are_found_by_name_and_brought_to_size(tmp_path: Path) -> None:
    truth = np.full((32, 32, 3), (10, 200, 90), np.uint8)
    Image.fromarray(truth).resize((64, 48)).save(tmp_path / "one.png")
    batch = Batch(
        truth[None] / np.float32(255),
        np.zeros(1, np.uint32),
        np.zeros((1, 1), np.int32),
        [""],
        [None],
        ["one.jpg"],
    )
    raw = OutputsPainter("o", tmp_path).paint(batch, 0)
    np.testing.assert_allclose(color.to_unit(raw)[0] * 255, truth, atol=1e-3)


def drawn(measurement: Measurement, folder: Path, count: int) -> list[study.Pair]:
    pairs = study.draw(["good", "<bad> & red"], COUNT, count, seed=0)
    study.write(folder, pairs, gallery.show(measurement, sorted({pair.place for pair in pairs})))
    return pairs


def test_a_study_tells_raters_nothing(measured: tuple, tmp_path: Path) -> None:
    pairs = drawn(measured[0], tmp_path, 20)
    page = re.sub(r"base64,[\w+/=]+", "", (tmp_path / "study.html").read_text())
    assert "good" not in page and "bad" not in page
    assert 5 < sum(pair.left == "good" for pair in pairs) < 15, "sides are by chance"
    assert len({pair.place for pair in pairs}) == 20
    with pytest.raises(UserError, match="--pairs is 25"):
        study.draw(["a", "b"], COUNT, 25, 0)
    with pytest.raises(UserError, match="two models"):
        study.draw(["a"], COUNT, 2, 0)


def test_a_caption_ends_no_script(measured: tuple, tmp_path: Path) -> None:
    pairs = study.draw(["good", "<bad> & red"], COUNT, 3, seed=0)
    shown = gallery.show(measured[0], sorted({pair.place for pair in pairs}))
    caption = "a </script> cat <!-- <script> b"
    study.write(tmp_path, pairs, {k: one._replace(caption=caption) for k, one in shown.items()})
    content = (tmp_path / "study.html").read_text().split('id="study">')[1].split("</script>")[0]
    assert "<" not in content
    assert {row["caption"] for row in json.loads(content)["pairs"]} == {caption}


def answers_of(folder: Path, prefers: float, rng: np.random.Generator) -> dict:
    """A rater who takes "good" with a probability, in both questions."""
    key = json.loads((folder / "key.json").read_text())

    def side(pair: dict) -> str:
        wanted = "good" if rng.random() < prefers else "<bad> & red"
        return "left" if pair["left"] == wanted else "right"

    given = [{question: side(pair) for question in study.QUESTIONS} for pair in key["pairs"]]
    return {"study": key["study"], "answers": given}


def test_a_known_preference_is_recovered(measured: tuple, tmp_path: Path) -> None:
    """In as many of 40 verdicts as a 95 % interval should hold it, of 8 raters each."""
    drawn(measured[0], tmp_path, 20)
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{rater}.json" for rater in range(8)]
    hits = 0
    for _ in range(20):
        for path in paths:
            path.write_text(json.dumps(answers_of(tmp_path, 0.7, rng)))
        verdicts = study.results(tmp_path, paths)
        assert {verdict.question for verdict in verdicts} == set(study.QUESTIONS)
        for verdict in verdicts:
            assert (verdict.painter, verdict.of) == ("<bad> & red", 160)
            assert verdict.p < 0.05 and verdict.high - verdict.low < 0.16
            hits += verdict.low < 0.3 < verdict.high
    assert hits >= 34
    other = json.loads(paths[0].read_text()) | {"study": "another"}
    paths[0].write_text(json.dumps(other))
    with pytest.raises(UserError, match="answers another study"):
        study.results(tmp_path, paths)
    paths[0].write_text('{"study": "x", "answers": [{"real": "both"}]}')
    with pytest.raises(UserError, match="save the answers again"):
        study.results(tmp_path, paths)


@pytest.mark.proof
def test_the_report_in_a_browser(measured: tuple) -> None:
    """Its sliders move and change sides, and it never scrolls sideways."""
    page = measured[3] / "report.html"
    script = """
const slider = document.querySelector(".slider"), input = slider.querySelector("input");
const before = slider.children[0].className;
document.getElementById("left").value = "3";
document.getElementById("left").dispatchEvent(new Event("change"));
input.value = 20; input.dispatchEvent(new Event("input"));
const box = slider.getBoundingClientRect();
document.getElementById("seen").textContent = [before, slider.children[0].className,
  slider.style.getPropertyValue("--at"), box.width > 100 && box.width === box.height,
  getComputedStyle(slider.children[1]).backgroundImage.slice(0, 14)].join("; ");
"""
    seen = browser.after(page, script).replace("&quot;", '"')
    name = r"picture p\d+"
    assert re.fullmatch(rf'{name}-0; {name}-3; 20%; true; url\("data:imag', seen), seen
    for pixels in (390, 1280):
        assert browser.width(page, pixels) <= pixels


@pytest.mark.proof
def test_the_study_clicked_through(measured: tuple, tmp_path: Path) -> None:
    """A rater who always sees the left one obey and the right one real, and once goes back."""
    pairs = drawn(measured[0], tmp_path, 5)
    script = """
const click = name => document.querySelector(name).click();
for (let i = 0; i < study.pairs.length; i++) {
  if (!element("next").disabled) throw new Error("next before an answer");
  click('#question-obeys [data-side="right"]');
  click('#question-obeys [data-side="left"]');
  click('#question-real [data-side="right"]');
  click("#next");
  if (i === 1) { click("#back"); click("#next"); }
}
document.getElementById("seen").textContent = element("finished").hidden ? "not finished"
  : element("answers").value + (element("save").href.startsWith("blob:") ? "" : " no file");
"""
    seen = browser.after(tmp_path / study.PAGE, script).replace("&quot;", '"')
    (tmp_path / "answers.json").write_text(seen)
    verdicts = {v.question: v for v in study.results(tmp_path, [tmp_path / "answers.json"])}
    left = sum(pair.left == "<bad> & red" for pair in pairs)
    assert (verdicts["obeys"].votes, verdicts["real"].votes) == (left, 5 - left)
    for pixels in (390, 1280):
        assert browser.width(tmp_path / study.PAGE, pixels) <= pixels


def test_a_grid_is_a_png_of_all_versions() -> None:
    versions = {"gray": np.zeros((8, 8, 3)), "truth": np.ones((8, 8, 3))}
    picture = Image.open(io.BytesIO(gallery.grid([gallery.Shown("k", "c", versions)])))
    pixels = np.asarray(picture)
    assert pixels.shape == (10 * 12, 20 * 12, 3)
    assert pixels[0, 0].sum() == 0 and pixels[0, 11 * 12].sum() == 3 * 255
