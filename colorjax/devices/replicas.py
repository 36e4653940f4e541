"""A function of a batch over many devices, each with its share as if it were alone.

Not partitioned by the compiler but cut by hand: every device runs the program of one device, so
nothing is communicated and the bytes are those of one device with the same share.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from colorjax.devices import processes, sharding
from colorjax.errors import UserError


def mesh_of(devices: str) -> Mesh:
    """`all` devices, of all processes that the environment tells of, or so many of this one.

    Raises:
        UserError: something else, or more than there are.
    """
    if devices == "all":
        processes.join()
        return sharding.make_mesh()
    if not devices.isdigit() or int(devices) < 1:
        raise UserError(f"mesh is {devices!r}; it must be a number of devices, or 'all'")
    found = jax.local_devices()
    if int(devices) > len(found):
        raise UserError(f"mesh is {devices}; this machine has {len(found)} devices")
    return sharding.make_mesh(devices=found[: int(devices)])


class Spread:
    """`function(*inputs)` with the inputs that are `batched` cut along their first axis.

    What it gives is cut likewise. With several processes all call it with the same inputs, and all
    get the whole result.
    """

    def __init__(self, function: Callable[..., Any], mesh: Mesh, batched: Sequence[bool]) -> None:
        self._mesh = mesh
        specs = tuple(sharding.BATCH if cut else P() for cut in batched)
        self._specs = specs
        self.jitted = jax.jit(
            jax.shard_map(
                function, mesh=mesh, in_specs=specs, out_specs=sharding.BATCH, check_vma=False
            )
        )

    def place(self, at: int, tree: Any) -> Any:
        """Arrays of input number `at` onto the devices, to be given as they are later."""
        where = NamedSharding(self._mesh, self._specs[at])
        return sharding.put(tree, jax.tree.map(lambda _: where, tree))

    def __call__(self, *inputs: Any) -> np.ndarray:
        """The result, on the host."""
        placed = [
            one if self._is_placed(one) else self.place(i, one) for i, one in enumerate(inputs)
        ]
        return jax.tree.map(sharding.to_host, self.jitted(*placed))

    def _is_placed(self, tree: Any) -> bool:
        leaves = jax.tree.leaves(tree)
        return bool(leaves) and isinstance(leaves[0], jax.Array)
