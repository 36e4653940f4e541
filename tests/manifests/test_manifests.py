"""The keys and shapes of full-size models map one to one, both ways, without their weights.

`sd15`, `sd21` and `clipseg` are made by `make.py` from diffusers and transformers; `lcad` is the
list of a released checkpoint.
"""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from colorjax.configs import common
from colorjax.convert import architecture, clipseg, export, formats, leaves, readers, writers
from colorjax.convert.readers import Tensors

HERE = Path(__file__).parent
EXTRAS = 13 + 1 + 4  # schedule buffers, position ids, the luminance encoder's unused end


def manifest(name: str) -> Tensors:
    """One zero, seen in every shape."""
    zero = np.zeros((), np.float32)
    rows = gzip.decompress((HERE / f"{name}.tsv.gz").read_bytes()).decode().splitlines()
    found = {}
    for key, shape in (row.split("\t") for row in rows):
        found[key] = np.broadcast_to(zero, [int(n) for n in shape.split("x") if n])
    return found


def settled(source: formats.Source, needed: tuple[str, ...]) -> dict:
    config, _ = architecture.configure(source.parts, source.settings)
    leaves.check(source, config, needed)
    return config | {"source": {"spelling": source.spelling}}


def written(monkeypatch: pytest.MonkeyPatch, source: formats.Source, config: dict) -> dict:
    """What an export would write, by file."""
    files: dict[str, Tensors] = {}

    def keep(path: Path, tensors: Tensors) -> None:
        files[f"{path.parent.name}/{path.name}"] = dict(tensors)

    monkeypatch.setattr(writers, "write_safetensors", keep)
    monkeypatch.setattr(export, "read", lambda path: (config, source.parts, source.extras))
    return files


def preset(cec: str) -> dict:
    """Stable Diffusion's sizes, of which the extended blocks are no part of a checkpoint."""
    sizes = common.sd15().to_dict()
    sizes["unet"] = {k: v for k, v in sizes["unet"].items() if not k.startswith("cec_")}
    sizes["unet"]["cec"] = cec
    return sizes


def shapes(state: Tensors) -> dict[str, tuple[int, ...]]:
    return {key: tensor.shape for key, tensor in state.items()}


def test_released_checkpoint(monkeypatch, tmp_path) -> None:
    state = manifest("lcad")
    assert len(state) == 1270
    monkeypatch.setattr(readers, "read", lambda path: state)
    source = formats.lcad(Path("lcad.ckpt"), ())
    config = settled(source, formats.NEEDED["lcad"])
    assert len(source.extras) == EXTRAS
    expected = preset("conv_in")
    for section in ("text_encoder", "vae", "unet", "schedule", "scaling_factor", "image_size"):
        assert config[section] == expected[section]
    files = written(monkeypatch, source, config)
    export.lcad(tmp_path, tmp_path / "out.safetensors")
    assert shapes(files[f"{tmp_path.name}/out.safetensors"]) == shapes(state)


@pytest.mark.parametrize("name", ["sd15", "sd21"])
def test_folders_of_diffusers(name, monkeypatch, tmp_path) -> None:
    state = manifest(name)
    for folder, sizes in json.loads((HERE / f"{name}.json").read_text()).items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "config.json").write_text(json.dumps(sizes))

    def read(path: Path) -> Tensors:
        prefix = f"{path.name}/"
        return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}

    monkeypatch.setattr(readers, "weights_file", lambda folder: folder)
    monkeypatch.setattr(readers, "read", read)
    source = formats.diffusers(tmp_path, ())
    config = settled(source, formats.NEEDED["diffusers"])
    assert not source.extras
    assert sum(len(flat) for flat in source.parts.values()) == len(state)
    if name == "sd15":
        expected = preset("none")
        for section in ("text_encoder", "vae", "unet"):
            assert config[section] == expected[section]
    else:
        assert config["unet"]["linear_projection"]
        assert config["unet"]["num_attention_heads"] == (5, 10, 20, 20)
        assert config["text_encoder"]["num_hidden_layers"] == 23
    files = written(monkeypatch, source, config)
    export.diffusers(tmp_path, tmp_path / "out")
    back = {
        f"{file.split('/')[0]}/{key}": tensor
        for file, flat in files.items()
        for key, tensor in flat.items()
    }
    assert shapes(back) == shapes(state)


def test_clipseg(monkeypatch, tmp_path) -> None:
    """Two layers after the last tap, the picture's own embedding and its norm are left out."""
    state = {k.removeprefix("clipseg/"): v for k, v in manifest("clipseg").items()}
    sizes = json.loads((HERE / "clipseg.json").read_text())["clipseg"]
    (tmp_path / "config.json").write_text(json.dumps(sizes))
    monkeypatch.setattr(readers, "weights_file", lambda folder: folder)
    monkeypatch.setattr(readers, "read", lambda path: state)
    source = clipseg.read(tmp_path, ())
    config = settled(source, ("clipseg",))
    assert len(source.parts["clipseg"]) == len(state) - 2 * 16 - 2 - 1
    assert config["clipseg"]["picture"]["size"] == 352
    assert config["clipseg"]["model"]["vision_config"]["patch_size"] == 16


def test_heads_that_nothing_tells_are_those_of_their_generation() -> None:
    """An original file says nothing; SD 1 has eight heads, SD 2 heads of 64 channels.

    Nor which UNets of SD 2 estimate v.
    """
    for name, heads, count in (("sd15", (8, 8, 8, 8), 1), ("sd21", (5, 10, 20, 20), 2)):
        source = formats.Source()
        for key, tensor in manifest(name).items():
            folder, _, rest = key.partition("/")
            if folder == "unet":
                source.place(folder, rest, key, tensor)
        config, assumed = architecture.configure(source.parts, {})
        assert config["unet"]["num_attention_heads"] == heads and len(assumed) == count
