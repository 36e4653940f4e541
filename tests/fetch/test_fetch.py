"""The command: from a name to a release in the cache, by a hub on this machine."""

import re
import threading
from pathlib import Path

import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from colorjax import release
from colorjax.convert import __main__ as convert
from colorjax.errors import UserError
from colorjax.fetch import __main__ as fetch
from colorjax.fetch import cache, table
from colorjax.prepare import captioner
from tests.fetch import loopback
from tests.fetch.conftest import place

ROOT = Path(__file__).parents[2]


def partial_files(folder: Path) -> list[str]:
    """Names of what is half written, wherever."""
    return [p.name for p in folder.rglob("*") if "incomplete" in p.name or "partial" in p.name]


@pytest.mark.proof
def test_a_name_becomes_the_release_that_convert_makes(
    published: loopback.Hub, caches: Path, stable_diffusion: Path, tmp_path: Path, capsys
) -> None:
    assert fetch.main(["sd15"]) == 0
    said = capsys.readouterr().out
    assert "creativeml-openrail-m: commercial use is allowed" in said
    assert "--config.init_from=sd15" in said
    directory = release.locate("sd15")
    assert directory == caches / "colorjax" / "weights" / "sd15"
    output = tmp_path / "by hand"
    convert.main(["--format=init-lcad", f"--input={stable_diffusion}", f"--output={output}"])
    for part in release.parts_in(output):
        fetched = flatten_dict(release.read_part(directory, part), sep="/")
        for path, leaf in flatten_dict(release.read_part(output, part), sep="/").items():
            np.testing.assert_array_equal(fetched[path], leaf, err_msg=path)
    repository, commit = place("sd15")
    about = {"licence": "creativeml-openrail-m", "origin": [f"hub:{repository}@{commit}"]}
    by_hand, config = release.read_config(output), release.read_config(directory)
    assert config == by_hand | about
    assert not (caches / "colorjax" / "downloads" / "sd15").exists()
    asked = len(published.log)
    assert fetch.main(["sd15"]) == 0 and "is there already" in capsys.readouterr().out
    assert len(published.log) == asked


def test_offline_takes_what_the_hubs_cache_has(published: loopback.Hub, caches: Path) -> None:
    """As for `sd15_cold`, of which Stable Diffusion has come with `sd15`."""
    fetch.main(["sd15"])
    with pytest.raises(UserError, match=r"clip.* is not in the cache .*hub.*--offline"):
        fetch.main(["sd15_cold", "--offline"])
    fetch.main(["clip"])
    asked = len(published.log)
    fetch.main(["sd15_cold", "--offline"])
    assert len(published.log) == asked
    assert "image_encoder" in release.parts_in(release.locate("sd15_cold"))


def test_what_one_has_is_taken_instead_of_a_download(
    published: loopback.Hub, caches: Path, stable_diffusion: Path, clip: Path
) -> None:
    own = ["--from", str(stable_diffusion), "--from", str(clip)]
    fetch.main(["sd15_cold", *own])
    assert not published.log
    config = release.read_config(release.locate("sd15_cold"))
    assert config["origin"] == [str(stable_diffusion), str(clip)]
    with pytest.raises(UserError, match="--from can be given 1 times for 'sd15'"):
        fetch.main(["sd15", *own])
    with pytest.raises(UserError, match="'/nowhere' does not exist"):
        fetch.main(["sd15", "--from", "/nowhere"])


def test_again_replaces_what_is_there(published: loopback.Hub, caches: Path) -> None:
    fetch.main(["sd15"])
    damaged = release.locate("sd15") / "vae.safetensors"
    damaged.write_bytes(b"damaged")
    fetch.main(["sd15", "--again"])
    release.read_part(release.locate("sd15"), "vae")
    assert not partial_files(caches)
    assert not list((caches / "colorjax" / "weights").glob(".*"))


def test_two_at_once_download_and_convert_once(published: loopback.Hub, caches: Path) -> None:
    results: list[Path] = []
    work = [
        threading.Thread(target=lambda: results.append(cache.fetch(table.find("sd15"))))
        for _ in range(2)
    ]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert results == [release.cached("sd15")] * 2
    assert len(published.asked("GET", "unet/config.json")) == 1
    assert not partial_files(caches)


def test_the_captioner_is_used_as_it_is(hub: loopback.Hub, caches: Path, tmp_path: Path) -> None:
    folder = tmp_path / "blip"
    folder.mkdir()
    for name in table.find("blip").inputs[0].files:
        (folder / name).write_text(f"{name} of BLIP")
    hub.add(*place("blip")[:1], folder, place("blip")[1])
    fetch.main(["blip"])
    linked = caches / "colorjax" / "weights" / "blip"
    assert captioner.folder_of("blip") == str(linked)
    assert captioner.folder_of(str(folder)) == str(folder)
    assert (linked / "vocab.txt").read_text() == "vocab.txt of BLIP"
    for path in linked.resolve().iterdir():
        path.unlink()
    linked.resolve().rmdir()
    assert not cache.is_there(table.find("blip"))  # the hub's cache was emptied
    fetch.main(["blip"])
    assert cache.is_there(table.find("blip"))


def test_a_licence_is_accepted_by_name_or_nothing_is_asked_for(hub: loopback.Hub) -> None:
    for flags in ([], ["--accept_licence", "mit"]):
        with pytest.raises(UserError, match="no commercial use.*--accept_licence cc-by-nc-4.0"):
            fetch.main(["lcad", *flags])
    assert not hub.log


def test_names_that_are_none_are_told_with_the_nearest(caches: Path, capsys) -> None:
    with pytest.raises(UserError, match="did you mean 'clipseg'"):
        fetch.main(["clipsag"])
    with pytest.raises(UserError, match="python -m colorjax.fetch lcad gets it"):
        release.locate("lcad")
    assert fetch.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:-2]] == list(table.models())


def test_the_table_has_what_its_head_promises(caches: Path) -> None:
    for model in table.models().values():
        with pytest.raises(UserError, match=f"python -m colorjax.fetch {model.name} gets it"):
            release.locate(model.name)
        assert model.purpose and model.meaning and model.megabytes > 0
        assert not model.format or model.format in convert.FORMATS
        for wanted in (*model.inputs, *filter(None, [model.tokenizer])):
            kind = wanted.place.partition(":")[0]
            assert kind in ("hub", "pypi", "drive", "https")
            assert wanted.sha256 or kind in ("hub", "drive")
            assert bool(wanted.files) == (kind != "https")


def test_the_page_for_people_has_the_same_table() -> None:
    text = (ROOT / "docs" / "weights.md").read_text()
    rows = re.findall(
        r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \| ([^|]+) \| ([\d.]+) (GB|MB) ", text, re.M
    )
    assert [row[0] for row in rows] == list(table.models())
    for name, origin, licence, number, unit in rows:
        model = table.find(name)
        assert licence == model.licence
        digits = len(number.partition(".")[2])
        size = model.megabytes / (1000 if unit == "GB" else 1)
        assert f"{size:.{digits}f}" == number, name
        *_, wanted = model.inputs
        kind, _, place = wanted.place.partition(":")
        if origin != "the same" and kind != "https":
            assert place.partition("@")[0] in origin, name


def test_a_cache_that_refuses_is_told_in_a_sentence(
    published: loopback.Hub, caches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caches.mkdir()
    (caches / "colorjax").write_text("a file where the folder would be")
    with pytest.raises(UserError, match="could not be written"):
        fetch.main(["sd15"])


def test_a_full_disk_is_told_in_a_sentence_and_leaves_nothing_half(
    published: loopback.Hub, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever cache it is that is full."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(small_disk))
    with pytest.raises(UserError, match="No space left on device.*make room"):
        fetch.main(["sd15"])
    assert not (small_disk / "colorjax" / "weights" / "sd15").exists()
    assert not partial_files(small_disk)
