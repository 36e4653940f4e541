"""What follows from a program's cost on a chip: times that no program beats, and a report."""

from typing import NamedTuple

from colorjax.devices.chips import GIB, Topology
from colorjax.plan.costs import Cost


class Estimate(NamedTuple):
    """Seconds that a step takes, estimated in four ways, none of them a measurement."""

    compiler: float  # cycles over the clock; 0: not said
    compute: float  # FLOPs, the compiler's or the mathematics' if more, over the peak
    memory: float  # bytes over the bandwidth
    network: float  # collectives' bytes over the links

    @property
    def computing(self) -> float:
        """Seconds of the step if the network took no time."""
        return self.compiler or max(self.compute, self.memory)

    @property
    def step(self) -> float:
        """The longest of what must happen, with the network hidden behind the computing."""
        return max(self.computing, self.network)

    @property
    def limit(self) -> str:
        """What a step would have to do less of to become faster."""
        if self.network >= max(self.compiler, self.compute, self.memory):
            return "network"
        if self.compiler > 1.5 * max(self.compute, self.memory):
            return "how the compiler runs it"
        return "matrix units" if self.compute >= self.memory else "memory bandwidth"


def estimate(cost: Cost, topology: Topology) -> Estimate:
    """A cost over the peaks of a topology's chips and links."""
    chip = topology.chip
    # An all-reduce moves its bytes twice: a reduce-scatter and an all-gather.
    moved = sum((2 if k == "all-reduce" else 1) * v[1] for k, v in cost.collectives.items())
    share = (topology.size - 1) / topology.size
    return Estimate(
        cost.cycles / chip.clock,
        max(cost.flops, cost.model_flops) / chip.flops,
        cost.bytes / chip.bandwidth,
        moved * share / chip.links,
    )


def report(cost: Cost, topology: Topology, pictures: int | None) -> str:
    """The plan, as text.

    Args:
        pictures: how many the whole training sees, epochs included; None if nothing is trained.
    """
    chip, times = topology.chip, estimate(cost, topology)
    rate = cost.per_chip * topology.size / times.step
    fits = "fits" if cost.peak <= chip.memory else "does NOT fit"
    rows = [
        f"{cost.what} on {topology.name}: {topology.size} x {chip.kind}, {cost.per_chip} pictures "
        f"a chip; compiled in {cost.seconds:.0f} s",
        "",
        "on each chip, by the compiler",
        f"  memory     arguments {cost.arguments / GIB:.2f} GiB, temporaries "
        f"{cost.temporaries / GIB:.2f} GiB, peak {cost.peak / GIB:.2f} of "
        f"{chip.memory / GIB:.0f} GiB: {fits}",
        f"  computing  {cost.flops / 1e12:.3f} TFLOP counted, {cost.model_flops / 1e12:.3f} of the "
        f"mathematics, {cost.bytes / 1e9:.1f} GB accessed",
    ]
    for kind, (count, size) in sorted(cost.collectives.items()):
        rows.append(f"  {kind:<18} {count} of together {size / 1e9:.3f} GB")
    rows += [
        "",
        "a step: estimates, nothing was run",
        f"  {_ms(times.compiler)} the compiler's cycles of all fusions at {chip.clock / 1e9:.2f} "
        "GHz (derived), without collectives",
        f"  {_ms(times.compute)} FLOPs over {chip.flops / 1e12:.0f} TFLOP/s",
        f"  {_ms(times.memory)} bytes over {chip.bandwidth / 1e12:.2f} TB/s",
        f"  {_ms(times.network)} collectives over {chip.links / 1e9:.0f} GB/s of links",
        f"  {_ms(times.step)} the longest, limited by {times.limit}: at most "
        f"{100 * cost.model_flops / times.step / chip.flops:.0f} % MFU, {rate:.0f} images/s",
    ]
    if pictures is not None:
        days = pictures / rate / 86400
        hours = days * 24 * topology.size
        rows.append(f"  {pictures} pictures take at least {days:.2g} days, {hours:.3g} chip-hours")
    if cost.cycles:
        rows += ["", "where the cycles go"]
        rows += [f"  {100 * n / cost.cycles:5.1f} %  {name}" for name, n in cost.hot]
    return "\n".join(rows)


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:8.1f} ms" if seconds else "  not said"
