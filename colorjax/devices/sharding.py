"""Meshes, sharding rules by path, and arrays onto and off devices. Knows trees, not models."""

import functools
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from colorjax.errors import UserError, one_of

AXES = ("dcn", "data", "fsdp")  # slow network first: only gradients cross it
BATCH = P(AXES)
Rules = Sequence[tuple[str, str]]  # (regex over the whole path, one of RULES)
MOST_FSDP = 16  # beyond, the optimizer's share is small and the widths of layers do not divide


def mesh_shape(count: int, dcn: int = 1, data: int = -1, fsdp: int = 1) -> tuple[int, int, int]:
    """Sizes of the axes for `count` devices; one of `data` and `fsdp` may be -1, what is left.

    With both -1, weights and optimizer are split over as many devices as divide the rest, up to 16.

    Raises:
        UserError: sizes that do not multiply to the number of devices.
    """
    asked = f"mesh is dcn={dcn}, data={data}, fsdp={fsdp}"
    if dcn < 1 or 0 in (data, fsdp) or min(data, fsdp) < -1:
        raise UserError(f"{asked}; sizes are 1 or more, or -1 for what is left")
    if data == fsdp == -1:
        fsdp = math.gcd(max(count // dcn, 1), MOST_FSDP)
    known = dcn * max(data, 1) * max(fsdp, 1)
    left = count // known
    sizes = (dcn, left if data == -1 else data, left if fsdp == -1 else fsdp)
    if np.prod(sizes) != count:
        raise UserError(f"{asked}; the product must be the number of devices, {count}")
    return sizes


def make_mesh(
    data: int = -1, fsdp: int = 1, dcn: int = 1, devices: Sequence[Any] | None = None
) -> Mesh:
    """All devices as `dcn` x `data` x `fsdp`.

    `dcn` is the number of TPU slices, or of other groups of hosts, that a slow network joins: the
    batch is split over them, weights never are.

    Raises:
        UserError: sizes that do not multiply to the number of devices, or that slices cannot have.
    """
    devices = jax.devices() if devices is None else list(devices)
    sizes = mesh_shape(len(devices), dcn, data, fsdp)
    slices = {getattr(device, "slice_index", 0) for device in devices}
    if len(slices) > 1 and dcn % len(slices):
        raise UserError(f"mesh.dcn is {dcn}; the devices are in {len(slices)} slices: give that")
    if len(slices) > 1:
        within = (dcn // len(slices), *sizes[1:])
        array = mesh_utils.create_hybrid_device_mesh(within, (len(slices), 1, 1), devices)
    elif devices[0].platform == "tpu":
        array = mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True)
    else:
        array = np.array(devices).reshape(sizes)
    # Explicit axes, the default, make `nn.Conv` raise; the partitioner is to decide.
    return Mesh(array, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of what is whole on every device."""
    return NamedSharding(mesh, P())


def _split_one_axis(shape: tuple[int, ...], size: int) -> P:
    """Splits the largest dimension that `size` divides; where there is none, nothing is split.

    Of a matrix it splits the inputs if it can: where a layer takes its outputs in parts, as a
    gated one, those parts' gradients would else move between devices before they are summed.
    Vectors, as of norms and biases, stay whole: a collective for each would cost more than they
    weigh.
    """
    fitting = [i for i, length in enumerate(shape) if length % size == 0]
    if size == 1 or len(shape) < 2 or not fitting:
        return P()
    is_matrix = len(shape) == 2
    chosen = fitting[0] if is_matrix else max(fitting, key=lambda i: shape[i])
    return P(*("fsdp" if i == chosen else None for i in range(len(shape))))


RULES = {"replicate": lambda shape, size: P(), "fsdp": _split_one_axis}


def check_rules(rules: Rules) -> None:
    """Checks the names of the rules that `tree_shardings` is to follow.

    Raises:
        UserError: an unknown rule.
    """
    for pattern, rule in rules:
        one_of(f"the sharding rule of {pattern!r}", rule, RULES)


def tree_shardings(tree: Any, mesh: Mesh, rules: Rules) -> Any:
    """A sharding for every leaf of a tree, by the first rule that matches its path.

    `check_rules` has found the rules sound.

    Raises:
        UserError: a leaf that no rule matches.
    """

    def rule_for(path: Any, leaf: Any) -> NamedSharding:
        name = path_name(path)
        for pattern, rule in rules:
            if re.fullmatch(pattern, name):
                return NamedSharding(mesh, RULES[rule](leaf.shape, mesh.shape["fsdp"]))
        raise UserError(
            f"no sharding rule matches {name!r}; end the rules with ('.*', 'replicate')"
        )

    return jax.tree_util.tree_map_with_path(rule_for, tree)


def path_name(path: Any) -> str:
    """A leaf's path as rules and manifests write it: `params/conv_in/kernel`."""
    return "/".join(_name(entry) for entry in path)


def _name(entry: Any) -> str:
    return str(getattr(entry, "key", getattr(entry, "name", getattr(entry, "idx", entry))))


def gathered(params: Any) -> Any:
    """Sharded parameters whole on every device, at this point of a program and nowhere else.

    Without it the partitioner shards activations by the weights' sharding, with an all-to-all at
    every layer. What made the parameters, as a cast to the compute type, keeps their sharding: half
    the bytes are gathered then.
    """
    if jax.sharding.get_abstract_mesh().empty:
        return params
    # Alone, the second constraint would be taken for the sharding of the cast before it, and
    # float32 would be gathered.
    unconstrained = jax.tree.map(lambda leaf: P(*[P.UNCONSTRAINED] * leaf.ndim), params)
    params = jax.lax.with_sharding_constraint(params, unconstrained)
    return jax.lax.with_sharding_constraint(params, jax.tree.map(lambda _: P(), params))


def put(tree: Any, shardings: Any) -> Any:
    """Places host arrays, the same on every process, onto the mesh."""
    return jax.tree.map(
        lambda leaf, sharding: jax.make_array_from_callback(
            np.shape(leaf), sharding, lambda index: np.asarray(leaf)[index]
        ),
        tree,
        shardings,
    )


@functools.cache
def _gather(mesh: Mesh) -> Any:
    return jax.jit(lambda leaf: leaf, out_shardings=replicated(mesh))


def to_host(leaf: Any, keep: bool = True) -> np.ndarray:
    """A whole array on the host, though its parts may lie with other processes.

    Then all processes must call it. With `keep` false this one only helps the others, and gets
    something empty.
    """
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        if not leaf.is_fully_replicated and isinstance(leaf.sharding, NamedSharding):
            leaf = _gather(leaf.sharding.mesh)(leaf)
        leaf = leaf.addressable_data(0)
    return np.asarray(leaf) if keep else np.empty(0)


def global_batches(batches: Iterable[dict[str, Any]], mesh: Mesh) -> Iterator[dict[str, Any]]:
    """Places the arrays of each batch onto the mesh, every process its part; one batch ahead.

    Transfers are asynchronous: handing out a batch only after the next one was started keeps the
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
