"""Strokes and masks on the page, by mouse and by keys, against the library given what is sent."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import colorjax
from tests.serve.browsing import KEEP, PROOFS, ROOT, batches, drag, kept, until
from tests.serve.conftest import opened

pytestmark = PROOFS
# Red of the canvas' middle, where the brush is at first.
RING = """() => {
  const canvas = document.querySelector("#canvas");
  const side = Math.round(canvas.width / 8);
  const [left, top] = [canvas.width / 2 - side / 2, canvas.height / 2 - side / 2];
  const { data } = canvas.getContext("2d").getImageData(left, top, side, side);
  return Array.from(data).filter((_, place) => place % 4 === 0);
}"""


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


def tab_to(page: Any, selector: str) -> None:
    """Goes on by the tabulator alone until the focus is there."""
    for _ in range(60):
        if page.evaluate(f"document.activeElement.matches({selector!r})"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{selector} cannot be reached by keys")


def press(page: Any, *keys: str) -> str:
    """What is announced after keys."""
    for key in keys:
        page.keyboard.press(key)
    return page.inner_text("#brush")


def painted(data: bytes, start: tuple[float, float], end: tuple[float, float], size: float) -> None:
    """A picture is opaque along a line, within half its breadth, and nowhere else."""
    alpha = np.asarray(Image.open(io.BytesIO(data)))[..., 3]
    longer = max(alpha.shape)
    rows, columns = np.mgrid[: alpha.shape[0], : alpha.shape[1]] + 0.5
    place = np.stack([columns, rows], -1)
    first, last = (np.array(point) * alpha.shape[::-1] for point in (start, end))
    along = np.clip((place - first) @ (last - first) / ((last - first) ** 2).sum(), 0.0, 1.0)
    distance = np.linalg.norm(place - first - along[..., None] * (last - first), axis=-1)
    assert (alpha[distance < size * longer / 2 - 1] == 255).all()
    assert (alpha[distance > size * longer / 2 + 1] == 0).all(), "edges are soft for a pixel"


def test_strokes_and_masks_are_painted_by_keys_alone(browser, address, model, tmp_path) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 850})
    page.add_init_script(KEEP)
    page.goto(address)
    photograph = ROOT / "examples" / "car.png"
    page.set_input_files("#photo", photograph)
    tab_to(page, "#prompt")
    page.keyboard.type("the red car, the gray road")
    tab_to(page, "#steer summary")
    page.keyboard.press("Enter")
    until(page, "document.querySelector('#layer').options.length === 3")
    tab_to(page, "#canvas")
    canvas = page.get_by_role("application", name="The photograph to paint on", exact=True)
    assert canvas.get_attribute("id") == "canvas"
    assert "space bar begins" in page.inner_text(f"#{canvas.get_attribute('aria-describedby')}")
    assert page.get_attribute("#brush", "aria-live") == "polite"
    assert page.inner_text("#brush") == "The brush is up, 50 % across, 50 % down."
    ring = page.evaluate(RING)
    assert ring.count(255) > 20 and ring.count(0) > 20, "it is seen on light and on dark"
    said = press(page, *["ArrowLeft"] * 5, *["ArrowUp"] * 10)
    assert said == "The brush is up, 30 % across, 10 % down."
    page.keyboard.down(" ")
    page.keyboard.down(" ")  # held: the same press again
    assert page.inner_text("#brush") == ("A line begins. Painting #b03030, 30 % across, 10 % down.")
    page.keyboard.up(" ")
    said = press(page, *["ArrowRight"] * 10)
    assert said == "Painting #b03030, 70 % across, 10 % down."
    assert press(page, " ") == "The line ends. The brush is up, 70 % across, 10 % down."
    press(page, "ArrowDown", " ", *["ArrowDown"] * 3)
    assert press(page, "Escape").startswith("The line ends.")
    assert press(page, "Control+z").startswith("Taken back.")
    for name, keys in (("the red car", ["m"]), ("the gray road", ["m", "m"])):
        page.focus("#photo")
        tab_to(page, "#layer")
        page.keyboard.press("Home")
        press(page, *keys)
        assert page.input_value("#layer") == name
        tab_to(page, "#size")
        page.keyboard.press("End")
        tab_to(page, "#canvas")
        press(page, *["ArrowLeft"] * 30, *["ArrowDown"] * 8)
        press(page, *["Shift+ArrowRight"] * 40, " ", *["ArrowRight"] * 15)
        if name == "the red car":
            kept(page, "keys")
        press(page, "Tab")
        assert "The brush is up" in press(page, "Shift+Tab"), "leaving ends the line"
    tab_to(page, "#start")
    page.keyboard.press("Enter")
    page.wait_for_selector("#result:not([hidden])", timeout=240_000)
    sent = [(name, bytes(data)) for name, data in page.evaluate("window.sent")]
    assert [name for name, _ in sent] == ["photo", "strokes", "layers", "layers"]
    painted(sent[1][1], (0.3, 0.1), (0.7, 0.1), 0.02)
    painted(sent[2][1], (0.2, 0.58), (0.8, 0.58), 0.1)
    painted(sent[3][1], (0.2, 0.9), (0.8, 0.9), 0.1)
    strokes = Image.open(io.BytesIO(sent[1][1]))
    layers = [np.asarray(Image.open(io.BytesIO(data)))[..., 3] for _, data in sent[2:]]
    masks = np.stack(layers) / np.float32(255.0)
    ours = colorjax.load(model)(
        photograph, "the red car, the gray road", masks=masks, hints=strokes
    )
    tab_to(page, "#download")
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    ours.save(tmp_path / "ours.png")
    theirs = opened(Path(download.value.path()).read_bytes())
    assert (theirs == opened((tmp_path / "ours.png").read_bytes())).all()
    page.close()
