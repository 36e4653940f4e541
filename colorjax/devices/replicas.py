"""A function of a batch over many devices, each with its share as if it were alone.

Not partitioned by the compiler but cut by hand: every device runs the program of one device, so
nothing is communicated and the bytes are those of one device with the same share.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from colorjax.devices import sharding
from colorjax.errors import UserError

# What a tree of specs says of an array, or of all arrays below it in a tree.
CUT = sharding.BATCH  # along its first axis, each device a share
WHOLE = P()  # each device has all of it


def mesh_of(devices: str) -> Mesh:
    """`all` devices, of all processes that have joined, or so many of this one.

    Raises:
        UserError: something else, or more than there are.
    """
    if devices == "all":
        return sharding.make_mesh()
    if not devices.isdigit() or int(devices) < 1:
        raise UserError(f"mesh is {devices!r}; it must be a number of devices, or 'all'")
    local = jax.local_devices()
    if int(devices) > len(local):
        raise UserError(f"mesh is {devices}; this machine has {len(local)} devices")
    return sharding.make_mesh(devices=local[: int(devices)])


def local_mesh(devices: str | None) -> Mesh | None:
    """This process's devices, where processes share pictures and not the devices for one of them.

    `devices` is `all`, a number, or None for none.

    Raises:
        UserError: as `mesh_of`.
    """
    if devices is None:
        return None
    return mesh_of(str(jax.local_device_count()) if devices == "all" else devices)


def program(function: Callable[..., Any], mesh: Mesh, *specs: Any) -> Any:
    """`function`, jitted, for inputs that were placed by these specs; its results are cut.

    With several processes all call it with the same inputs; `to_host` gives them the whole result.

    Args:
        specs: for each input a tree of `CUT` and `WHOLE`, of the input's structure or of the
            beginning of it.
    """
    shared = jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=CUT, check_vma=False)
    return jax.jit(shared)


def place(tree: Any, mesh: Mesh, specs: Any) -> Any:
    """Host arrays, the same on every process, onto the devices as `program` takes them."""

    def below(spec: P, part: Any) -> Any:
        return jax.tree.map(lambda _: NamedSharding(mesh, spec), part)

    return sharding.put(tree, jax.tree.map(below, specs, tree))


def to_host(tree: Any) -> Any:
    """Whole arrays on the host, though parts may lie with other processes, which must all ask."""
    return jax.tree.map(sharding.to_host, tree)
