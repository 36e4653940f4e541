"""Chromium without a window: what a page is after its scripts have run, and how it looks."""

import shutil
import subprocess
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
WAIT = "--virtual-time-budget=5000"


def binary() -> str:
    """Chromium's program; a test is skipped where there is none."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    pytest.skip("there is no Chromium here")


def _run(page: Path, *more: str) -> str:
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", WAIT]
    profile = page.parent / "profile"
    command = [binary(), *flags, f"--user-data-dir={profile}", *more, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=180).stdout


def after(page: Path, script: str) -> str:
    """The text of `<output id="seen">` that a script appended to the page writes.

    An error of any script of the page is written there instead.
    """
    text = page.read_text()
    listen = (
        '<output id="seen"></output><script>window.addEventListener("error", event => {'
        'document.getElementById("seen").textContent = "error: " + event.message; });</script>'
    )
    text = text.replace("</h1>", f"</h1>{listen}", 1)
    acted = page.with_name(f"acted-{page.name}")
    acted.write_text(text.replace("</body>", f"<script>{script}</script></body>"))
    dom = _run(acted, "--dump-dom")
    return dom.split('<output id="seen">')[1].split("</output>")[0]


def width(page: Path, pixels: int) -> int:
    """How wide the page's content is in a window of so many pixels: more would scroll sideways."""
    frame = page.with_name(f"frame-{pixels}.html")
    style = f"width:{pixels}px;height:900px;border:0"
    body = f'<iframe id="page" src="{page.name}" style="{style}"></iframe>'
    script = (
        'const page = document.getElementById("page"); page.onload = () => {'
        'document.getElementById("seen").textContent ='
        " page.contentDocument.documentElement.scrollWidth; };"
    )
    frame.write_text(f'<output id="seen"></output>{body}<script>{script}</script>')
    dom = _run(frame, "--dump-dom", "--allow-file-access-from-files")
    return int(dom.split('<output id="seen">')[1].split("</output>")[0])
