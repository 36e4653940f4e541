"""The page in a real browser: what its tests have in common."""

import os
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium")
# Where pictures of the page are kept for people to look at.
SCREENSHOTS = os.environ.get("COLORJAX_SCREENSHOTS")

PROOFS = [
    pytest.mark.proof,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium"),
]


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
