"""Several photographs on the page, a dropped folder, their zip, and what the browser keeps."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import colorjax
from tests.serve.browsing import PROOFS, kept, until
from tests.serve.conftest import opened, png

pytestmark = PROOFS


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


def drop(page: Any, *paths: Path) -> None:
    """Lets files or folders of this machine go over the page, as a file manager does."""
    box = page.locator("#drop").bounding_box()
    at = {"x": box["x"] + box["width"] / 2, "y": box["y"] + 10}
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    browser = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        browser.send("Input.dispatchDragEvent", {"type": kind, **at, "data": data})
    browser.detach()


def test_a_dropped_folder_becomes_a_zip_with_its_folders(browser, address, model, tmp_path) -> None:
    """Chromium itself reads the folder; what is no photograph is passed over."""
    folder = tmp_path / "album"
    for number, place in enumerate(("1.png", "1.jpg", "old/farm/2.png", "old/2.png"), 1):
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.open(io.BytesIO(png(number))).save(path, quality=95)
    (folder / "old" / "notes.txt").write_text("no picture")
    (folder / "empty").mkdir()
    page = browser.new_page(viewport={"width": 1280, "height": 850})
    page.goto(address)
    drop(page, folder / "empty")
    until(page, "document.querySelector('#status').textContent.includes('no photograph')")
    assert not page.is_enabled("#start")
    drop(page, folder)
    until(page, "document.querySelector('#name').textContent === '4 photographs'")
    assert not page.is_visible("#steer"), "what is painted would be for one of them"
    page.fill("#prompt", "a red car")
    page.fill("#seed", "7")
    page.click("#start")
    page.wait_for_selector("#zip:not([hidden])", timeout=240_000)
    assert page.inner_text("#status") == "4 of 4 photographs are coloured."
    kept(page, "folder")
    with page.expect_download() as download:
        page.click("#zip")
    names = ["album/1.png", "album/1-2.png", "album/old/2.png", "album/old/farm/2.png"]
    with zipfile.ZipFile(download.value.path()) as packed:
        assert packed.testzip() is None and packed.namelist() == names
        pictures = [opened(packed.read(name)).astype(int) for name in names]
    ours = colorjax.load(model)
    sources = ("1.jpg", "1.png", "old/2.png", "old/farm/2.png")
    for picture, source in zip(pictures, sources, strict=True):
        expected = np.asarray(ours(folder / source, "a red car", seed=7).image).astype(int)
        assert np.abs(picture - expected).max() <= 1, source
    page.set_input_files("#folder", folder / "old")
    until(page, "document.querySelector('#name').textContent === '2 photographs'")
    page.close()
