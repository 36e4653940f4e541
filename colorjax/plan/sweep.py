"""Ranks batch sizes, remat policies and fsdp sizes of the latent stage without whole compiles.

The levels of the UNet are compiled alone, for one chip, and so is the optimizer's update, for the
whole topology; the sums leave out the first and last convolution and the frozen networks, which
cost the same in every row.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

from colorjax.devices import chips
from colorjax.plan import flops, lowering, roofline, unet_levels
from colorjax.train import loop, optim

Remember = Callable[[dict[str, Any], Callable[[], roofline.Cost]], roofline.Cost]
Compile = Callable[[Any, str, int, float, float], roofline.Cost]


class Choice(NamedTuple):
    per_chip: int
    remat: str
    fsdp: int
    seconds: float  # a step, the longer of computing and network
    memory: float  # bytes on a chip, at most: what the levels keep for the way back all at once
    pictures: float  # a second, on all chips


def rank(
    config: ConfigDict,
    topology: chips.Topology,
    options: tuple[Sequence[int], Sequence[str], Sequence[int]],
    remember: Remember,
    compile: Compile,
) -> list[Choice]:
    """Every combination of batches a chip, remat policies and fsdp sizes, the fastest first.

    Those that do not fit the chip come last.
    """
    found = []
    for fsdp in options[2]:
        mesh = lowering.mesh_of(topology, _with(config, fsdp=fsdp))
        update = remember(
            {"update": fsdp, "topology": topology.name},
            lambda: compile(_update(config, mesh).lower(), f"update, fsdp {fsdp}", 0, 0.0, 0.0),
        )
        state = _state_bytes(config, mesh)
        for per_chip in options[0]:
            for remat in options[1]:
                costs = list(_levels(_with(config, remat), topology, per_chip, remember, compile))
                found.append(_choice(costs, update, state, topology, per_chip, remat, fsdp))
    room = topology.chip.memory
    return sorted(found, key=lambda one: (one.memory > room, -one.pictures))


def _with(config: ConfigDict, remat: str = "", fsdp: int = 0) -> ConfigDict:
    changed = config.copy_and_resolve_references()
    changed.remat = remat or config.remat
    if fsdp:
        changed.mesh.update(data=-1, fsdp=fsdp)
    return changed


def _levels(
    config: ConfigDict,
    topology: chips.Topology,
    per_chip: int,
    remember: Remember,
    compile: Compile,
) -> Iterator[roofline.Cost]:
    kind = topology.name.split(":")[0]
    single = chips.topology(f"{kind}:{'x'.join('1' for _ in topology.shape)}")
    mesh = lowering.mesh_of(single, _with(config, fsdp=1))
    for level in unet_levels.levels(
        unet_levels.model_of(config).unet, unet_levels.batch(config, per_chip)
    ):

        def make(level: unet_levels.Level = level) -> roofline.Cost:
            traced = unet_levels.gradient(level, config, config.latent, mesh)
            again = flops.repeated(traced.jaxpr.jaxpr)
            return compile(traced.lower(), level.name, per_chip, 0.0, again)

        deciding = {"level": level.name, "remat": config.remat, "chip": kind, "batch": per_chip}
        yield remember(deciding, make)


def _update(config: ConfigDict, mesh: Mesh) -> Any:
    """The optimizer's step alone, on gradients that lie as the weights do."""
    options = config.latent
    stage = unet_levels.stage(config, options)
    made = loop.programs(stage, options, config, mesh)
    tx = optim.optimizer(options, 1000)

    def step(state: optim.TrainState, grads: Any) -> Any:
        return optim.updated(state, grads, tx, options.ema_decay)

    state = lowering.placed(made.abstract, made.shardings)
    with jax.set_mesh(mesh):
        jitted = jax.jit(step, out_shardings=made.shardings, donate_argnums=0)
        return jitted.trace(state, state.params)


class Held(NamedTuple):
    """Bytes on a chip that do not grow with the batch, and bytes that a step exchanges."""

    memory: float
    exchanged: float


def _state_bytes(config: ConfigDict, mesh: Mesh) -> Held:
    stage = unet_levels.stage(config, config.latent)
    made = loop.programs(stage, config.latent, config, mesh)

    def size(leaf: Any, kind: Any = None) -> float:
        return float(leaf.size * (kind or leaf.dtype).itemsize)

    def share(leaf: Any, where: Any) -> float:
        return float(math.prod(where.shard_shape(leaf.shape)) * leaf.dtype.itemsize)

    kept = sum(jax.tree.leaves(jax.tree.map(share, made.abstract, made.shardings)))
    narrow = jnp.dtype(config.dtype)
    weights = sum(size(leaf, narrow) for leaf in jax.tree.leaves(made.abstract.params))
    frozen = sum(size(leaf, narrow) for leaf in jax.tree.leaves(stage.frozen))
    return Held(kept + 2 * weights + frozen, 2 * weights)


def _choice(
    costs: list[roofline.Cost],
    update: roofline.Cost,
    held: Held,
    topology: chips.Topology,
    per_chip: int,
    remat: str,
    fsdp: int,
) -> Choice:
    chip = topology.chip
    computing = sum(roofline.estimate(one, topology).alone for one in [*costs, update])
    network = held.exchanged * (topology.size - 1) / topology.size / chip.links
    seconds = max(computing, network)
    memory = held.memory + sum(one.temporaries for one in costs)
    return Choice(per_chip, remat, fsdp, seconds, memory, per_chip * topology.size / seconds)


def report(choices: list[Choice], topology: chips.Topology) -> str:
    rows = ["pictures a chip  remat     fsdp  ms a step  images/s  GiB a chip, at most"]
    for one in choices:
        fits = "" if one.memory <= topology.chip.memory else "  does NOT fit"
        rows.append(
            f"{one.per_chip:>15}  {one.remat:<8}  {one.fsdp:>4}  {1e3 * one.seconds:>9.1f}  "
            f"{one.pictures:>8.0f}  {one.memory / chips.GIB:>19.1f}{fits}"
        )
    return "\n".join(rows)
