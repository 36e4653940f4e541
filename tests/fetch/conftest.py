"""A hub on this machine with small weights in the real layouts, and caches of a test's own."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from colorjax.fetch import table
from tests.convert import layouts
from tests.fetch import loopback

SPECIAL = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>"}


def describe_tokens(folder: Path) -> None:
    """What CLIP's folders say of their special tokens."""
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        text = json.dumps(SPECIAL | {"pad_token": "<|endoftext|>"})
        (folder / name).write_text(text)


@pytest.fixture(scope="session")
def stable_diffusion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that the table wants of Stable Diffusion, small."""
    folder = layouts.stable_diffusion_folder(tmp_path_factory.mktemp("sd"))
    describe_tokens(folder / "tokenizer")
    return folder


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `openai/clip-vit-large-patch14`, small."""
    folder = tmp_path_factory.mktemp("clip")
    layouts.clip_file(folder).rename(folder / "model.safetensors")
    sizes = layouts.sizes()
    config = {
        "model_type": "clip",
        "projection_dim": 64,
        "text_config": sizes["text_encoder"],
        "vision_config": sizes["image_encoder"],
    }
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("vocab.json", "merges.txt"):
        shutil.copyfile(layouts.TOKENIZER / name, folder / name)
    describe_tokens(folder)
    return folder


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder with colorjax's cache and the hub's, `colorjax` and `hub`."""
    return loopback.use_caches(tmp_path / "cache", monkeypatch)


@pytest.fixture
def hub(caches: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[loopback.Hub]:
    """An empty hub, which is the one that the client asks."""
    with loopback.serve() as running:
        loopback.ask(running, monkeypatch)
        yield running


def place(name: str, index: int = 0) -> tuple[str, str]:
    """The repository and the commit from which the table has a model, "" for a branch."""
    _, _, place = table.find(name).inputs[index].place.partition(":")
    repository, _, commit = place.partition("@")
    return repository, commit


@pytest.fixture
def published(hub: loopback.Hub, stable_diffusion: Path, clip: Path) -> loopback.Hub:
    """The hub with Stable Diffusion 1.5 and CLIP under their names and commits."""
    for name, index, folder in (("sd15", 0, stable_diffusion), ("sd15_cold", 1, clip)):
        repository, commit = place(name, index)
        hub.add(repository, folder, commit)
    return hub
