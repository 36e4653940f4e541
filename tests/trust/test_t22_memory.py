"""T22: a service that runs for days does not grow."""

import gc
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest
from starlette.testclient import TestClient

from colorjax.serve.api import application
from colorjax.serve.service import Limits, Service
from tests.serve.conftest import png
from tests.trust import serving
from tests.trust.conftest import Row
from tests.trust.reading import memory_of


def objects() -> Counter[str]:
    """How many there are of each kind, once nothing moves: what is cancelled while it is computed
    has its frames on a stack for a little longer."""
    before: Counter[str] | None = None
    for _ in range(200):
        gc.collect()
        now = Counter(type(thing).__name__ for thing in gc.get_objects())
        if now == before:
            return now
        before = now
        time.sleep(0.05)
    raise AssertionError("objects come and go for 10 s without a request")


def test_nothing_is_kept(request: pytest.FixtureRequest, row: Row) -> None:
    """Of requests that are answered, refused and cancelled: by the objects that there are."""
    gc.collect()
    gc.freeze()  # what was there before is not looked at
    request.addfinalizer(gc.unfreeze)
    service = Service(serving.photographs(), Limits(window=0.0, pixels=10**6))
    with TestClient(application(service, "noise"), base_url="http://127.0.0.1:7860") as client:

        def ask(seed: int) -> None:
            form = {"prompt": f"a red car {seed}"}
            assert (
                client.post("/v1/images/edits", data=form, files={"image": png(seed)}).status_code
                == 200
            )
            assert client.post("/v1/images/edits", files={"image": b"no"}).status_code == 400
            job = client.post("/api/colorize", data=form, files={"photo": png(seed)}).json()
            assert client.delete(job["events"]).status_code == 204

        for seed in range(5):
            ask(seed)
        before, count = objects(), row.count(8, 200)
        for seed in range(count):
            ask(seed)
        after = objects()
    grown = {name: n - before[name] for name, n in after.items() if n - before[name] >= count}
    assert not grown, str(grown)
    row.tell(f"{3 * count} requests: no kind of object has one more for each")


@pytest.mark.slow
def test_two_thousand_requests(small_release: Path, row: Row) -> None:
    """The command with the small model, as it is started."""
    words = ("-m", "colorjax.serve", "--model", str(small_release), "--port")
    with serving.process(*words) as (process, port):
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=300, trust_env=False)

        def ask(seed: int) -> None:
            size = 40 + seed % 7, 44 + seed % 5
            form = {"prompt": f"a red car {seed}", "seed": str(seed)}
            answer = client.post("/v1/images/edits", data=form, files={"image": png(seed, *size)})
            assert answer.status_code == 200, answer.text

        memory = []
        for seed in range(2000):
            ask(seed)
            if seed % 100 == 99:
                memory.append(memory_of(process.pid))
    drift = max(memory[2:]) / memory[1] - 1.0
    assert drift < 0.05, memory
    row.tell(
        f"2,000 requests: {memory[1] / 1e6:.0f} MB after 200, at most "
        f"{max(memory[2:]) / 1e6:.0f} MB after ({drift:+.1%})"
    )
