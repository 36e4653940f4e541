"""Checkpoints and commands that the tests of the conversion share."""

import functools
import json
from pathlib import Path

import numpy as np

from colorjax.convert import __main__ as command
from colorjax.convert import writers
from tests.golden import weights

UNET, VAE, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer."


@functools.cache
def state() -> dict[str, np.ndarray]:
    """The tiny released checkpoint, with the vocabulary cut to 99 words."""
    made = weights.state_dict("state_dict_shapes_tiny.tsv")
    key = f"{TEXT}text_model.embeddings.token_embedding.weight"
    return made | {key: made[key][:99]}


def told() -> dict:
    """Its configuration."""
    read = json.loads((weights.HERE / "tiny_config.json").read_text())
    read["clip_text"]["vocab_size"] = 99
    return read


def config_flag(directory: Path, content: dict) -> str:
    path = directory / "config.json"
    path.write_text(json.dumps(content))
    return f"--config={path}"


def folder(root: Path) -> Path:
    """A Stable Diffusion 1 folder, by way of an original file."""
    config = told()
    del config["unet"]["gray_channels"]
    writers.write_safetensors(root / "sd.safetensors", stable_diffusion())
    run("ldm", root / "sd.safetensors", root / "release", config_flag(root, config))
    back(root / "release", root / "folder", "diffusers")
    return root / "folder"


def stable_diffusion() -> dict[str, np.ndarray]:
    first = f"{UNET}input_blocks.0.0.weight"
    plain = {key: value for key, value in state().items() if ".g_encoder." not in key}
    return plain | {first: plain[first][:, :4]}


def run(kind, path, output, *flags: str) -> None:
    assert command.main([f"--format={kind}", f"--input={path}", f"--output={output}", *flags]) == 0


def back(path, output, kind: str = "lcad") -> None:
    assert command.main([f"--to={kind}", f"--input={path}", f"--output={output}"]) == 0


def same(got, expected) -> None:
    assert set(got) == set(expected)
    for key, tensor in expected.items():
        assert got[key].dtype == tensor.dtype and got[key].shape == tensor.shape, key
        np.testing.assert_array_equal(got[key], tensor, err_msg=key)
