"""A hub on this machine: the HTTP that Hugging Face's client speaks, with a file host beside it.

Small files are served by the hub and have Git's SHA-1 of a blob as ETag. Weights are large files:
the hub answers with their SHA-256 and size and redirects to the file host, which knows ranges. What
can go wrong on the way is asked for by `Faults`.
"""

import contextlib
import hashlib
import json
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from huggingface_hub import constants

LARGE = (".safetensors", ".bin", ".ckpt")
MOST_SENT = 2**30  # so that a client that does not hang up fails its test, and fills no disk
HUB_HOST, FILE_HOST = "127.0.0.1", "127.0.0.2"  # two hosts, both of this machine


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class Faults:
    """What the hub does wrong, by file name or API, each once for every entry."""

    cuts: list[int] = field(default_factory=list)  # offsets at which the file host hangs up
    refusals: dict[str, list[tuple[int, dict[str, str]]]] = field(default_factory=dict)
    damaged: dict[str, int] = field(default_factory=dict)  # how often a file comes with other bytes
    redirects: dict[str, str] = field(default_factory=dict)
    holds: dict[str, int] = field(default_factory=dict)  # after so many bytes nothing more comes
    # Files without an end, by name, with the headers that they come with.
    endless: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass
class Hub:
    """Repositories in memory, each with one commit, and a log of what was asked for."""

    faults: Faults = field(default_factory=Faults)
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    commits: dict[str, str] = field(default_factory=dict)
    log: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    url: str = ""
    file_host: str = ""
    sent: int = 0  # bytes of files without an end, unpacked
    held: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)

    def add(self, name: str, folder: Path, commit: str = "") -> str:
        """Serves a folder as the model `name`; returns its commit."""
        paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
        tree = "".join(f"{path} {sha256(data)}" for path, data in files.items())
        self.repositories[name] = files
        self.commits[name] = commit or hashlib.sha1(tree.encode()).hexdigest()
        return self.commits[name]

    def asked(self, method: str, ending: str) -> list[dict[str, str]]:
        """The headers of the requests for paths that end so."""
        return [h for m, path, h in self.log if m == method and path.endswith(ending)]


@contextlib.contextmanager
def serve() -> Iterator[Hub]:
    """A running hub, to be named in `HF_ENDPOINT`."""
    hub = Hub()
    servers = []
    for host, kind in ((HUB_HOST, _HubRequest), (FILE_HOST, _FileRequest)):
        handler = type(kind.__name__, (kind,), {"hub": hub})
        server = ThreadingHTTPServer((host, 0), handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
    hub.url, hub.file_host = (f"http://{s.server_address[0]}:{s.server_port}" for s in servers)
    try:
        yield hub
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


def use_caches(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Puts colorjax's cache and the hub's below a folder; nobody waits before trying again."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "hub"))
    for module in ("file_download", "utils._http"):
        monkeypatch.setattr(f"huggingface_hub.{module}.time", SimpleNamespace(sleep=lambda _: None))
    return folder


def ask(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes a hub the one that the client asks."""
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


class _Request(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None: ...

    def do_POST(self) -> None:
        """Paths of a repository, of which the client wants to know more."""
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        parts = urlsplit(self.path).path.strip("/").split("/")
        assert parts[4] == "paths-info"
        files = self.hub.repositories["/".join(parts[2:4])]
        entries = [_HubRequest.entry(path, files[path]) for path in form["paths"]]
        self.command = "GET"
        self.answer(200, json.dumps(entries).encode(), {"Content-Type": "application/json"})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        headers = {key.lower(): value for key, value in self.headers.items()}
        self.hub.log.append((self.command, path, headers))
        for ending, refusals in self.hub.faults.refusals.items():
            if path.endswith(ending) and refusals:
                status, extra = refusals.pop(0)
                return self.answer(status, b"", extra)
        self.respond(path)

    def respond(self, path: str) -> None:
        raise NotImplementedError

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


class _HubRequest(_Request):
    def respond(self, path: str) -> None:
        parts = path.strip("/").split("/")
        api = parts[:2] == ["api", "models"]
        owner, name, *rest = parts[2:] if api else parts
        files = self.hub.repositories.get(f"{owner}/{name}")
        if files is None:
            return self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        commit = self.hub.commits[f"{owner}/{name}"]
        revision = rest[1] if len(rest) > 1 else "main"
        if revision not in ("main", commit):
            return self.answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        if not api:
            return self.resolve(files, commit, "/".join(rest[2:]))
        if rest[:1] == ["tree"]:
            return self.json([self.entry(path, data) for path, data in files.items()])
        siblings = [{"rfilename": path} for path in files]
        self.json({"id": f"{owner}/{name}", "sha": commit, "siblings": siblings})

    def json(self, value: Any) -> None:
        self.answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    @staticmethod
    def entry(path: str, data: bytes) -> dict[str, Any]:
        entry: dict[str, Any] = {"type": "file", "path": path, "size": len(data)}
        if path.endswith(LARGE):
            pointer = {"oid": sha256(data), "size": len(data), "pointerSize": 134}
            return entry | {"oid": git_sha1(sha256(data).encode()), "lfs": pointer}
        return entry | {"oid": git_sha1(data)}

    def resolve(self, files: dict[str, bytes], commit: str, path: str) -> None:
        if path not in files:
            return self.answer(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        data, headers = files[path], {"X-Repo-Commit": commit}
        if not path.endswith(LARGE) and path not in self.hub.faults.redirects:
            return self.answer(200, data, headers | {"ETag": f'"{git_sha1(data)}"'})
        place = f"{self.hub.file_host}/{sha256(data)}/{Path(path).name}"
        headers["Location"] = self.hub.faults.redirects.get(path, place)
        headers |= {"X-Linked-Etag": f'"{sha256(data)}"', "X-Linked-Size": str(len(data))}
        self.answer(302, b"", headers)


class _FileRequest(_Request):
    def respond(self, path: str) -> None:
        digest, name = path.strip("/").split("/")
        if name in self.hub.faults.endless:
            return self.send_without_end(self.hub.faults.endless[name])
        every = (data for files in self.hub.repositories.values() for data in files.values())
        data = next(data for data in every if sha256(data) == digest)
        if self.hub.faults.damaged.get(name, 0):
            self.hub.faults.damaged[name] -= 1
            data = data[:-1] + bytes([data[-1] ^ 1])
        whole, asked = len(data), self.headers.get("Range", "")
        start = int(asked.removeprefix("bytes=").split("-")[0]) if asked else 0
        if start >= whole:
            return self.answer(416, b"", {"Content-Range": f"bytes */{whole}"})
        headers = {"ETag": f'"{digest}"', "Accept-Ranges": "bytes"}
        headers["Content-Length"] = str(whole - start)
        if asked:
            headers["Content-Range"] = f"bytes {start}-{whole - 1}/{whole}"
        self.send_response(206 if asked else 200)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        self.send(data, start, name)

    def send_without_end(self, headers: dict[str, str]) -> None:
        """Writes zeros until the client hangs up, packed if the headers say so."""
        self.close_connection = True
        self.send_response(206 if "Range" in self.headers else 200)
        for key, value in ({"ETag": '"endless"'} | headers).items():
            self.send_header(key, value)
        self.end_headers()
        zeros = bytes(2**20)
        packer = zlib.compressobj(wbits=31)
        is_packed = "Content-Encoding" in headers
        with contextlib.suppress(ConnectionError):
            while self.hub.sent < MOST_SENT:
                body = packer.compress(zeros) + packer.flush(zlib.Z_SYNC_FLUSH)
                self.wfile.write(body if is_packed else zeros)
                self.hub.sent += len(zeros)

    def send(self, data: bytes, start: int, name: str) -> None:
        """Writes the body, as far as the faults let it."""
        cuts, body = self.hub.faults.cuts, memoryview(data)
        end = cuts.pop(0) if cuts and start < cuts[0] < len(data) else len(data)
        if start < self.hub.faults.holds.get(name, 0):
            held = self.hub.faults.holds.pop(name)
            self.wfile.write(body[start:held])
            self.hub.held.set()
            self.hub.go.wait(60)
            start = held
        self.wfile.write(body[start:end])
        if end < len(data):
            self.close_connection = True
