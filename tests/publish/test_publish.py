"""A release as a folder for a hub, and from the hub again."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

import colorjax
from colorjax import release
from colorjax.errors import UserError
from colorjax.fetch import __main__ as fetch
from colorjax.publish import __main__ as publish
from tests.fetch import loopback
from tests.fetch.conftest import caches, hub  # noqa: F401

FIGURES = {"output": {"psnr_pooled": 23.891, "ssim": 0.9, "pictures": 200}, "gray": {"ssim": 0.92}}


def published(directory: Path, folder: Path, *flags: str) -> dict:
    """The head of the card."""
    assert publish.main([str(directory), "--to", str(folder), *flags]) == 0
    return yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])


@pytest.fixture
def on_hub(
    small_release: Path,
    tmp_path: Path,
    hub: loopback.Hub,  # noqa: F811
    capsys,
) -> str:
    """A published release on the hub, as `me/mine`; returns its commit."""
    folder = tmp_path / "folder"
    published(small_release, folder, "--licence", "apache-2.0", "--repository", "me/mine")
    assert f"hf upload me/mine {folder}" in capsys.readouterr().out
    return hub.add("me/mine", folder)


def test_a_published_release_comes_back_byte_for_byte(
    small_release: Path,
    on_hub: str,
    hub: loopback.Hub,  # noqa: F811
) -> None:
    directory = release.locate("hub:me/mine")
    assert directory.name == on_hub
    for path in small_release.rglob("*"):
        if path.is_file():
            assert (directory / path.relative_to(small_release)).read_bytes() == path.read_bytes()
    asked = len(hub.log)
    assert release.locate("hub:me/mine") == release.locate(f"hub:me/mine@{on_hub}") == directory
    assert len(hub.log) == asked
    assert colorjax.load("hub:me/mine").settings == colorjax.load(small_release).settings
    (directory / "vae.safetensors").unlink()  # as of a download that was cut
    with pytest.raises(UserError, match="not all of it"):
        fetch.main(["hub:me/mine", "--offline"])
    assert "vae" in release.parts_in(release.locate("hub:me/mine"))


def test_a_newer_one_is_looked_for_when_it_is_fetched(
    small_release: Path,
    tmp_path: Path,
    hub: loopback.Hub,  # noqa: F811
) -> None:
    folder = tmp_path / "folder"
    published(small_release, folder, "--licence", "mit")
    first = hub.add("me/mine", folder)
    assert release.locate("hub:me/mine").name == first
    config = release.read_config(folder) | {"image_size": 64}
    release.write(folder, config, {})
    second = hub.add("me/mine", folder)
    assert release.locate("hub:me/mine").name == first != second
    fetch.main(["hub:me/mine", "--offline"])
    assert release.locate("hub:me/mine").name == first
    fetch.main(["hub:me/mine"])
    assert release.locate("hub:me/mine").name == second
    assert release.read_config(release.locate("hub:me/mine"))["image_size"] == 64


def test_what_is_no_release_is_told(
    tmp_path: Path,
    hub: loopback.Hub,  # noqa: F811
) -> None:
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "config.json").write_text('{"model_type": "clip"}')
    (tmp_path / "clip" / "model.safetensors").write_bytes(b"many gigabytes")
    hub.add("openai/clip", tmp_path / "clip")
    uses = (lambda: release.locate("hub:openai/clip"), lambda: fetch.main(["hub:openai/clip"]))
    for use in uses:
        with pytest.raises(UserError, match="no release of colorjax"):
            use()
    assert not hub.asked("GET", ".safetensors")


def test_the_card_has_figures_licence_and_origin(small_release: Path, tmp_path: Path) -> None:
    directory = tmp_path / "release"
    shutil.copytree(small_release, directory)
    about = {"licence": "cc-by-nc-4.0", "origin": ["hub:a/b@c", "drive:folder/coco_weight.ckpt"]}
    release.write(directory, release.read_config(directory) | about, {})
    (tmp_path / "figures.json").write_text(json.dumps(FIGURES))
    flags = ["--figures", str(tmp_path / "figures.json")]
    head = published(directory, tmp_path / "folder", *flags)
    assert head["license"] == "cc-by-nc-4.0" and head["base_model"] == ["a/b"]
    assert head["library_name"] == "colorjax" and "l-cad" in head["tags"]
    text = (tmp_path / "folder" / "README.md").read_text()
    assert "| output | 23.891 | 0.9 | 200 |\n| gray | - | 0.92 | - |" in text
    assert "drive:folder/coco_weight.ckpt" in text and "licensed `cc-by-nc-4.0`" in text
    vae = release.read_part(directory, "vae")
    count = sum(leaf.size for leaf in colorjax_leaves(vae))
    assert f"| `vae` | {count:,} | F32 |" in text
    with pytest.raises(UserError, match="under cc-by-nc-4.0; leave it out"):
        published(directory, tmp_path / "other", "--licence", "mit")
    assert not (tmp_path / "other").exists()


def colorjax_leaves(tree: dict) -> list[np.ndarray]:
    return [
        leaf
        for value in tree.values()
        for leaf in (colorjax_leaves(value) if isinstance(value, dict) else [value])
    ]


def test_what_people_wrote_leads_the_card(small_release: Path, tmp_path: Path) -> None:
    card = tmp_path / "card.md"
    card.write_text("---\nlicense: mit\n---\n# Reds\n\nKnows **reds**.\n")
    head = published(
        small_release, tmp_path / "folder", "--licence", "apache-2.0", "--card", str(card)
    )
    assert head["license"] == "apache-2.0"
    body = (tmp_path / "folder" / "README.md").read_text().split("---\n", 2)[2]
    assert body.startswith("\n# Reds\n\nKnows **reds**.\n\n## Use")


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        ([], "--licence apache-2.0"),
        (["--licence", "my own"], "hubs know names like"),
        (["--licence", "mit", "--repository", "mine"], "must be OWNER/NAME"),
        (["--licence", "mit", "--figures", "nowhere.json"], "evaluate --json"),
        (["--licence", "mit", "--card", "nowhere.md"], "cannot be read as a card"),
    ],
)
def test_what_cannot_be_published_is_told(
    small_release: Path, tmp_path: Path, flags: list[str], match: str
) -> None:
    with pytest.raises(UserError, match=match):
        published(small_release, tmp_path / "folder", *flags)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_or_too_large_release_is_not_published(
    small_release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "MOST_BYTES", 1000)
    with pytest.raises(UserError, match="hubs take 5: .*--to=bundle"):
        published(small_release, tmp_path / "folder", "--licence", "mit")
    monkeypatch.undo()
    shutil.copytree(small_release, tmp_path / "release")
    with (tmp_path / "release" / "vae.safetensors").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(UserError, match="vae.*damaged"):
        published(tmp_path / "release", tmp_path / "folder", "--licence", "mit")
    assert not (tmp_path / "folder").exists()
    # A header that is none, and right checksums.
    (tmp_path / "release" / "vae.safetensors").write_bytes((2**62).to_bytes(8, "little") + b"{}")
    config = release.read_config(tmp_path / "release")
    (tmp_path / "release" / "SHA256SUMS").unlink()
    release.write(tmp_path / "release", config, {})
    with pytest.raises(UserError, match="vae.safetensors' is no file of weights"):
        published(tmp_path / "release", tmp_path / "folder", "--licence", "mit")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="exists; give another folder"):
        published(small_release, tmp_path / "folder", "--licence", "mit")
