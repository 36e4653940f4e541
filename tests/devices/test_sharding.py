"""Rules, meshes and placement on eight devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from colorjax.devices import sharding
from colorjax.errors import UserError


def test_mesh_takes_what_is_left() -> None:
    assert dict(sharding.make_mesh().shape) == {"dcn": 1, "data": 8, "fsdp": 1}
    assert dict(sharding.make_mesh(-1, 4).shape) == {"dcn": 1, "data": 2, "fsdp": 4}
    assert dict(sharding.make_mesh(2, -1).shape) == {"dcn": 1, "data": 2, "fsdp": 4}
    assert dict(sharding.make_mesh(fsdp=2, dcn=2).shape) == {"dcn": 2, "data": 2, "fsdp": 2}


@pytest.mark.parametrize(
    ("count", "dcn", "sizes"),
    [(1, 1, (1, 1, 1)), (8, 1, (1, 1, 8)), (12, 1, (1, 3, 4)), (256, 1, (1, 16, 16))]
    + [(64, 2, (2, 2, 16)), (6, 2, (2, 3, 1))],
)
def test_a_mesh_that_is_left_open_shards_over_up_to_sixteen(count, dcn, sizes) -> None:
    assert sharding.mesh_shape(count, dcn, -1, -1) == sizes


@pytest.mark.parametrize("sizes", [(3, 2, 1), (8, 1, 0), (-1, -1, 3), (0, 8, 1), (-2, 4, 1)])
def test_a_mesh_that_does_not_fit_is_told(sizes) -> None:
    with pytest.raises(UserError, match="mesh is dcn"):
        sharding.make_mesh(*sizes)


def test_rules_decide_by_path() -> None:
    mesh = sharding.make_mesh(2, 4)
    big = {"kernel": jnp.zeros((3, 3, 4, 16)), "matrix": jnp.zeros((8, 64))}
    big |= {"odd inputs": jnp.zeros((9, 64)), "neither": jnp.zeros((9, 9))}
    tree = {"big": big, "odd": jnp.zeros(3), "step": jnp.zeros(())}
    got = sharding.tree_shardings(
        tree, mesh, [("big/.*", "fsdp"), ("odd", "fsdp"), (".*", "replicate")]
    )
    assert got["big"]["kernel"].spec == P(None, None, None, "fsdp")
    assert got["big"]["matrix"].spec == P("fsdp", None)
    assert got["big"]["odd inputs"].spec == P(None, "fsdp")
    assert got["big"]["neither"].spec == P()
    assert got["odd"].spec == P() and got["step"].spec == P()
    with pytest.raises(UserError, match="no sharding rule"):
        sharding.tree_shardings(tree, mesh, [("big/.*", "fsdp")])
    with pytest.raises(UserError, match="is 'shred'; it must be one of replicate, fsdp"):
        sharding.check_rules([(".*", "replicate"), ("big/.*", "shred")])


def test_batches_are_split_over_all_devices_in_order() -> None:
    mesh = sharding.make_mesh(2, 4)
    batches = [{"image": np.full((16, 2), i, np.float32), "captions": ["x"]} for i in range(3)]
    got = list(sharding.global_batches(batches, mesh))
    assert [float(b["image"][0, 0]) for b in got] == [0, 1, 2]
    assert "captions" not in got[0]
    assert got[0]["image"].addressable_shards[0].data.shape == (2, 2)
    assert list(sharding.global_batches([], mesh)) == []


def test_put_places_host_arrays() -> None:
    mesh = sharding.make_mesh(2, 4)
    tree = {"w": np.arange(8.0).reshape(8, 1)}
    shardings = sharding.tree_shardings(tree, mesh, [(".*", "fsdp")])
    placed = sharding.put(tree, shardings)
    np.testing.assert_array_equal(placed["w"], tree["w"])
    assert placed["w"].addressable_shards[0].data.shape == (2, 1)
    assert jax.tree.leaves(placed)[0].sharding.spec == P("fsdp", None)
