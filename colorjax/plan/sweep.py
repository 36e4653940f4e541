"""Ranks batch sizes, remat policies and fsdp sizes of the latent stage without whole compiles.

The levels of the UNet are compiled alone, for one chip, and so is the optimizer's update, for the
whole topology; the sums leave out the first and last convolution and the frozen networks, which
cost the same in every row.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

from colorjax.devices import chips
from colorjax.maths.types import Params
from colorjax.plan import flops, lowering, roofline, unet_levels
from colorjax.plan.costs import Cost, Lowered, Price
from colorjax.train import loop, optim


class Candidates(NamedTuple):
    """What is to be ranked, in every combination."""

    per_chip: Sequence[int]  # pictures on a chip
    remats: Sequence[str]
    fsdps: Sequence[int]


class Choice(NamedTuple):
    """One combination, with what it would cost."""

    per_chip: int
    remat: str
    fsdp: int
    seconds: float  # a step, the longer of computing and network
    memory: float  # bytes on a chip, at most: what the levels keep for the way back all at once
    pictures: float  # a second, on all chips


class Held(NamedTuple):
    """Bytes on a chip that do not grow with the batch, and bytes that a step exchanges."""

    memory: float
    exchanged: float


def rank(
    config: ConfigDict, topology: chips.Topology, candidates: Candidates, price: Price
) -> list[Choice]:
    """Every combination of the candidates, the fastest first and those too large for a chip last.

    Args:
        price: what compiles a program, or knows its cost from before.
    """
    choices = []
    for fsdp in candidates.fsdps:
        mesh = lowering.mesh_of(topology, _with(config, fsdp=fsdp))
        update = price(
            {"update": fsdp, "topology": topology.name},
            lambda: Lowered(f"update, fsdp {fsdp}", 0, _update(config, mesh).lower()),
        )
        held = _held(config, mesh)
        for per_chip in candidates.per_chip:
            for remat in candidates.remats:
                costs = [*_levels(_with(config, remat), topology, per_chip, price), update]
                seconds = _seconds(costs, held, topology)
                memory = held.memory + sum(one.temporaries for one in costs[:-1])
                pictures = per_chip * topology.size / seconds
                choices.append(Choice(per_chip, remat, fsdp, seconds, memory, pictures))
    room = topology.chip.memory
    return sorted(choices, key=lambda one: (one.memory > room, -one.pictures))


def _with(config: ConfigDict, remat: str = "", fsdp: int = 0) -> ConfigDict:
    changed = config.copy_and_resolve_references()
    changed.remat = remat or config.remat
    if fsdp:
        changed.mesh.update(data=-1, fsdp=fsdp)
    return changed


def _levels(
    config: ConfigDict, topology: chips.Topology, per_chip: int, price: Price
) -> Iterator[Cost]:
    """The costs of the UNet's levels, each on one chip of a topology."""
    kind = topology.name.split(":")[0]
    single = chips.topology(f"{kind}:{'x'.join('1' for _ in topology.shape)}")
    mesh = lowering.mesh_of(single, _with(config, fsdp=1))
    batch = unet_levels.batch(config, per_chip)
    for level in unet_levels.levels(unet_levels.model_of(config).unet, batch):

        def lower(level: unet_levels.Level = level) -> Lowered:
            traced = unet_levels.gradient(level, config, config.latent, mesh)
            again = flops.repeated(traced.jaxpr.jaxpr)
            return Lowered(level.name, per_chip, traced.lower(), repeated=again)

        deciding = {"level": level.name, "remat": config.remat, "chip": kind, "batch": per_chip}
        yield price(deciding, lower)


def _update(config: ConfigDict, mesh: Mesh) -> Any:
    """The optimizer's step without the network's, traced, on gradients sharded as the weights."""
    options = config.latent
    stage = unet_levels.stage(config, options)
    programs = loop.programs(stage, options, config, mesh)
    tx = optim.optimizer(options, 1000)

    def step(state: optim.TrainState, grads: Params) -> optim.TrainState:
        return optim.updated(state, grads, tx, options.ema_decay)

    state = lowering.placed(programs.abstract, programs.shardings)
    with jax.set_mesh(mesh):
        jitted = jax.jit(step, out_shardings=programs.shardings, donate_argnums=0)
        return jitted.trace(state, state.params)


def _held(config: ConfigDict, mesh: Mesh) -> Held:
    """What a chip holds whatever the batch is: state, frozen weights, gathered weights, gradients.

    Gathered weights and gradients are in the compute type; each crosses the network once a step.
    """
    stage = unet_levels.stage(config, config.latent)
    programs = loop.programs(stage, config.latent, config, mesh)
    narrow = jnp.dtype(config.dtype)

    def narrowed(leaf: Any) -> float:
        return float(leaf.size * narrow.itemsize)

    def share(leaf: Any, where: Any) -> float:
        return float(math.prod(where.shard_shape(leaf.shape)) * leaf.dtype.itemsize)

    state = sum(jax.tree.leaves(jax.tree.map(share, programs.abstract, programs.shardings)))
    weights = sum(map(narrowed, jax.tree.leaves(programs.abstract.params)))
    frozen = sum(map(narrowed, jax.tree.leaves(stage.frozen)))
    return Held(state + 2 * weights + frozen, 2 * weights)


def _seconds(costs: Sequence[Cost], held: Held, topology: chips.Topology) -> float:
    """A step's time: its parts one after the other, or the network's, which hides behind them."""
    computing = sum(roofline.estimate(one, topology).computing for one in costs)
    share = (topology.size - 1) / topology.size  # a chip has its own part already
    return max(computing, held.exchanged * share / topology.chip.links)


def report(choices: list[Choice], topology: chips.Topology) -> str:
    """The ranking as a table of text."""
    rows = ["pictures a chip  remat     fsdp  ms a step  images/s  GiB a chip, at most"]
    for one in choices:
        fits = "" if one.memory <= topology.chip.memory else "  does NOT fit"
        rows.append(
            f"{one.per_chip:>15}  {one.remat:<8}  {one.fsdp:>4}  {1e3 * one.seconds:>9.1f}  "
            f"{one.pictures:>8.0f}  {one.memory / chips.GIB:>19.1f}{fits}"
        )
    return "\n".join(rows)
