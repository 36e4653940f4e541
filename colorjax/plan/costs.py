"""What a program costs: compiled once, measured, kept by a digest of everything that decides it."""

import contextlib
import hashlib
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from colorjax import errors, files
from colorjax.devices.chips import Topology
from colorjax.errors import UserError
from colorjax.plan import hlo

PACKAGE = Path(__file__).parents[1]
FAST_OPTIONS = {"exec_time_optimization_effort": -1.0}
LAYERS = ("attn1", "attn2", "ff", "conv1", "conv2", "norm", "upsamplers", "downsamplers", "vae")


class TooLarge(UserError):
    """A program that does not fit the chip's memory."""


class Lowered(NamedTuple):
    """A program ready for the compiler, with what only its trace can say."""

    what: str  # its name: a stage, "unet", "sampler", a level of the UNet, an update
    per_chip: int  # pictures on a chip
    program: Any  # a `jax.stages.Lowered`; this module does not import jax
    flops: float = 0.0  # of the mathematics on a chip; 0 where only the compiler's count is wanted
    repeated: float = 0.0  # FLOPs on a chip that loops do after their first round
    inputs: Any = None  # shapes and shardings of the training state and of the frozen weights


class Cost(NamedTuple):
    """The cost of one run of a program on one chip."""

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


# Prices a program by what decides it and by how it is lowered, which is not done where the price
# is known from before.
Price = Callable[[dict[str, Any], Callable[[], Lowered]], Cost]


def measure(compiled: Any, lowered: Lowered, seconds: float = 0.0) -> Cost:
    """Reads the cost of a compiled program (a `jax.stages.Compiled`) that took so long to compile.

    XLA's own counts take the body of a loop once: what loops repeat is added here.
    """
    memory, analysis = compiled.memory_analysis(), compiled.cost_analysis()
    program = hlo.read(compiled.as_text())
    kinds: dict[str, tuple[int, int]] = {}
    for one in program.collectives:
        count, size = kinds.get(one.kind, (0, 0))
        kinds[one.kind] = (count + one.times, size + one.times * one.size)
    arguments, temporaries = memory.argument_size_in_bytes, memory.temp_size_in_bytes
    # Not every backend knows its peak; the sum is an upper bound of it.
    peak = getattr(memory, "peak_memory_in_bytes", 0) or arguments + temporaries
    groups: Counter[str] = Counter()
    for source, cycles in program.by_source.items():
        groups[layer(source)] += cycles
    return Cost(
        what=lowered.what,
        per_chip=lowered.per_chip,
        seconds=seconds,
        flops=analysis["flops"] + lowered.repeated,
        model_flops=lowered.flops,
        bytes=analysis["bytes accessed"] + program.repeated,
        cycles=program.cycles,
        arguments=arguments,
        temporaries=temporaries,
        peak=peak,
        collectives=kinds,
        hot=groups.most_common(10),
    )


def layer(source: str) -> str:
    """The kind of layer that an operation's name in the program points to, and its direction."""
    if "/" not in source:
        return "copies and other operations without a name"
    way = "backward" if "transpose(" in source else "forward"
    kinds = [kind for kind in LAYERS if f"/{kind}" in source]
    if kinds:
        return f"{way} {kinds[0]}"
    return f"{way} other layers" if "/" in source.removeprefix("jit(step)/") else "update"


def compiled(lowered: Lowered, topology: Topology, fast: bool) -> Cost:
    """Compiles a program and measures it; a `fast` compilation gives no cycles.

    Raises:
        TooLarge: it does not fit.
    """
    what, per_chip = lowered.what, lowered.per_chip
    start = time.monotonic()
    print(f"compiling {what} for {topology.name}, {per_chip} a chip", file=sys.stderr, flush=True)
    try:
        executable = lowered.program.compile(FAST_OPTIONS if fast else None)
    except Exception as error:  # the compiler has one type for all
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise TooLarge(
            f"{what} with {per_chip} pictures a chip does not fit {topology.name} "
            f"({errors.first_line(error, 300)}); take fewer, more --config.mesh.fsdp, or "
            "--config.remat=blocks"
        ) from error
    cost = measure(executable, lowered, time.monotonic() - start)
    # Cycles of a program that was compiled with little effort are those of one nobody would run.
    return cost._replace(cycles=0, hot=[]) if fast else cost


def compiled_or_too_large(lowered: Lowered, topology: Topology, fast: bool) -> Cost:
    """As `compiled`, but what does not fit costs more memory than any chip has: to be ranked."""
    try:
        return compiled(lowered, topology, fast)
    except TooLarge:
        none = Cost(lowered.what, lowered.per_chip, 0.0, 0.0, 0.0, 0.0, 0, 0, 0, 0, {}, [])
        return none._replace(temporaries=2**60, peak=2**60)


def deciding_text(config: ConfigDict, rest: list[Any]) -> str:
    """Everything that a cost depends on, as a text.

    Raises:
        UserError: the extra `tpu` is missing.
    """
    deciding = {
        "method": config.method,
        "model": config.model.to_dict(),
        "stages": {stage: config[stage].to_dict() for stage in config.stages},
        "rules": config.sharding_rules,
        "mesh": config.mesh.to_dict(),
        "compute": [config.dtype, config.remat],
        "code": [files.package_digest(PACKAGE), *compilers()],
        "rest": rest,
    }
    return json.dumps(deciding, sort_keys=True, default=str)


def compilers() -> tuple[str, str]:
    """The versions of libtpu and of jax.

    Raises:
        UserError: the extra `tpu` is missing.
    """
    try:
        return metadata.version("libtpu"), metadata.version("jax")
    except metadata.PackageNotFoundError as error:
        raise UserError(
            "the TPU compiler is missing: pip install 'colorjax[tpu]', in an environment of its own"
        ) from error


def remember(deciding: str, make: Callable[[], Cost], directory: Path) -> Cost:
    """The cost that was kept in `directory` for the same text, or a new one, which is kept.

    A kept one that is damaged is replaced.
    """
    digest = hashlib.sha256(deciding.encode()).hexdigest()[:24]
    file = directory / f"{digest}.json"
    if file.is_file():
        with contextlib.suppress(UserError, TypeError):
            return Cost(**files.read_json(file, advice="it is made anew"))
    cost = make()
    files.write_text(file, json.dumps(cost._asdict(), indent=1) + "\n")
    return cost
