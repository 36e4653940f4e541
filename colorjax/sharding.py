"""Meshes, sharding rules by path, and batches onto devices. Knows trees, not models."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from colorjax.errors import UserError

BATCH = P(("data", "fsdp"))
Rules = Sequence[tuple[str, str]]  # (regex over the whole path, "replicate" or "fsdp")


def make_mesh(data: int = -1, fsdp: int = 1) -> Mesh:
    """All devices as `data` x `fsdp`; -1 means what is left.

    Raises:
        UserError: sizes that do not multiply to the number of devices.
    """
    count = jax.device_count()
    data, fsdp = (
        data if data > 0 else count // max(fsdp, 1),
        fsdp if fsdp > 0 else count // max(data, 1),
    )
    if data * fsdp != count:
        raise UserError(
            f"mesh is data={data}, fsdp={fsdp}; the product must be the number of devices, {count}"
        )
    # Explicit axes, the default, make `nn.Conv` raise; the partitioner is to decide.
    return jax.make_mesh((data, fsdp), ("data", "fsdp"), axis_types=(AxisType.Auto,) * 2)


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, P())


def _shard_largest(shape: tuple[int, ...], size: int) -> P:
    """Splits the largest dimension that `size` divides; none, and the leaf is replicated."""
    fitting = [i for i, length in enumerate(shape) if length % size == 0]
    if size == 1 or not fitting:
        return P()
    chosen = max(fitting, key=lambda i: shape[i])
    return P(*("fsdp" if i == chosen else None for i in range(len(shape))))


def tree_shardings(tree: Any, mesh: Mesh, rules: Rules) -> Any:
    """A sharding for every leaf, by the first rule that matches its path.

    Raises:
        UserError: a leaf that no rule matches, or an unknown rule.
    """

    def of(path: Any, leaf: Any) -> NamedSharding:
        name = "/".join(_name(entry) for entry in path)
        for pattern, rule in rules:
            if re.fullmatch(pattern, name):
                if rule == "replicate":
                    return replicated(mesh)
                if rule == "fsdp":
                    return NamedSharding(mesh, _shard_largest(leaf.shape, mesh.shape["fsdp"]))
                raise UserError(f"sharding rule {rule!r} is unknown; use 'replicate' or 'fsdp'")
        raise UserError(
            f"no sharding rule matches {name!r}; end the rules with ('.*', 'replicate')"
        )

    return jax.tree_util.tree_map_with_path(of, tree)


def _name(entry: Any) -> str:
    return str(getattr(entry, "key", getattr(entry, "name", getattr(entry, "idx", entry))))


def put(tree: Any, shardings: Any) -> Any:
    """Host arrays, the same on every process, onto the mesh."""
    return jax.tree.map(
        lambda leaf, sharding: jax.make_array_from_callback(
            np.shape(leaf), sharding, lambda index: np.asarray(leaf)[index]
        ),
        tree,
        shardings,
    )


def global_batches(batches: Iterable[dict[str, Any]], mesh: Mesh) -> Iterator[dict[str, Any]]:
    """Arrays of each batch onto the mesh, every process giving its part; one batch ahead.

    Transfers are asynchronous: handing out a batch after the next one was started keeps the
    devices from waiting. What is not an array is left out.
    """
    sharding = NamedSharding(mesh, BATCH)
    ahead: dict[str, Any] | None = None
    for batch in batches:
        arrays = {k: v for k, v in batch.items() if isinstance(v, np.ndarray)}
        current = {
            k: jax.make_array_from_process_local_data(sharding, v) for k, v in arrays.items()
        }
        if ahead is not None:
            yield ahead
        ahead = current
    if ahead is not None:
        yield ahead
