"""The service by HTTP: what image clients ask, our own way, and what is refused."""

import asyncio
import base64
import json
import re
import socket
import struct
import tempfile
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from colorjax.data.bounds import PNG_SIGNATURE, png_chunk
from colorjax.errors import UserError
from colorjax.serve import __main__ as command
from colorjax.serve.api import Access, application
from colorjax.serve.uploads import PREFIX
from tests.serve.conftest import opened, photo, png

HERE = "http://127.0.0.1:7860"


@pytest.fixture
def client(service):
    with TestClient(application(service, "small"), base_url=HERE) as client:
        yield client


def error_of(response, status: int) -> str:
    assert response.status_code == status, response.text
    said = response.json()["error"]
    assert set(said) == {"message", "type", "code", "param"}
    return said["message"]


def followed(client, place: str) -> list[tuple[str, dict]]:
    """The events of a job, to its end."""
    with client.stream("GET", place) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        text = response.read().decode()
    return [(n, json.loads(d)) for n, d in re.findall(r"event: (\w+)\ndata: (.*)\n\n", text)]


@pytest.mark.proof
def test_an_edit_is_what_the_library_gives(client, photographs, tmp_path) -> None:
    form = {"prompt": "a red car", "seed": "3", "n": "2", "size": "1024x1024"}
    answer = client.post("/v1/images/edits", data=form, files={"image": png()})
    said = answer.json()
    assert answer.status_code == 200 and len(said["data"]) == 2
    assert any("size: without effect" in note for note in said["notes"])
    (tmp_path / "photo.png").write_bytes(png())
    for one, two in zip(
        said["data"], photographs.variations(tmp_path / "photo.png", 2, "a red car", seed=3)
    ):
        two.save(tmp_path / "ours.png")
        np.testing.assert_allclose(
            opened(base64.b64decode(one["b64_json"])).astype(int), np.asarray(two.image), atol=1
        )
    alone = client.post("/v1/images/edits", data=form | {"n": "1"}, files={"image": png()}).json()
    photographs(tmp_path / "photo.png", "a red car", seed=3).save(tmp_path / "ours.png")
    theirs = base64.b64decode(alone["data"][0]["b64_json"])
    assert theirs == (tmp_path / "ours.png").read_bytes()


def test_a_job_with_progress_pictures_and_looks(client, photographs, service) -> None:
    form = {"prompt": "a red car", "seed": "4", "guidance_scale": "2.0", "vividness": "1"}
    points = json.dumps([{"x": 10, "y": 10, "color": "#ff0000"}])
    answer = client.post("/api/colorize", data=form | {"hints": points}, files={"photo": png()})
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert answer.headers["location"] == job["events"]
    events = followed(client, job["events"])
    assert events[-1][0] == "done" and events[-1][1]["pictures"] == [{"seed": 4, "done": True}]
    theirs = client.get(job["pictures"][0])
    assert theirs.headers["content-type"] == "image/png"
    hints = json.loads(points)
    ours = photographs(photo(), "a red car", seed=4, guidance_scale=2.0, hints=hints)
    np.testing.assert_array_equal(opened(theirs.content), np.asarray(ours.image))
    sampled = service.metrics.text()
    look = client.get(job["pictures"][0], params={"vividness": 0.5, "warm": 8, "format": "png"})
    np.testing.assert_array_equal(
        opened(look.content), np.asarray(ours.adjusted(0.5, (8.0, 0.0)).image)
    )
    assert client.get(job["pictures"][0], params={"format": "webp"}).content[8:12] == b"WEBP"
    assert service.metrics.text() == sampled, "no batch was computed for a look"
    assert client.delete(job["events"]).status_code == 204
    error_of(client.get(job["pictures"][0]), 404)
    error_of(client.get(job["events"]), 404)


def test_a_mask_keeps_what_it_does_not_show(client) -> None:
    import io

    from PIL import Image

    picture = Image.fromarray(np.repeat(photo()[..., None], 3, axis=-1))
    mask, file = picture.convert("RGBA"), io.BytesIO()
    mask.putalpha(Image.fromarray(np.repeat(np.uint8([[0] * 22 + [255] * 22]), 40, axis=0)))
    mask.save(file, "PNG")
    files = {"image": png(), "mask": file.getvalue()}
    said = client.post("/v1/images/edits", data={"prompt": "a red car"}, files=files).json()
    shown = opened(base64.b64decode(said["data"][0]["b64_json"])).astype(int)
    assert np.ptp(shown[:, 22:], axis=-1).max() == 0 < np.ptp(shown[:, :22], axis=-1).max()
    answer = client.post("/v1/images/edits", files={"image": png(), "mask": png()})
    assert "the mask has no transparency" in error_of(answer, 400)


def test_mistakes_are_one_sentence(client) -> None:
    edits, jobs = "/v1/images/edits", "/api/colorize"
    for place, form, files, status, words in (
        (edits, {}, {}, 400, "there are 0 images"),
        (edits, {}, {"image": b"text"}, 400, "the photograph is not a picture that can be read"),
        (edits, {}, {"image": b""}, 400, "the file is empty"),
        (edits, {}, {"image": png(0, 1100, 1000)}, 400, "more than 1,000,000"),
        (edits, {"n": "11"}, {"image": png()}, 422, "n: "),
        (edits, {"n": "7"}, {"image": png()}, 400, "variations is 7"),
        (edits, {"prompt": "a\x01b"}, {"image": png()}, 400, "no text"),
        (edits, {"image": "http://example.org/a.png"}, {}, 422, "image"),
        (jobs, {"guidance_scale": "high"}, {"photo": png()}, 422, "guidance_scale"),
        (jobs, {"vividness": "auto"}, {"photo": png()}, 400, "no ranker"),
        (jobs, {"hints": "[1"}, {"photo": png()}, 400, "no list of points in JSON"),
        (jobs, {"masks": "/etc/passwd"}, {"photo": png()}, 422, "masks"),
        (jobs, {"hints": '"/etc/passwd"'}, {"photo": png()}, 400, "no list of points"),
        (jobs, {}, {}, 422, "photo"),
    ):
        answer = client.post(place, data=form, files=files)
        said = error_of(answer, status)
        assert words in said and "\n" not in said and tempfile.gettempdir() not in said, said
    error_of(client.get("/nowhere"), 404)
    error_of(client.get(edits), 404)
    assert "colorjax" in client.get("/").text, "the page"


def test_strangers_and_too_much_are_refused_before_a_look(service) -> None:
    access = Access("secret", most_bytes=10_000)
    with TestClient(application(service, access=access), base_url=HERE) as client:
        assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200
        for headers in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": "Bearer secreté".encode()},
        ):
            for place in ("/metrics", "/api/models", "/api/openapi.json"):
                error_of(client.get(place, headers=headers), 401)
        client.headers["Authorization"] = "Bearer secret"
        (model,) = client.get("/api/models").json()
        assert model["method"] == "lcad" and {"temperature"} < {
            s["name"] for s in model["settings"]
        }
        error_of(client.get("/api/models", headers={"Host": "evil.example"}), 400)
        error_of(client.get("/api/models", headers={"Origin": "http://evil.example"}), 403)
        error_of(client.get("/api/models", headers={"Host": "[", "Origin": HERE}), 400)
        error_of(client.get("/api/models", headers={"Origin": "http://["}), 403)
        both = {"Content-Length": "4", "Transfer-Encoding": "chunked"}
        error_of(client.post("/api/colorize", content=b"abcd", headers=both), 400)
        assert client.get("/api/models", headers={"Origin": HERE}).status_code == 200
        large = {"image": b"\0" * 20_000}
        assert "larger than" in error_of(client.post("/v1/images/edits", files=large), 413)

        def pieces():
            for _ in range(20):
                yield b"\0" * 1000

        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        error_of(client.post("/v1/images/edits", content=pieces(), headers=kind), 413)
        assert not service._turns
        headers = client.get("/api/models").headers
        assert (
            headers["x-content-type-options"] == "nosniff"
            and "access-control-allow-origin" not in headers
        )
        assert "default-src 'none'" in headers["content-security-policy"]
    assert service.is_closing, "the application closes its service"


def test_a_slow_body_is_not_waited_for(service) -> None:
    """By the ASGI protocol itself: the test's client sends a body at once."""
    app = application(service, access=Access(body_seconds=0.2))
    sent: list[dict] = []

    async def never() -> dict:
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    async def send(message: dict) -> None:
        sent.append(message)

    kind = (b"content-type", b"multipart/form-data; boundary=x")
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/images/edits",
        "raw_path": b"/v1/images/edits",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), kind],
        "scheme": "http",
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 1),
        "http_version": "1.1",
        "root_path": "",
        "state": {},
    }
    asyncio.run(app(scope, never, send))
    assert sent[0]["status"] == 408 and b"too slowly" in sent[1]["body"]


def test_a_full_queue_answers_429(client, service) -> None:
    service.limits = service.limits._replace(waiting=0)
    answer = client.post("/v1/images/edits", files={"image": png()})
    assert "try again" in error_of(answer, 429) and int(answer.headers["retry-after"]) >= 1


def test_nothing_is_left_in_the_temporary_folder(client) -> None:
    left = Path(tempfile.gettempdir(), f"{PREFIX}left")
    left.mkdir(exist_ok=True)
    client.post("/v1/images/edits", files={"image": png()})
    client.post("/v1/images/edits", files={"image": b"text"})
    assert list(Path(tempfile.gettempdir()).glob(f"{PREFIX}*")) == [left]
    with TestClient(client.app, base_url=HERE):
        assert not left.exists(), "a start removes what a killed process has left"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--host", "0.0.0.0"], "host is '0.0.0.0', which others can reach"),
        (["--port", "70000"], "port is 70000"),
        (["--max_pixels", "0"], "max_pixels is 0"),
        (["--max_waiting", "0"], "max_waiting is 0"),
    ],
)
def test_mistakes_of_the_command(words, said, monkeypatch) -> None:
    monkeypatch.delenv(command.TOKEN, raising=False)
    with pytest.raises(UserError, match=re.escape(said)):
        command.check(command.parse(words))


def test_a_token_or_consent_opens_other_hosts(monkeypatch) -> None:
    monkeypatch.delenv(command.TOKEN, raising=False)
    assert command.check(command.parse(["--host", "0.0.0.0", "--insecure"])) is None
    assert command.check(command.parse(["--host", "0.0.0.0", "--token", "a"])) == "a"
    monkeypatch.setenv(command.TOKEN, "b")
    assert command.check(command.parse(["--host", "0.0.0.0"])) == "b"


def test_a_place_that_is_taken_is_told_before_a_model_is_loaded() -> None:
    """Another program listens there; one that has only ended does not keep it."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=f"127.0.0.1:{port} cannot be listened at"):
            command.main([f"--port={port}", "--model=/nowhere"])
        with socket.create_connection(("127.0.0.1", port)) as web:
            other.accept()[0].close()
            web.recv(1)
    with command.bound("127.0.0.1", port) as place:
        assert place.getsockname()[1] == port
    with pytest.raises(UserError, match="give another --port or --host"):
        command.bound("203.0.113.1", 7860)


def test_a_mask_that_cannot_be_is_told(client) -> None:
    """Its table of transparency is longer than that of its colours."""
    chunks = [(b"PLTE", bytes(6)), (b"tRNS", bytes(300)), (b"IDAT", zlib.compress(bytes(20)))]
    head = struct.pack(">IIBBBBB", 4, 4, 8, 3, 0, 0, 0)
    mask = PNG_SIGNATURE + b"".join(
        png_chunk(*chunk) for chunk in [(b"IHDR", head), *chunks, (b"IEND", b"")]
    )
    for name in ("only_masked", "layers", "strokes"):
        answer = client.post("/api/colorize", files={"photo": png(), name: mask})
        assert "is no PNG that can be read (palette" in error_of(answer, 400)


def test_what_is_drawn_is_read_when_its_turn_has_come(client, monkeypatch) -> None:
    """As photographs, two at a time: a few kilobytes are some hundred megabytes in memory."""
    reading, most, lock = [], [], threading.Lock()

    def edit_mask(data: bytes, most_pixels: int) -> np.ndarray:
        with lock:
            reading.append(data)
            most.append(len(reading))
        time.sleep(0.1)
        with lock:
            reading.pop()
        raise UserError("it was read")

    monkeypatch.setattr("colorjax.serve.uploads.edit_mask", edit_mask)

    def ask(_: int) -> str:
        answer = client.post("/api/colorize", files={"photo": png(), "only_masked": png()})
        return error_of(answer, 400)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(8))) == {"it was read"}
    assert max(most) <= 2
