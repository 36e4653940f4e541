"""A compiled program's cost, and what follows from it on a chip."""

from collections import Counter
from typing import Any, NamedTuple

from colorjax.devices.chips import GIB, Topology
from colorjax.plan import hlo


class Cost(NamedTuple):
    """Of one run of a program on one chip."""

    what: str
    per_chip: int  # pictures on a chip
    seconds: float  # of compiling
    flops: float  # by the compiler, with what remat computes again; it misses some fused products
    model_flops: float  # without it: of the same mathematics on one picture, times the pictures
    bytes: float  # read and written, by the compiler
    cycles: int  # what the compiler expects of all fusions; 0: it does not say
    arguments: int  # bytes
    temporaries: int
    peak: int
    collectives: dict[str, tuple[int, int]]  # kind -> how many, bytes
    hot: list[tuple[str, int]]  # where most cycles go


def measure(
    compiled: Any,
    what: str,
    per_chip: int,
    model_flops: float,
    seconds: float,
    repeated: float = 0.0,
) -> Cost:
    """Reads a compiled program; `repeated` are FLOPs that the compiler's own count leaves out."""
    memory, analysis = compiled.memory_analysis(), compiled.cost_analysis()
    program = hlo.read(compiled.as_text())
    kinds: dict[str, tuple[int, int]] = {}
    for one in program.collectives:
        count, size = kinds.get(one.kind, (0, 0))
        kinds[one.kind] = (count + one.times, size + one.times * one.size)
    arguments, temporaries = memory.argument_size_in_bytes, memory.temp_size_in_bytes
    peak = getattr(memory, "peak_memory_in_bytes", 0) or arguments + temporaries
    groups: Counter[str] = Counter()
    for source, cycles in program.by_source.items():
        groups[layer(source)] += cycles
    return Cost(
        what,
        per_chip,
        seconds,
        analysis["flops"] + repeated,
        model_flops,
        analysis["bytes accessed"] + program.repeated,
        program.cycles,
        arguments,
        temporaries,
        peak,
        kinds,
        groups.most_common(10),
    )


def too_large(what: str, per_chip: int) -> Cost:
    """Of a program that the compiler found no room for: more memory than any chip has."""
    return Cost(what, per_chip, 0.0, 0.0, 0.0, 0.0, 0, 0, 2**60, 2**60, {}, [])


LAYERS = ("attn1", "attn2", "ff", "conv1", "conv2", "norm", "upsamplers", "downsamplers", "vae")


def layer(source: str) -> str:
    """The kind of layer that an operation's name tells of, and which way it goes."""
    if "/" not in source:
        return "copies and other operations without a name"
    way = "backward" if "transpose(" in source else "forward"
    kinds = [kind for kind in LAYERS if f"/{kind}" in source]
    if kinds:
        return f"{way} {kinds[0]}"
    return f"{way} other layers" if "/" in source.removeprefix("jit(step)/") else "update"


class Estimate(NamedTuple):
    """Seconds a step, by three ways of looking at it, none of them a measurement."""

    compiler: float  # cycles over the clock; 0: not said
    compute: float  # FLOPs, the compiler's or the mathematics' if more, over the peak
    memory: float  # bytes over the bandwidth
    network: float  # collectives' bytes over the links

    @property
    def alone(self) -> float:
        """Of computing without the network."""
        return self.compiler or max(self.compute, self.memory)

    @property
    def step(self) -> float:
        """The longest of what must happen, with the network hidden behind the computing."""
        return max(self.alone, self.network)

    @property
    def limit(self) -> str:
        if self.network >= max(self.compiler, self.compute, self.memory):
            return "network"
        if self.compiler > 1.5 * max(self.compute, self.memory):
            return "how the compiler runs it"
        return "matrix units" if self.compute >= self.memory else "memory bandwidth"


def estimate(cost: Cost, topology: Topology) -> Estimate:
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
    """The plan, as text. `pictures` are all that the training sees."""
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
