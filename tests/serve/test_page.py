"""The page in a real browser, at two widths, against a service of its own."""

from pathlib import Path

import pytest

import colorjax
from tests.serve.browsing import PROOFS, ROOT, batches, counted, kept, until
from tests.serve.conftest import opened, serving

pytestmark = PROOFS


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
    until(page, "document.querySelector('#method').options.length == 2")  # the release's, and L-CAD
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
