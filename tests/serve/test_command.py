"""The command from its start to SIGTERM, with the client that others use."""

import base64
import signal
import threading
import time

import httpx
import numpy as np
import pytest

import colorjax
from tests.serve.conftest import opened, png, serving


def waiting(web: httpx.Client, address: str) -> float:
    lines = web.get(f"{address}/metrics").text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("colorjax_waiting"))


@pytest.mark.proof
def test_the_client_that_others_use_and_a_sigterm_that_drains(small_release, tmp_path) -> None:
    openai = pytest.importorskip("openai")
    (tmp_path / "photo.png").write_bytes(png())
    with serving(small_release) as (process, address):
        web = httpx.Client(trust_env=False)
        client = openai.OpenAI(
            base_url=f"{address}/v1", api_key="none", http_client=web, max_retries=0
        )
        said = client.images.edit(
            model="colorjax",
            image=("photo.png", png()),
            prompt="a red car",
            n=1,
            size="1024x1024",
            extra_body={"seed": 3},
        )
        ours = colorjax.load(small_release)(tmp_path / "photo.png", "a red car", seed=3)
        assert said.data and said.data[0].b64_json
        theirs = opened(base64.b64decode(said.data[0].b64_json))
        np.testing.assert_array_equal(theirs, np.asarray(ours.image))
        said = client.images.edit(
            image=("photo.png", png()),
            prompt="a red car",
            response_format="url",
            extra_body={"seed": 3},
        )
        assert said.data and said.data[0].url
        again = opened(web.get(said.data[0].url).content)
        np.testing.assert_array_equal(again, theirs)
        with pytest.raises(openai.BadRequestError, match="not a picture"):
            client.images.edit(image=("a.png", b"text"), prompt="a red car")
        answers: list[int] = []

        def ask(seed: int) -> None:
            form = {"prompt": "a car", "n": "2", "seed": str(seed)}
            post = httpx.post(
                f"{address}/v1/images/edits",
                data=form,
                files={"image": png(seed)},
                timeout=120,
                trust_env=False,
            )
            answers.append(post.status_code)

        threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(6)]
        for thread in threads:
            thread.start()
        # All have come: of 12 pictures a batch of 4 is computed, for which a program is compiled.
        while waiting(web, address) < 8 and not answers:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join()
        assert answers == [200] * 6, "what waits is finished"
        assert process.wait(60) in (0, 143, -signal.SIGTERM)
