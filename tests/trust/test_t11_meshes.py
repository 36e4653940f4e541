"""T11: k parts of a batch are the batch, and a state that is spread is one that is not."""

from typing import Any

import jax
import numpy as np
import optax
import pytest

from colorjax.devices import sharding
from colorjax.train import optim
from tests.train import test_optim
from tests.trust.conftest import Row

STEPS, MOST = 5, 1e-5


def furthest(ours: Any, wanted: Any) -> float:
    """The largest difference, relative to the largest number of the leaf."""
    pairs = zip(jax.tree.leaves(ours), jax.tree.leaves(wanted), strict=True)
    return max(
        float(np.abs(np.asarray(a) - np.asarray(b)).max() / max(1e-9, np.abs(b).max()))
        for a, b in pairs
    )


def trained(parts: int = 1, devices: int = 1, steps: int = STEPS) -> Any:
    """The weights and moments of a regression after some steps of Adam."""
    params, batch = test_optim.regression()
    params = {"w": np.tile(params["w"], (1, 8))}  # enough to be spread
    batch = batch | {"y": np.tile(batch["y"], (1, 8))}
    tx = optax.adam(0.1)
    mesh = sharding.make_mesh(1, devices, devices=jax.devices()[:devices])
    state = optim.create(params, tx, 0.9)
    where = sharding.tree_shardings(state, mesh, [(".*", "fsdp")])
    with jax.set_mesh(mesh):
        step = jax.jit(
            optim.make_step(test_optim.mean_error, tx, 0.9, parts), out_shardings=(where, None)
        )
        state = sharding.put(state, where)
        (rows,) = sharding.global_batches([batch], mesh)
        for _ in range(steps):
            state, _ = step(state, {}, rows, jax.random.key(0))
    if devices > 1:
        assert not state.params["w"].sharding.is_fully_replicated
    return jax.device_get((state.params, state.opt_state, state.ema))


@pytest.fixture(scope="module")
def single() -> Any:
    return trained()


@pytest.mark.parametrize(("parts", "devices"), [(2, 1), (4, 1), (1, 2), (1, 4), (2, 4)])
def test_parts_and_meshes(parts: int, devices: int, single: Any, row: Row) -> None:
    far = furthest(trained(parts, devices), single)
    assert far < MOST
    row.tell(f"{parts} parts on {devices} devices: {far:.1e}")


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2, 4])
def test_the_unet_is_spread(devices: int, row: Row) -> None:
    """Ten steps of the small latent stage, its state over so many devices."""
    from tests.train import test_meshes

    stage = test_meshes.made_stage()
    losses, params = test_meshes.trained(stage, 1, devices)
    wanted, whole = test_meshes.trained(stage, 1, 1)
    far = max(abs(a - b) / abs(b) for a, b in zip(losses, wanted, strict=True))
    assert far < MOST
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=MOST), params, whole)
    row.tell(f"UNet on {devices} devices: losses {far:.1e}")


@pytest.mark.slow
@pytest.mark.parametrize("parts", [2, 4])
def test_the_unets_parts_are_the_batch(parts: int, row: Row) -> None:
    from tests.train import test_meshes

    test_meshes.test_accumulated_parts_are_the_batch_on_a_mesh(parts)
    row.tell(f"UNet in {parts} parts on {8 // parts} devices: < 1e-5")
