"""The package as people install it: a wheel, with nothing of the checkout beside it."""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARSE = """
import sys
from colorjax.train import flags
print(flags.parse(sys.argv).data.directory)
"""


def built(source: Path, epoch: str = "1700000000") -> Path:
    """A wheel built of a copy, since building leaves files behind; without the bundled weights."""
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    ignored = shutil.ignore_patterns("__pycache__", "*.safetensors")
    for name in ("colorjax", "configs"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignored)
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet")
    command = [sys.executable, "-m", "pip", "wheel", *options, f"--wheel-dir={source}", str(source)]
    environment = os.environ | {"SOURCE_DATE_EPOCH": epoch}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    (wheel,) = source.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site-packages")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def run(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(installed)}
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)


def test_the_wheel_has_every_file_and_no_package_but_ours(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"colorjax"}
    modules = {name for name in names if name.endswith(".py")}
    ours = {f"colorjax/{path.relative_to(ROOT)}" for path in (ROOT / "configs").glob("*.py")}
    ours |= {str(path.relative_to(ROOT)) for path in (ROOT / "colorjax").rglob("*.py")}
    assert modules == ours and "colorjax/configs/lcad.py" in modules


@pytest.mark.proof
def test_two_builds_are_one_wheel(wheel: Path, tmp_path: Path) -> None:
    """In another folder, at another time: the same bytes, so that anybody can check a release."""
    again = built(tmp_path)
    assert (
        hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(wheel.read_bytes()).digest()
    )
    (tmp_path / "other").mkdir()
    assert built(tmp_path / "other", "1700000100").read_bytes() != wheel.read_bytes()


def test_training_finds_the_installed_configuration(installed: Path, tmp_path: Path) -> None:
    done = run(installed, tmp_path, "-m", "colorjax.train", "--config=configs/lcad.py:tiny")
    assert done.returncode == 2
    (sentence,) = [row for row in done.stderr.splitlines() if row.startswith("colorjax:")]
    assert sentence.startswith("colorjax: there is no data directory 'data/cifar10'")
    assert not list(tmp_path.iterdir())


def test_a_file_of_that_name_here_comes_first(installed: Path, tmp_path: Path) -> None:
    local = tmp_path / "configs" / "lcad.py"
    local.parent.mkdir()
    text = (ROOT / "configs" / "lcad.py").read_text()
    small = "config = common.small()"
    assert small in text
    local.write_text(text.replace(small, f"{small}; config.data.directory = 'data/elsewhere'"))
    done = run(installed, tmp_path, "-c", PARSE, "--config=configs/lcad.py:tiny")
    assert done.stdout == "data/elsewhere\n", done.stderr


@pytest.mark.parametrize("arguments", [["--config=mine.py:tiny"], ["--config", "mine.py:tiny"]])
def test_a_copied_file_works_anywhere(installed: Path, tmp_path: Path, arguments) -> None:
    shutil.copy(ROOT / "configs" / "lcad.py", tmp_path / "mine.py")
    done = run(installed, tmp_path, "-c", PARSE, *arguments, "--config.data.directory=other")
    assert done.stdout == "other\n", done.stderr
