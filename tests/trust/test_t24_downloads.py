"""T24: whatever happens on the way, a download is whole under its name, or not there."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from colorjax import hub as client
from colorjax.errors import UserError
from tests.fetch import loopback
from tests.fetch.test_faults import NAME, SMALL, WANTED, WEIGHTS, check_whole, refused
from tests.trust.conftest import Row

Hub = loopback.Hub


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return loopback.use_caches(tmp_path / "cache", monkeypatch)


@pytest.fixture
def hub(caches: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with one model: a large file and a small one."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    (folder / "config.json").write_bytes(SMALL)
    with loopback.serve() as running:
        loopback.ask(running, monkeypatch)
        running.add("owner/name", folder)
        yield running


def test_cuts(hub: Hub, caches: Path, row: Row) -> None:
    """Each cut in a download of its own, from the first byte to the last but one."""
    places = np.linspace(1, len(WEIGHTS) - 1, row.count(3, 20)).astype(int)
    for number, cut in enumerate(places):
        data = WEIGHTS + b"%d" % number
        hub.repositories["owner/name"]["model.safetensors"] = data
        hub.commits["owner/name"] = f"{number:040x}"
        hub.faults.cuts = [int(cut)]
        folder = client.snapshot(NAME, WANTED)
        assert (folder / "model.safetensors").read_bytes() == data and not hub.faults.cuts
    row.tell(f"cut at {len(places)} places: whole each time")


FAULTS = {
    "other bytes": {"damaged": {"model.safetensors": 1}},
    "404": {"refusals": {"model.safetensors": [(404, {})] * 5}},
    "500": {"refusals": {"revision/main": [(500, {})]}},
    "429": {"refusals": {"revision/main": [(429, {"Retry-After": "55"})]}},
    "a page of text": {"refusals": {"revision/main": [(200, {"Content-Type": "text/html"})]}},
    "an answer without end": {"endless": {"model.safetensors": {}}},
    "redirected to file://": {"redirects": {"model.safetensors": "file:///etc/passwd"}},
    "redirected to ftp://": {"redirects": {"model.safetensors": "ftp://127.0.0.1/a"}},
    "redirected to a closed port": {"redirects": {"model.safetensors": "http://127.0.0.1:9/a"}},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults(fault: str, hub: Hub, caches: Path, row: Row) -> None:
    for name, value in FAULTS[fault].items():
        setattr(hub.faults, name, value)
    refused(".", caches)
    hub.faults = loopback.Faults()
    check_whole(caches)
    row.tell(f"{fault}: refused, nothing half, whole when tried again")


def test_two_at_once(hub: Hub, caches: Path, row: Row) -> None:
    failures: list[UserError] = []

    def get() -> None:
        try:
            client.snapshot(NAME, WANTED)
        except UserError as error:
            failures.append(error)

    threads = [threading.Thread(target=get) for _ in range(row.count(2, 8))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    check_whole(caches)
    row.tell(f"{len(threads)} at once: whole")
