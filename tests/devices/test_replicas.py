"""The whole sampler over devices: no communication, and the bytes of one device."""

from pathlib import Path

import jax
import numpy as np
import pytest

from colorjax.colorize.colorizer import Colorizer
from colorjax.devices import replicas
from colorjax.errors import UserError
from colorjax.plan.hlo import COLLECTIVES

SHARE, DEVICES = 2, 4


def colour(colorizer: Colorizer, first: int, count: int) -> np.ndarray:
    """Pictures of an endless series, coloured."""
    light = np.random.default_rng(0).uniform(0, 100, size=(100, 32, 32)).astype(np.float32)
    tokens = np.repeat(colorizer.tokenize(["a red car"]), count, axis=0)
    chosen = range(first, first + count)
    return colorizer(light[first : first + count], tokens, list(chosen), seed=3)


def test_bytes_are_those_of_one_device_and_nothing_is_communicated(small_release: Path) -> None:
    alone = Colorizer(small_release, SHARE)
    over = Colorizer(small_release, SHARE, mesh=str(DEVICES))
    assert over.batch_size == SHARE * DEVICES
    count = SHARE * DEVICES - 1  # the last device's share is filled up
    got = colour(over, 0, count)
    for i in range(0, count, SHARE):
        wanted = colour(alone, i, min(SHARE, count - i))
        assert wanted.tobytes() == got[i : i + SHARE].tobytes()
    (text,) = programs(over)
    assert "while(" in text and not [kind for kind in COLLECTIVES if f" {kind}" in text]


def programs(colorizer: Colorizer) -> list[str]:
    """The optimised text of the program that `colour` ran."""
    run, kept = colorizer._spread, []

    class Seen(Exception):
        pass

    def look(*placed):
        kept.append(jitted.lower(*placed).compile().as_text())
        raise Seen

    jitted, run.jitted = run.jitted, look
    with pytest.raises(Seen):
        colour(colorizer, 0, 1)
    run.jitted = jitted
    return kept


def test_meshes_by_name() -> None:
    assert replicas.mesh_of("all").size == jax.device_count()
    assert replicas.mesh_of("3").size == 3
    for wrong in ("0", "many", "-1", "99"):
        with pytest.raises(UserError, match="mesh is"):
            replicas.mesh_of(wrong)
