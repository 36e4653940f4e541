"""Release directories: what is written is read, what is damaged is told."""

import json
import tracemalloc

import jax.numpy as jnp
import numpy as np
import pytest

from colorjax import release
from colorjax.errors import UserError

TREE = {"conv": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.ones(3)}}


def write(directory):
    release.write(directory, {"method": "lcad"}, {"vae": TREE}, dtype=np.float16)
    return directory


def test_round_trip_and_parts_are_added(tmp_path) -> None:
    write(tmp_path)
    got = release.read_part(tmp_path, "vae")
    np.testing.assert_array_equal(got["conv"]["kernel"], TREE["conv"]["kernel"])
    assert got["conv"]["bias"].dtype == np.float32
    release.write(tmp_path, {"method": "lcad"}, {"unet": TREE})
    assert release.parts_in(tmp_path) == {"vae", "unet"}
    release.read_part(tmp_path, "vae")
    assert release.find_part([tmp_path], "unet") == tmp_path
    assert release.find_part([tmp_path], "clip") is None


def test_one_flipped_bit_is_found(tmp_path) -> None:
    path = write(tmp_path) / "vae.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(UserError, match="damaged"):
        release.read_part(tmp_path, "vae")


def test_reading_needs_little_more_memory_than_the_result(tmp_path) -> None:
    leaves = {str(i): np.ones((250, 1000), np.float32) for i in range(40)}
    release.write(tmp_path, {}, {"vae": leaves})
    tracemalloc.start()
    got = release.read_part(tmp_path, "vae", jnp.bfloat16)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    size = sum(leaf.nbytes for leaf in got.values())
    assert size == 20_000_000 and peak < 1.3 * size


def test_missing_things_are_named(tmp_path) -> None:
    with pytest.raises(UserError, match="unknown"):
        release.locate(str(tmp_path))
    write(tmp_path)
    with pytest.raises(UserError, match="no part 'unet'"):
        release.read_part(tmp_path, "unet")
    (tmp_path / "SHA256SUMS").unlink()
    with pytest.raises(UserError, match="incomplete"):
        release.read_part(tmp_path, "vae")


def test_another_format_is_refused(tmp_path) -> None:
    (write(tmp_path) / "config.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(UserError, match="99"):
        release.read_config(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="config.json"):
        release.read_config(tmp_path)
