"""What chips can do, as their makers publish it, and TPU topologies by name."""

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

from colorjax.errors import UserError


class Chip(NamedTuple):
    """One TPU chip. Bandwidths are bytes/s; `links` is that of all its ICI links, one way."""

    kind: str  # what jax calls it, as a prefix
    flops: float  # dense bfloat16, FLOP/s
    memory: float  # bytes
    bandwidth: float
    links: float
    clock: float  # Hz; peak / (matrix units x FLOPs a cycle): derived, not published
    accelerator: str  # name of an accelerator type, before the number
    cores: int  # that the accelerator type counts for each chip
    dimensions: int  # of the network


GIB = 2**30
TPUS: Mapping[str, Chip] = {
    "v4": Chip("TPU v4", 275e12, 32 * GIB, 1.23e12, 300e9, 1.05e9, "v4", 2, 3),
    "v5e": Chip("TPU v5 lite", 197e12, 16 * GIB, 0.82e12, 200e9, 1.5e9, "v5litepod", 1, 2),
    "v5p": Chip("TPU v5", 459e12, 95 * GIB, 2.77e12, 600e9, 1.75e9, "v5p", 2, 3),
    "v6e": Chip("TPU v6 lite", 918e12, 32 * GIB, 1.64e12, 400e9, 1.75e9, "v6e", 1, 2),
}
GPU_FLOPS: Mapping[str, float] = {"NVIDIA A100": 312e12, "NVIDIA H100": 989e12}
MOST_CHIPS = 256


class Topology(NamedTuple):
    """So many chips of one kind in a mesh or torus."""

    name: str  # as libtpu knows it, such as v5e:4x4
    chip: Chip
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """The number of chips."""
        return math.prod(self.shape)


def peak_flops(device_kind: str) -> float | None:
    """FLOP/s of a device by the name jax gives it; None where nobody published one."""
    known = {chip.kind: chip.flops for chip in TPUS.values()} | dict(GPU_FLOPS)
    # By prefix, the longest one: "TPU v5" begins "TPU v5 lite" too.
    fitting = [name for name in known if device_kind.startswith(name)]
    return known[max(fitting, key=len)] if fitting else None


def topology(name: str) -> Topology:
    """`v5e:4x4` and the like: v5e and v6e are two-dimensional, v4 and v5p three-dimensional.

    Raises:
        UserError: an unknown chip, or a shape that it does not come in.
    """
    match = re.fullmatch(r"(\w+):(\d+(?:x\d+)*)", name)
    if not match or match[1] not in TPUS:
        raise UserError(
            f"topology is {name!r}; it must be one of {', '.join(TPUS)} and a shape, such as "
            "v5e:4x4 or v5p:2x2x4"
        )
    chip = TPUS[match[1]]
    shape = tuple(int(n) for n in match[2].split("x"))
    if len(shape) != chip.dimensions or not 1 <= math.prod(shape) <= MOST_CHIPS:
        raise UserError(
            f"topology is {name!r}; {match[1]} has {chip.dimensions} dimensions and this goes up "
            f"to {MOST_CHIPS} chips"
        )
    return Topology(name, chip, shape)


def environment(topology: Topology) -> dict[str, str]:
    """Variables by which libtpu compiles for a topology on a machine that has no TPU."""
    count = topology.size * topology.chip.cores
    return {
        "JAX_PLATFORMS": "cpu",
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_ACCELERATOR_TYPE": f"{topology.chip.accelerator}-{count}",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_WORKER_ID": "0",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # else it locks the machine for all but one process
    }
