"""T18: what strangers can send to a service: refused, within bounds, and others are served on."""

import concurrent.futures
import http.client
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.testclient import TestClient

from colorjax.serve.api import application
from colorjax.serve.guards import OPEN
from colorjax.serve.service import Limits, Service
from colorjax.serve.uploads import PREFIX
from tests.serve.conftest import png
from tests.trust import serving
from tests.trust.conftest import Row
from tests.trust.reading import memory_of

PLACES = (
    *("http://127.0.0.1:22/", "http://localhost/", "http://[::1]/a.png", "http://0.0.0.0/a.png"),
    *("http://169.254.169.254/latest/meta-data/", "http://metadata.google.internal/a.png"),
    *(
        "file:///etc/passwd",
        "file://localhost/etc/hosts",
        "ftp://127.0.0.1/a",
        "gopher://127.0.0.1",
    ),
    *("dict://127.0.0.1:11211/", "http://2130706433/", "http://0x7f000001/", "http://127.1/"),
    *(
        "https://example.org@127.0.0.1/",
        "http://127.0.0.1#@example.org/",
        "data:image/png;base64,AA",
    ),
    *("//127.0.0.1/a.png", "\\\\host\\share\\a.png", "http://[::ffff:127.0.0.1]/"),
)
PATHS = (
    *(
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2fetc%2fpasswd",
        "//etc/passwd",
    ),
    *("/....//....//etc/passwd", "/..;/..;/etc/passwd", "/page.js/../../api.py", "/%00/etc/passwd"),
    *("/..%5c..%5cetc%5cpasswd", "/%252e%252e%252fetc/passwd", "/etc/passwd", "/proc/self/environ"),
    *(
        "/C:/windows/win.ini",
        "/~root/.ssh/id_rsa",
        "/.git/config",
        "/.env",
        "/api.py",
        "/__main__.py",
    ),
    *("/api/jobs/..%2f..%2fetc%2fpasswd", "/api/jobs/%2e%2e", "/api/jobs/x/pictures/-1"),
    *("/api/jobs/x/pictures/..%2f0", "/page/../service.py", "/static/..%2f..%2fservice.py"),
    *(
        "/index.html%00.png",
        "/index.html/..",
        "/a" * 2000,
        "/%ff%fe",
        "/page.css%2f..%2f..%2fapi.py",
    ),
    "/file=/etc/passwd",
)
ORIGINS = (
    *("http://evil.example", "null", "http://127.0.0.1.evil.example", "https://localhost:1"),
    *("http://[", "http://[::1", "//"),
)
HOSTS = (
    *("evil.example", "127.0.0.1.evil.example", "", "localhost@evil.example", "127.0.0.1, evil"),
    *("[", "[::1"),
)


def asked(client: httpx.Client) -> int:
    """Asks what must be refused; how many requests it was. Asserts that nothing is given away."""
    answers = [
        client.post("/v1/images/edits", data={"image": place, "prompt": place}) for place in PLACES
    ]
    answers += [client.post("/api/colorize", data={"photo": place}) for place in PLACES]
    answers += [client.get("/api/models", headers={"Origin": origin}) for origin in ORIGINS]
    answers += [client.options("/api/models", headers={"Origin": ORIGINS[0]})]
    answers += [client.get("/api/models", headers={"Host": host}) for host in HOSTS]
    # The client makes some of them the page's own address.
    paths = [client.get(path) for path in PATHS]
    answers += [answer for answer in paths if answer.request.url.path not in OPEN]
    assert len(answers) > 2 * len(PLACES) + len(PATHS) - 3
    for answer in answers:
        assert 400 <= answer.status_code < 500, (answer.request.url, answer.status_code)
        assert "root:" not in answer.text and "import " not in answer.text
        assert "access-control-allow-origin" not in answer.headers
    return len(answers)


def left_behind() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob(f"{PREFIX}*"))


def test_what_is_refused(row: Row) -> None:
    service = Service(serving.photographs(), Limits(pixels=10**6))
    before = left_behind()
    with TestClient(application(service, "noise"), base_url="http://127.0.0.1:7860") as client:
        count = asked(client)
        answer = client.post("/v1/images/edits", files={"image": png()}, data={"prompt": "a car"})
        assert answer.status_code == 200
    assert left_behind() <= before
    row.tell(f"{count} requests for other places, paths, hosts and origins: all 4xx")


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[int, int]]:
    """The process number and the port of a server."""
    with serving.process("-m", "tests.trust.serving") as (process, port):
        yield process.pid, port


def edit(port: int, seed: int = 0, timeout: float = 120.0) -> tuple[int, float]:
    """The status of a good request, and its seconds."""
    start = time.monotonic()
    answer = httpx.post(
        f"http://127.0.0.1:{port}/v1/images/edits",
        files={"image": png(seed)},
        data={"prompt": "a red car"},
        timeout=timeout,
        trust_env=False,
    )
    return answer.status_code, time.monotonic() - start


def sent(port: int, head: str) -> socket.socket:
    """A connection on which the beginning of a request was sent."""
    connection = socket.create_connection(("127.0.0.1", port), 30)
    connection.sendall(head.encode())
    return connection


def is_closed(connection: socket.socket, seconds: float) -> bool:
    """Whether the server hangs up in time, after whatever it answers."""
    connection.settimeout(seconds)
    try:
        while connection.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


HEAD = "POST /v1/images/edits HTTP/1.1\r\nHost: 127.0.0.1\r\n"
FORM = "Content-Type: multipart/form-data; boundary=x\r\n"


@pytest.mark.slow
def test_paths_as_they_are(running: tuple[int, int], row: Row) -> None:
    """By a client that sends what it is told to."""
    for path in PATHS:
        connection = http.client.HTTPConnection("127.0.0.1", running[1], timeout=30)
        connection.putrequest("GET", path)
        connection.endheaders()
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
        # A folder without its slash is sent to itself, with one.
        place = answer.headers.get("location", "").removeprefix("http://127.0.0.1:")
        is_same = answer.status == 307 and place == f"{running[1]}{path}/"
        is_page = "<title>colorjax" in text
        assert 400 <= answer.status < 500 or is_same or is_page, (path, answer.status)
        assert "root:" not in text and "import " not in text
        connection.close()
    row.tell(f"{len(PATHS)} paths as they are: nothing but the page")


@pytest.mark.slow
def test_slow_clients(running: tuple[int, int], row: Row) -> None:
    """50 that never end their head or their body, while others are served."""
    pid, port = running
    before, start = memory_of(pid), time.monotonic()
    slow = [
        sent(port, HEAD if i % 2 else HEAD + FORM + "Content-Length: 999\r\n\r\n--x")
        for i in range(50)
    ]
    good = [edit(port, seed) for seed in range(20)]
    assert {status for status, _ in good} == {200}
    assert all(is_closed(connection, 60.0) for connection in slow)
    grown = memory_of(pid) - before
    assert grown < 100e6
    row.tell(
        f"50 slow clients hung up on in {time.monotonic() - start:.0f} s; 20 others meanwhile: "
        f"slowest {max(seconds for _, seconds in good):.1f} s; {grown / 1e6:.0f} MB more"
    )


@pytest.mark.slow
def test_large_bodies_and_names(running: tuple[int, int], row: Row) -> None:
    """A name of 50 MB, and a gigabyte in pieces: not taken to their end, and not kept."""
    pid, port = running
    before, told = memory_of(pid), []
    part = f'--x\r\nContent-Disposition: form-data; name="image"; filename="{"n" * 2**20}'
    for name, piece, count in (("name", part, 50), ("body", "0" * 2**20, 1024)):
        connection = sent(port, HEAD + FORM + "Transfer-Encoding: chunked\r\n\r\n")
        taken = 0
        try:
            for _ in range(count):
                connection.sendall(f"{len(piece):x}\r\n{piece}\r\n".encode())
                taken += 1
        except OSError:
            pass
        connection.close()
        assert taken < 40, name
        told.append(f"{name} refused after {taken} MB")
    answer = httpx.post(
        f"http://127.0.0.1:{port}/v1/images/edits", content=b"0" * (5 * 2**20), trust_env=False
    )
    assert answer.status_code == 413
    grown = memory_of(pid) - before
    assert grown < 100e6 and edit(port)[0] == 200
    row.tell(f"{', '.join(told)}; {grown / 1e6:.0f} MB more")


@pytest.mark.slow
def test_many_at_once(running: tuple[int, int], row: Row) -> None:
    """200 at once and 40 that hang up: answered, or told to wait; a good one is then served."""
    pid, port = running
    before, files = memory_of(pid), left_behind()
    with concurrent.futures.ThreadPoolExecutor(200) as pool:
        answers = list(pool.map(lambda seed: edit(port, seed), range(200)))
    statuses = [status for status, _ in answers]
    assert set(statuses) <= {200, 429} and statuses.count(200) >= 64
    body = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' + png()
    body += b"\r\n--x--\r\n"
    for _ in range(40):
        connection = sent(port, HEAD + FORM + f"Content-Length: {len(body)}\r\n\r\n")
        connection.sendall(body)
        connection.close()
    seconds = sorted(edit(port, seed)[1] for seed in range(20))
    taken = sorted(s for status, s in answers if status == 200)
    grown = memory_of(pid) - before
    assert grown < 300e6 and seconds[-1] < 10.0 and left_behind() <= files
    row.tell(
        f"200 at once: {statuses.count(200)} served (p99 {taken[int(0.99 * len(taken))]:.1f} s), "
        f"{statuses.count(429)} told to wait; 40 hung up, then 20 in at most {seconds[-1]:.1f} s; "
        f"{grown / 1e6:.0f} MB more, no file left"
    )
