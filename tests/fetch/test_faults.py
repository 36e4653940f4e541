"""What goes wrong on the way: resumed, or refused with a sentence, and nothing half there."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import numpy as np
import pytest

from colorjax import hub as client
from colorjax import release
from colorjax.errors import UserError
from colorjax.fetch import cache, table
from tests.fetch import loopback
from tests.fetch.test_fetch import partial_files

WEIGHTS = np.random.default_rng(0).bytes(300_000)
SMALL = b'{"a": 1}'
CHUNK = 1000
NAME = client.parse("hub:owner/name")
WANTED = ("config.json", "model.safetensors")


@pytest.fixture
def one(hub: loopback.Hub, tmp_path: Path) -> loopback.Hub:
    """A hub with one model: a large file and a small one."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    (folder / "config.json").write_bytes(SMALL)
    hub.add("owner/name", folder)
    return hub


def check_whole(caches: Path) -> None:
    folder = client.snapshot(NAME, WANTED)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert (folder / "config.json").read_bytes() == SMALL
    assert not partial_files(caches)


def refused(match: str, caches: Path) -> None:
    with pytest.raises(UserError, match=match) as caught:
        client.snapshot(NAME, WANTED)
    assert "\n" not in str(caught.value)
    assert not partial_files(caches)
    assert not list(caches.rglob("snapshots/*/model.safetensors"))


@pytest.mark.parametrize(
    "cuts",
    [[1, 150_000, 299_999], pytest.param(range(7_000, 300_000, 14_650), marks=pytest.mark.proof)],
)
def test_a_cut_download_goes_on_where_it_was_cut(
    one: loopback.Hub, caches: Path, cuts: Sequence[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client keeps whole chunks, of 10 MB outside of this test."""
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", CHUNK)
    one.faults.cuts = list(cuts)
    check_whole(caches)
    ranges = [headers.get("range", "") for headers in one.asked("GET", "/model.safetensors")]
    kept = [cut - cut % CHUNK for cut in cuts]
    assert ranges == ["", *(f"bytes={start}-" if start else "" for start in kept)]


@pytest.mark.proof
def test_a_download_is_cut_at_each_of_twenty_places(one: loopback.Hub, caches: Path) -> None:
    """Every time anew, from the first byte to the last but one."""
    for number, cut in enumerate(np.linspace(1, len(WEIGHTS) - 1, 20).astype(int)):
        one.repositories["owner/name"]["config.json"] = b"%d" % number
        one.commits["owner/name"] = f"{number:040x}"
        one.repositories["owner/name"]["model.safetensors"] = WEIGHTS + b"%d" % number
        one.faults.cuts = [int(cut)]
        folder = client.snapshot(NAME, WANTED)
        assert (folder / "model.safetensors").read_bytes() == WEIGHTS + b"%d" % number
        assert not one.faults.cuts
    assert not partial_files(caches)


def test_a_file_of_other_bytes_is_refused_and_had_again(one: loopback.Hub, caches: Path) -> None:
    one.faults.damaged = {"model.safetensors": 1}
    refused("not what the hub says.*deleted: try again", caches)
    check_whole(caches)


def test_a_file_that_was_damaged_on_the_disk_is_told(one: loopback.Hub, caches: Path) -> None:
    folder = client.snapshot(NAME, WANTED)
    (folder / "config.json").resolve().write_bytes(b"{}")
    with pytest.raises(UserError, match=r"'config.json' of .* is not what the hub says"):
        client.snapshot(NAME, WANTED, offline=True)
    check_whole(caches)


def test_a_cache_without_links_is_checked_by_the_hubs_list(
    one: loopback.Hub, caches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_SYMLINKS", True)
    one.faults.damaged = {"model.safetensors": 1}
    refused("not what the hub says.*deleted: try again", caches)
    check_whole(caches)
    with pytest.raises(UserError, match="cannot be checked offline.*HF_HUB_DISABLE_SYMLINKS"):
        client.snapshot(NAME, WANTED, offline=True)


def test_what_is_not_there_is_named(one: loopback.Hub, caches: Path) -> None:
    with pytest.raises(UserError, match=r"has no model 'owner/other', or a private one"):
        client.snapshot(client.parse("hub:owner/other"), WANTED)
    with pytest.raises(UserError, match=r"'owner/name' at .* has no revision 'v2'"):
        client.snapshot(client.parse("hub:owner/name@v2"), WANTED)
    with pytest.raises(UserError, match=r"has no file 'unet.safetensors'"):
        client.snapshot(NAME, ("unet.safetensors",))
    for wrong in ("hub:name", "hub:owner/name/x", "hub:owner/name@", "hub:../name", "hub:a--b/c"):
        with pytest.raises(UserError, match="write hub:owner/name"):
            client.parse(wrong)
    with pytest.raises(UserError, match="could not be downloaded"):
        client.snapshot(client.Repository("../name"), WANTED)


def test_too_many_requests_are_waited_for_or_told(
    one: loopback.Hub, caches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    waiting = SimpleNamespace(sleep=slept.append)
    monkeypatch.setattr("huggingface_hub.utils._http.time", waiting)
    one.faults.refusals = {"api/models/owner/name/revision/main": [(429, {"Retry-After": "55"})]}
    refused("too many requests from here .429.: try again in 55 seconds", caches)
    again = [(429, {"Retry-After": "3"})]
    one.faults.refusals = {"/model.safetensors": [*again, *again]}
    check_whole(caches)
    assert slept and set(slept) == {4.0}


def test_a_hub_that_is_broken_or_away_is_told(
    one: loopback.Hub, caches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one.faults.refusals = {"revision/main": [(500, {})]}
    refused("answers 500 .*try again later", caches)
    one.faults.refusals = {"revision/main": [(200, {"Content-Type": "text/html"})]}
    refused("could not be downloaded", caches)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    refused("could not be downloaded from http://127.0.0.1:9 .*check the connection", caches)


def test_a_redirect_to_a_file_of_this_machine_is_refused(
    one: loopback.Hub, caches: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(WEIGHTS)
    one.faults.redirects = {"model.safetensors": f"file://{secret}"}
    refused("could not be downloaded", caches)


def test_another_host_gets_no_token(
    one: loopback.Hub, caches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    check_whole(caches)
    hosts = {path: "authorization" in headers for _, path, headers in one.log}
    assert [path for path, told in hosts.items() if not told] == [
        f"/{loopback.sha256(WEIGHTS)}/model.safetensors"
    ]


def test_a_proxy_is_asked_where_there_is_one(
    one: loopback.Hub, caches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub itself is taken for one: a host that is nowhere is asked for through it."""
    monkeypatch.setenv("HTTP_PROXY", one.url)
    monkeypatch.setenv("NO_PROXY", loopback.FILE_HOST)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://hub.invalid")
    template = "http://hub.invalid/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    huggingface_hub.close_session()
    check_whole(caches)
    huggingface_hub.close_session()
    assert {headers["host"] for headers in one.asked("GET", "main")} == {"hub.invalid"}


def test_offline_asks_nobody(
    one: loopback.Hub, caches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    refused("is not in the cache .*HF_HUB_OFFLINE", caches)
    monkeypatch.undo()
    assert not one.log


def test_a_full_disk_of_the_hubs_cache(
    one: loopback.Hub, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one.repositories["owner/name"]["model.safetensors"] = WEIGHTS * 5
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(small_disk))
    with pytest.warns(UserWarning, match="Not enough free disk space"):
        refused("No space left on device.*make room there", small_disk)


def test_a_cache_that_is_read_only(
    one: loopback.Hub, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(small_disk))
    refused("Read-only file system.*choose a place that you may write to", small_disk)
    monkeypatch.setenv("XDG_CACHE_HOME", str(small_disk))
    with pytest.raises(UserError, match="Read-only file system.*choose a place"):
        cache.fetch(table.find("sd15"))


def start(published: loopback.Hub, caches: Path) -> subprocess.Popen[bytes]:
    """The command as a process of its own."""
    environment = os.environ | {"HF_ENDPOINT": published.url, "HF_HOME": str(caches)}
    command = [sys.executable, "-m", "colorjax.fetch", "sd15"]
    return subprocess.Popen(command, env=environment)


def downloading(published: loopback.Hub, caches: Path) -> bool:
    return published.held.is_set()


def converting(published: loopback.Hub, caches: Path) -> bool:
    return any((caches / "colorjax" / "downloads" / "sd15").glob(".*.partial*/*"))


@pytest.mark.proof
@pytest.mark.parametrize("moment", [downloading, converting])
def test_killed_in_the_middle_and_begun_again(
    published: loopback.Hub, caches: Path, moment: Callable[[loopback.Hub, Path], bool]
) -> None:
    """As by a power cut: what was whole is kept, the rest comes, and no half is taken for whole."""
    unet = "diffusion_pytorch_model.safetensors"
    if moment is downloading:
        published.faults.holds = {unet: 1000}
    process = start(published, caches)
    while not moment(published, caches):
        assert process.poll() is None
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    published.go.set()
    assert not release.cached("sd15").exists()
    whole = {p.name for p in caches.rglob("snapshots/*/*/*")}
    published.log.clear()
    assert start(published, caches).wait() == 0
    for part in release.parts_in(release.locate("sd15")):
        release.read_part(release.locate("sd15"), part)
    assert not list((caches / "colorjax" / "weights").glob(".*"))
    again = {Path(path).name for method, path, _ in published.log if method == "GET"}
    assert not again & (whole - {"config.json", unet})
    assert moment is downloading or not published.asked("GET", ".safetensors")
