"""The page in a real browser, at two widths, against a service of its own."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import colorjax
from tests.serve.conftest import opened
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


def batches(address: str) -> str:
    text = httpx.get(f"{address}/metrics", trust_env=False).text
    return next(
        line for line in text.splitlines() if line.startswith("colorjax_batch_seconds_count")
    )


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
    page.click("summary")
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


def test_a_mistake_is_told_and_the_page_goes_on(browser, address, tmp_path) -> None:
    (tmp_path / "text.png").write_text("not a picture")
    page = browser.new_page()
    page.goto(address)
    page.set_input_files("#photo", tmp_path / "text.png")
    page.click("#start")
    until(page, "document.querySelector('#status').textContent.includes('not a picture')")
    assert page.is_enabled("#start") and not page.is_visible("#cancel")
    labels = page.evaluate(
        "[...document.querySelectorAll('input')].filter(i => !i.labels.length).map(i => i.id)"
    )
    assert labels == [], "every field has a label for those who cannot see it"
    page.close()
