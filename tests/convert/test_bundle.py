"""A release in half precision, as the one that comes with colorjax."""

import numpy as np
import pytest
from safetensors.numpy import load_file

from colorjax import release
from colorjax.convert import __main__ as command
from colorjax.errors import UserError
from tests.small import DATA

TREE = {"conv": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.ones(3)}}


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_bundling_halves_the_weights_and_keeps_the_values(tmp_path, dtype) -> None:
    release.write(tmp_path / "a", {"method": "lcad"}, {"vae": TREE}, DATA / "tokenizer")
    command.main(flags(tmp_path, f"--dtype={dtype}") if dtype == "float32" else flags(tmp_path))
    got = release.read_part(tmp_path / "b", "vae")
    np.testing.assert_array_equal(got["conv"]["kernel"], TREE["conv"]["kernel"])
    assert release.read_config(tmp_path / "b") == release.read_config(tmp_path / "a")
    assert (tmp_path / "b" / "tokenizer" / "vocab.json").is_file()
    stored = load_file(tmp_path / "b" / "vae.safetensors")
    assert {leaf.dtype for leaf in stored.values()} == {np.dtype(dtype)}


def test_a_damaged_release_leaves_nothing(tmp_path) -> None:
    release.write(tmp_path / "a", {"method": "lcad"}, {"vae": TREE, "unet": TREE})
    part = tmp_path / "a" / "vae.safetensors"
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match="vae.safetensors.*damaged"):
        command.main(flags(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_the_type_is_chosen_for_bundles_only(tmp_path) -> None:
    with pytest.raises(UserError, match="--dtype is for --to=bundle only"):
        command.main([*flags(tmp_path, "--dtype=float16")[1:], "--to=lcad"])


def flags(folder, *more: str) -> list[str]:
    return ["--to=bundle", f"--input={folder / 'a'}", f"--output={folder / 'b'}", *more]
