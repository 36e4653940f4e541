"""The same shards as an Apache Beam pipeline: `make beam` installs it and runs this file."""

import sys
from pathlib import Path

import pytest

from colorjax.errors import UserError
from colorjax.prepare import shards
from colorjax.prepare.planning import Request
from colorjax.prepare.run import prepare
from tests import pictures

OPTIONS = dict(shard_size=4, short_side=24)
PORTABLE = ["--job_endpoint=embed", "--environment_type=LOOPBACK"]


def run(path, output, runner=None, arguments=(), **options):
    request = Request("folder", Path(path), Path(output), **options)
    return prepare(request, 1, runner, arguments)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    return pictures.write_thirty(tmp_path_factory.mktemp("photographs"))


@pytest.fixture(scope="module")
def expected(photographs, tmp_path_factory):
    output = tmp_path_factory.mktemp("serial") / "data"
    run(photographs, output, **OPTIONS)
    return pictures.tree(output)


@pytest.fixture
def beam():
    return pytest.importorskip("apache_beam", reason="needs the extra 'beam'")


# The portable runner's job service takes pipelines as Flink's does, over gRPC.
@pytest.mark.parametrize("runner, arguments", [("DirectRunner", []), ("PortableRunner", PORTABLE)])
def test_beam_writes_the_same_bytes(beam, photographs, expected, tmp_path, runner, arguments):
    run(photographs, tmp_path / "data", runner, arguments, **OPTIONS)
    assert pictures.tree(tmp_path / "data") == expected
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_processes_and_beam_go_on_with_each_other(beam, photographs, expected, tmp_path):
    """A worker without the disk stops the pipeline; what it made before is not made again."""
    make_really = shards.make

    def make(task):
        if task.index == 5:
            raise OSError(28, "No space left on device")
        make_really(task)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "make", make)
        with pytest.raises(
            UserError, match="pipeline failed.*No space left.*makes what is missing"
        ):
            run(photographs, tmp_path / "data", "DirectRunner", **OPTIONS)
    made = {int(p.name[6:11]) for p in (tmp_path / ".data.partial").glob("train-*.json")}
    again = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "make", lambda t, k: (again.append(t.index), make_really(t, k)))
        run(photographs, tmp_path / "data", **OPTIONS)
    assert set(again) == set(range(8)) - made and 5 in again
    assert pictures.tree(tmp_path / "data") == expected


def test_misspelt_options_are_nobodys(beam, photographs, tmp_path):
    with pytest.raises(UserError, match="--shortside is an option neither"):
        run(photographs, tmp_path / "data", "DirectRunner", ["--shortside=24"])
    with pytest.raises(UserError, match="Unexpected pipeline runner: Nonsense"):
        run(photographs, tmp_path / "data", "Nonsense")
    assert not list(tmp_path.iterdir())


def test_a_missing_beam_is_told(photographs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(UserError, match=r"colorjax\[beam\]"):
        run(photographs, tmp_path / "data", "DirectRunner")
    assert not list(tmp_path.iterdir())
