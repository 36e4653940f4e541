"""The benchmark of many clients at once, for a few seconds; `make soak` is the whole of it."""

import json

import pytest

from benchmarks.serve import __main__ as serve


@pytest.mark.proof
def test_clients_of_every_kind_at_once(small_release, capsys, monkeypatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    words = ["clients", f"--model={small_release}", "--seconds=4", "--clients=40"]
    assert serve.main(words) == 0, capsys.readouterr().out
    said = json.loads(capsys.readouterr().out)
    answers = said["answers"]
    assert answers["200 to good ones"] >= 18, "each of them got a picture"
    for kind in ("400 to bad ones", "413 to large ones", "hung up", "slow bytes"):
        assert answers[kind] > 0, kind
    assert not said["left_in_tmp"] and said["wrong"] == []
