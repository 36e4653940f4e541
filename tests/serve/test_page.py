"""The page in a real browser, at two widths, against a service of its own."""

import io
import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

import colorjax
from tests.serve.conftest import opened, png
from tests.serve.test_command import serving

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium")
# Where pictures of the page are kept for people to look at.
SCREENSHOTS = os.environ.get("COLORJAX_SCREENSHOTS")

pytestmark = [
    pytest.mark.proof,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium"),
]


@pytest.fixture(scope="module")
def model(small_release) -> str:
    return os.environ.get("COLORJAX_PAGE_MODEL", str(small_release))


@pytest.fixture(scope="module")
def address(model) -> Iterator[str]:
    with serving(model) as (_, address):
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        # Chromium asks for a sandbox that root has not.
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def counted(address: str, name: str) -> float:
    lines = httpx.get(f"{address}/metrics", trust_env=False).text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(name + " "))


def batches(address: str) -> float:
    return counted(address, "colorjax_batch_seconds_count")


# Browsers do not tell what is in a form of files, so the page is made to keep what it sends.
KEEP = """
const send = window.fetch;
window.sent = [];
window.fetch = async (path, options) => {
  if (options?.body instanceof FormData) {
    for (const [name, value] of options.body) {
      if (!(value instanceof Blob)) continue;
      const bytes = Array.from(new Uint8Array(await value.arrayBuffer()));
      window.sent.push([name, bytes]);
    }
  }
  return send(path, options);
};
"""


def drag(page: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Paints a line on the canvas, from and to fractions of it."""
    page.locator("#canvas").scroll_into_view_if_needed()
    box = page.locator("#canvas").bounding_box()
    page.mouse.move(box["x"] + start[0] * box["width"], box["y"] + start[1] * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + end[0] * box["width"], box["y"] + end[1] * box["height"], steps=4)
    page.mouse.up()


def kept(page: Any, name: str) -> None:
    if SCREENSHOTS:
        page.screenshot(path=Path(SCREENSHOTS, f"{name}.png"), full_page=True)


def until(page: Any, condition: str) -> None:
    """Waits for a condition; the browser's own way would need what the page's policy forbids."""
    for _ in range(600):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(100)
    raise AssertionError(condition)


@pytest.mark.parametrize("width", [1280, 390])
def test_a_photograph_is_coloured_compared_adjusted_and_saved(
    width, browser, address, model, tmp_path
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 850})
    mistakes: list[str] = []
    asked: list[str] = []
    page.on("console", lambda said: mistakes.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: mistakes.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing sticks out"
    page.set_input_files("#photo", ROOT / "examples" / "car.png")
    page.fill("#prompt", "a red car")
    page.click("#more summary")
    page.fill("#seed", "3")
    page.click("#start")
    page.wait_for_selector("#result:not([hidden])", timeout=240_000)
    until(page, "document.querySelector('#after').naturalWidth > 0")
    kept(page, f"coloured-{width}")
    with page.expect_download() as download:
        page.click("#download")
    photo = ROOT / "examples" / "car.png"
    ours = colorjax.load(model)(photo, "a red car", seed=3)
    ours.save(tmp_path / "ours.png")
    theirs = Path(download.value.path()).read_bytes()
    assert theirs == (tmp_path / "ours.png").read_bytes()
    before = batches(address)
    page.locator("#slider").fill("80")
    assert "20%" in page.evaluate("document.querySelector('#before').style.clipPath")
    shown = page.get_attribute("#after", "src")
    page.locator("#vividness").fill("1.5")
    until(page, f"document.querySelector('#after').src != '{shown}'")
    with page.expect_download() as download:
        page.click("#download")
    ours.adjusted(1.5, (0.0, 0.0)).save(tmp_path / "vivid.png")
    theirs = Path(download.value.path()).read_bytes()
    assert (opened(theirs) == opened((tmp_path / "vivid.png").read_bytes())).all()
    assert batches(address) == before, "nothing was sampled for another vividness"
    kept(page, f"adjusted-{width}")
    page.close()
    assert not mistakes, mistakes
    assert all(url.startswith((address, "blob:")) for url in asked), "nobody else is asked"


def test_strokes_masks_and_variations_are_those_that_were_painted(
    browser, address, model, tmp_path
) -> None:
    """What the page sends is given to the library, whose result the download is."""
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.add_init_script(KEEP)
    page.goto(address)
    photograph = ROOT / "examples" / "car.png"
    page.set_input_files("#photo", photograph)
    page.fill("#prompt", "the red car, the gray road")
    page.press("#prompt", "Tab")
    until(page, "document.querySelector('#layer').options.length === 3")
    page.fill("#count", "2")
    page.click("#steer summary")
    page.fill("#ink", "#20a040")
    drag(page, (0.1, 0.1), (0.9, 0.1))
    drag(page, (0.1, 0.2), (0.9, 0.2))
    page.click("#undo")
    for layer, height in (("the red car", 0.5), ("the gray road", 0.9)):
        page.select_option("#layer", layer)
        page.locator("#size").fill("20")
        drag(page, (0.2, height), (0.8, height))
    kept(page, "painting")
    page.click("#start")
    page.wait_for_selector("#result:not([hidden])", timeout=240_000)
    sent = [(name, bytes(data)) for name, data in page.evaluate("window.sent")]
    assert [name for name, _ in sent] == ["photo", "strokes", "layers", "layers"]
    strokes = Image.open(io.BytesIO(sent[1][1]))
    painted = np.asarray(strokes)[..., 3] == 255  # edges are soft
    rows = np.flatnonzero(painted.any(1)) / len(painted)
    assert rows.min() > 0.05 and rows.max() < 0.15, "the second stroke was taken back"
    assert (np.asarray(strokes)[painted][:, :3] == (0x20, 0xA0, 0x40)).all()
    layers = [np.asarray(Image.open(io.BytesIO(data)))[..., 3] for _, data in sent[2:]]
    masks = np.stack(layers) / np.float32(255.0)
    ours = colorjax.load(model).variations(
        photograph, 2, "the red car, the gray road", masks=masks, hints=strokes
    )
    page.locator("#choices button").nth(1).click()
    until(
        page, "document.querySelectorAll('#choices [aria-pressed=true]')[0]?.innerText == 'Seed 1'"
    )
    page.wait_for_timeout(1000)
    with page.expect_download() as download:
        page.click("#download")
    ours[1].save(tmp_path / "ours.png")
    theirs = opened(Path(download.value.path()).read_bytes())
    assert (theirs == opened((tmp_path / "ours.png").read_bytes())).all()
    before = batches(address)
    page.click("#doubtful")
    until(page, "document.querySelector('#doubt').naturalWidth > 0")
    page.select_option("#layer", "")
    page.click("#dropper")
    page.locator("#canvas").scroll_into_view_if_needed()
    box = page.locator("#canvas").bounding_box()
    page.mouse.click(box["x"] + 0.503 * box["width"], box["y"] + 0.503 * box["height"])
    height, width = theirs.shape[:2]
    picked = "#" + "".join(f"{value:02x}" for value in theirs[height // 2, width // 2])
    assert page.input_value("#ink") == picked, "the eyedropper takes the coloured picture's"
    assert batches(address) == before
    kept(page, "doubt")
    page.close()


def test_several_photographs_become_a_zip_and_the_browser_remembers(
    browser, address, model, tmp_path
) -> None:
    for number in (1, 2):
        (tmp_path / f"{number}.png").write_bytes(png(number))
    (tmp_path / "3.png").write_text("no picture")
    page = browser.new_page(viewport={"width": 390, "height": 850})
    page.goto(address)
    page.set_input_files("#photo", [tmp_path / f"{number}.png" for number in (1, 2, 3)])
    page.fill("#prompt", "a red car")
    page.click("#start")
    page.wait_for_selector("#zip:not([hidden])", timeout=240_000)
    said = page.inner_text("#status")
    assert "2 of 3 photographs are coloured" in said and "3.png: the photograph" in said
    with page.expect_download() as download:
        page.click("#zip")
    with zipfile.ZipFile(download.value.path()) as packed:
        assert packed.testzip() is None and packed.namelist() == ["1.png", "2.png"]
        ours = colorjax.load(model)(tmp_path / "2.png", "a red car")
        assert np.abs(opened(packed.read("2.png")).astype(int) - np.asarray(ours.image)).max() <= 1
    page.set_input_files("#photo", tmp_path / "1.png")
    page.click("#start")
    page.wait_for_selector("#history:not([hidden])", timeout=240_000)
    page.reload()
    page.wait_for_selector("#history:not([hidden])")
    page.click("#earlier button")
    until(page, "document.querySelector('#after').naturalWidth === 44")
    assert page.input_value("#prompt") == "a red car" and not page.is_visible("#vividness")
    kept(page, "earlier")
    page.click("#forget")
    until(page, "document.querySelector('#history').hidden")
    page.close()


def test_a_run_is_shown_by_step_and_cancelled_in_the_middle(browser, model) -> None:
    """Two pieces after it was cancelled, at most, the service computes nothing more."""
    with serving(model, "--method=lcad", "--num_steps=900", "--spacing=even") as (_, address):
        page = browser.new_page(viewport={"width": 1280, "height": 850})
        page.goto(address)
        page.click("#sample")
        until(page, "!document.querySelector('#start').disabled")
        page.click("#start")
        page.wait_for_selector("#preview:not([hidden])", timeout=240_000)
        until(page, "/step [1-9]\\d* of 900/.test(document.querySelector('#status').textContent)")
        kept(page, "progress")
        page.click("#cancel")
        until(page, "document.querySelector('#status').textContent === 'Cancelled.'")
        before = counted(address, "colorjax_piece_pictures_total")
        page.wait_for_timeout(2000)
        after = counted(address, "colorjax_piece_pictures_total")
        assert after - before <= 2 and after < 900 / 5
        assert counted(address, "colorjax_cancelled_pictures_total") == 1
        assert page.is_enabled("#start") and not page.is_visible("#preview")
        page.close()


CONTRAST = """() => {
  const shade = (text) => {
    const numbers = text.match(/[\\d.]+/g).map(Number);
    const linear = numbers.slice(0, 3).map((v) => v / 255)
      .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    const alpha = numbers[3] ?? 1;
    return [0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2], alpha];
  };
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const [light, alpha] = shade(getComputedStyle(one).backgroundColor);
      if (alpha === 1) return light;
    }
    return 1;
  };
  const low = [];
  for (const element of document.querySelectorAll("body *")) {
    const says = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if ((!says && !element.placeholder) || element.disabled || !element.checkVisibility()) continue;
    for (const pseudo of says ? [null] : ["::placeholder"]) {
      const [front] = shade(getComputedStyle(element, pseudo).color);
      const back = behind(element);
      const ratio = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
      if (ratio < 4.5) low.push([element.tagName, element.id, ratio]);
    }
  }
  return low;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_can_be_read_and_has_a_name(scheme, browser, address) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 850}, color_scheme=scheme)
    page.goto(address)
    until(page, "document.querySelector('#method').options.length > 0")
    for details in ("#more", "#steer"):
        page.click(f"{details} summary")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.evaluate("document.querySelectorAll('[hidden]').forEach((e) => { e.hidden = false; })")
    assert page.evaluate(CONTRAST) == []
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("input, select, button, canvas, progress, a, img")]
        .filter((e) => !(e.labels?.length || e.ariaLabel || e.textContent.trim() || e.alt))
        .map((e) => e.id || e.outerHTML)"""
    )
    assert nameless == [], "every field has a name for those who cannot see it"
    kept(page, f"all-{scheme}")
    page.close()


def test_a_mistake_is_told_and_the_page_goes_on(browser, address, tmp_path) -> None:
    (tmp_path / "text.png").write_text("not a picture")
    page = browser.new_page()
    page.goto(address)
    page.set_input_files("#photo", tmp_path / "text.png")
    page.click("#start")
    until(page, "document.querySelector('#status').textContent.includes('not a picture')")
    assert page.is_enabled("#start") and not page.is_visible("#cancel")
    page.close()
