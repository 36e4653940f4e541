"""The whole sampler over devices: no communication, and the bytes of one device."""

from pathlib import Path

import jax
import numpy as np
import pytest

from colorjax.colorize.colorizer import Colorizer
from colorjax.devices import replicas
from colorjax.errors import UserError
from colorjax.methods.method import Pictures
from colorjax.plan.hlo import COLLECTIVES
from tests import small

SHARE, DEVICES = 2, 4
LIGHT = np.random.default_rng(0).uniform(0, 100, size=(100, 32, 32)).astype(np.float32)


def colour(colorizer: Colorizer, first: int, count: int) -> np.ndarray:
    """Pictures of an endless series, coloured."""
    return colorizer(pictures(colorizer, first, count))


def pictures(colorizer: Colorizer, first: int, count: int) -> Pictures:
    tokens = np.repeat(colorizer.tokenize(["a red car"]), count, axis=0)
    seeds = np.arange(first, first + count, dtype=np.uint32)
    return Pictures(LIGHT[first : first + count], tokens, seeds)


@pytest.fixture(scope="module")
def cold_release(tmp_path_factory) -> Path:
    return small.write_cold_release(tmp_path_factory.mktemp("cold") / "release", sigma=0.1)


@pytest.mark.proof
@pytest.mark.parametrize("method", ["lcad", "diffusing_colors"])
def test_bytes_are_those_of_one_device_and_nothing_is_communicated(
    cold_release: Path, method: str
) -> None:
    alone = Colorizer(cold_release, method, batch_size=SHARE)
    mesh = replicas.mesh_of(str(DEVICES))
    over = Colorizer(cold_release, method, batch_size=SHARE, mesh=mesh)
    assert over.batch_size == SHARE * DEVICES
    count = SHARE * DEVICES - 1  # the last device's share is filled up
    got = colour(over, 0, count)
    for i in range(0, count, SHARE):
        wanted = colour(alone, i, min(SHARE, count - i))
        if len(wanted) == SHARE:
            assert wanted.tobytes() == got[i : i + SHARE].tobytes()
        else:  # a lone picture has a program of its own, which rounds otherwise
            np.testing.assert_allclose(wanted, got[i : i + SHARE], atol=2e-5)
    text = over.lower(pictures(over, 0, 1)).compile().as_text()
    assert "while(" in text and not [kind for kind in COLLECTIVES if f" {kind}" in text]


def test_meshes_by_name() -> None:
    assert replicas.mesh_of("all").size == jax.device_count()
    assert replicas.mesh_of("3").size == 3
    for wrong in ("0", "many", "-1", "99"):
        with pytest.raises(UserError, match="mesh is"):
            replicas.mesh_of(wrong)
