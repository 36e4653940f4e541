"""The commands of the documents: each is one that there is, and those that begin with small
weights in the layouts that people bring are run, word for word but for sizes."""

import importlib
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as all_benchmarks
from benchmarks import tables
from colorjax.analyze import __main__ as analyze
from colorjax.colorize.command import flags as colorize
from colorjax.convert import __main__ as convert
from colorjax.evaluate import __main__ as evaluate
from colorjax.export import __main__ as export
from colorjax.fetch import __main__ as fetch
from colorjax.prepare import __main__ as prepare
from colorjax.publish import __main__ as publish
from colorjax.serve import __main__ as serve
from colorjax.train import flags
from tests.convert import layouts

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *sorted(ROOT.glob("docs/*.md")),
    ROOT / "colorjax/bundled/MODEL_CARD.md",
]
PARSERS = {
    "colorize": colorize.parse,
    "evaluate": evaluate.parse,
    "export": export.parse,
    "convert": convert.parse,
    "analyze": analyze.parse,
    "fetch": fetch.parse,
    "publish": publish.parse,
    "serve": serve.parse,
    "prepare": lambda words: prepare._parser().parse_args(words),
}
ONE_DEVICE = re.sub(r"--xla_force_host_platform_device_count=\d+", "", os.environ["XLA_FLAGS"])
DATA = [
    f"--config.data.{key}={value}"
    for key, value in {
        "directory": layouts.DATA / "cifar10",
        "train_split": "test",
        "eval_split": "test",
    }.items()
]
SMALL = ["--config.model.image_size=64", "--config.sample_every=0"]


def commands() -> Iterator[tuple[str, str, list[str]]]:
    """Page, module and arguments of every command in an indented block."""
    for page in PAGES:
        text = page.read_text().replace("\\\n", " ")
        for line in re.findall(r"^ {4}python -m (colorjax\.\S.*)$", text, re.MULTILINE):
            module, *words = shlex.split(re.sub(r"[\[\]]", "", line), comments=True)
            yield page.name, module.removeprefix("colorjax."), words


def configuration(words: list[str]) -> tuple[Any, list[str]]:
    """The configuration that a command names, and the keys that it sets."""
    (named,) = (word.removeprefix("--config=") for word in words if word.startswith("--config="))
    file, _, variants = named.partition(":")
    assert (ROOT / file).is_file()
    module = importlib.import_module(f"colorjax.configs.{Path(file).stem}")
    keys = [w.removeprefix("--config.").split("=")[0] for w in words if w.startswith("--config.")]
    return module.get_config(variants), keys


COMMANDS = [command for command in commands() if "SOURCE" not in " ".join(command[2])]


@pytest.mark.parametrize(
    ("page", "module", "words"), COMMANDS, ids=[f"{c[0]}-{i}" for i, c in enumerate(COMMANDS)]
)
def test_every_command_is_one(page: str, module: str, words: list[str]) -> None:
    if module in PARSERS:
        assert PARSERS[module](words) is not None
        return
    assert module in ("train", "plan")
    config, keys = configuration(words)
    assert set(keys) <= set(flags.dotted(config))
    assert all(stage in config for stage in config.stages)
    source = (ROOT / "colorjax" / module / "__main__.py").read_text()
    source += (ROOT / "colorjax" / "train" / "flags.py").read_text()
    for word in words:
        if not word.startswith("--config"):
            assert f'"{word.lstrip("-").split("=")[0]}"' in source, word


def test_there_are_commands_on_every_page_of_use() -> None:
    pages = {"README.md", "lcad.md", "diffusing_colors.md", "pods.md", "weights.md"}
    assert pages <= {c[0] for c in COMMANDS}
    modules = {command[1] for command in COMMANDS}
    assert modules == {*PARSERS, "train", "plan"}


def run(folder: Path, module: str, words: list[str]) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": ONE_DEVICE}
    done = subprocess.run(
        [sys.executable, "-m", f"colorjax.{module}", *words],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def documented(page: str, module: str, *parts: str) -> list[str]:
    """The one command of a page that has all these words, however often it stands there."""
    there = dict.fromkeys(tuple(words) for *where, words in COMMANDS if where == [page, module])
    (fitting,) = (list(words) for words in there if set(parts) <= set(words))
    return fitting


# Page, what makes DIR, the configuration, and what makes its stages small.
STARTS = {
    "lcad": (
        "README.md",
        "--format=init-lcad",
        "luminance latent",
        [
            "--config.luminance.perceptual_weight=0.0",
            "--config.luminance.discriminator.features=8",
        ],
    ),
    "diffusing_colors": (
        "diffusing_colors.md",
        "--format=init-cold",
        "cold ranker",
        [
            "--config.model.cold_colorize.num_steps=2",
        ],
    ),
}


@pytest.mark.proof
@pytest.mark.parametrize("name", STARTS)
def test_the_way_from_stable_diffusion_to_a_coloured_photograph(name: str, tmp_path: Path) -> None:
    """Convert, train a step of each stage, colour and evaluate, as the pages say."""
    page, kind, stages, more = STARTS[name]
    layouts.stable_diffusion_folder(tmp_path).rename(tmp_path / "stable-diffusion-v1-5")
    layouts.clip_file(tmp_path).rename(tmp_path / "clip-vit-large-patch14")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    run(tmp_path, "convert", documented(page, "convert", kind))
    train = documented(page, "train", f"--config=configs/{name}.py", "--config.init_from=DIR")
    sizes = [
        f"--config.{stage}.{key}=1"
        for stage in stages.split()
        for key in ("total_steps", "batch_size")
    ]
    said = run(tmp_path, "train", [*train, *DATA, *SMALL, *sizes, *more])
    assert all(f"[{stage}] finished" in said for stage in stages.split())
    model = ["--method", name, "--model", f"runs/{name}/release"]
    car = documented("README.md", "colorize", "red.png")
    run(tmp_path, "colorize", [*car, *model])
    assert (tmp_path / "red.png").is_file()


@pytest.mark.proof
@pytest.mark.parametrize("page", ["README.md", "diffusing_colors.md"])
def test_photographs_are_coloured_as_the_pages_say(page: str, tmp_path: Path) -> None:
    """By the bundled model, word for word."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    for name in ("photo.jpg", "faded.jpg"):
        (tmp_path / name).symlink_to(ROOT / "examples" / "astronaut.jpg")
    for _, module, words in (c for c in COMMANDS if c[0] == page and c[1] == "colorize"):
        run(tmp_path, module, words)


def test_tables_are_those_of_the_benchmarks_figures() -> None:
    results = json.loads((ROOT / "benchmarks" / "results.json").read_text())
    for path, written in tables.TABLES.items():
        text = (ROOT / path).read_text()
        for name, table in written.items():
            assert text == tables.between(text, name, table(results)), f"{path}: {name}"


def test_what_is_said_of_benchmarks_is_of_some_that_there_are() -> None:
    assert set(all_benchmarks.BENCHMARKS) <= all_benchmarks.modules()
