"""What a program costs, compiled once: kept by a digest of everything that decides it."""

import hashlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from colorjax import files
from colorjax.devices import chips
from colorjax.errors import UserError
from colorjax.plan import roofline

FAST_OPTIONS = {"exec_time_optimization_effort": -1.0}


class TooLarge(UserError):
    """A program that does not fit the chip's memory."""


def cached(
    config: ConfigDict,
    topology: chips.Topology,
    what: str,
    per_chip: int,
    fast: bool,
    directory: Path,
) -> roofline.Cost:
    """The cost of a program, compiled unless it was before.

    Raises:
        UserError: the extra `tpu` is missing, or the program does not fit.
    """

    def make() -> roofline.Cost:
        from colorjax.plan import lowering

        lowered = lowering.lower(config, topology, what, per_chip)
        program = (lowered.program, what, per_chip, lowered.flops, lowered.repeated)
        return compiled(*program, topology=topology, fast=fast)

    mesh = config.mesh.to_dict()
    return remember(
        deciding_text(config, [mesh, topology.name, what, per_chip, fast]), make, directory
    )


def deciding_text(config: ConfigDict, rest: list[Any]) -> str:
    """Everything that a cost depends on, as a text."""
    deciding = {
        "model": config.model.to_dict(),
        "stages": {stage: config[stage].to_dict() for stage in config.stages},
        "rules": config.sharding_rules,
        "rest": [config.dtype, config.remat, _code(), *rest],
    }
    return json.dumps(deciding, sort_keys=True, default=str)


def remember(deciding: str, make: Callable[[], roofline.Cost], directory: Path) -> roofline.Cost:
    """What was made before for the same text, or is made now."""
    digest = hashlib.sha256(deciding.encode()).hexdigest()[:24]
    file = directory / f"{digest}.json"
    if file.is_file():
        return roofline.Cost(**json.loads(file.read_text()))
    found = make()
    files.write_text(file, json.dumps(found._asdict(), indent=1) + "\n")
    return found


def compiled(
    program: Any,
    what: str,
    per_chip: int,
    model_flops: float,
    repeated: float,
    topology: chips.Topology,
    fast: bool,
) -> roofline.Cost:
    """The cost of a lowered program.

    Raises:
        TooLarge: it does not fit.
    """
    start = time.monotonic()
    print(f"compiling {what} for {topology.name}, {per_chip} a chip", file=sys.stderr, flush=True)
    try:
        made = program.compile(FAST_OPTIONS if fast else None)
    except Exception as error:  # the compiler has one type for all
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        first = str(error).splitlines()[0][:300]
        raise TooLarge(
            f"{what} with {per_chip} pictures a chip does not fit {topology.name} ({first}); take "
            "fewer, more --config.mesh.fsdp, or --config.remat=blocks"
        ) from error
    seconds = time.monotonic() - start
    found = roofline.measure(made, what, per_chip, model_flops, seconds, repeated)
    return found._replace(cycles=0, hot=[]) if fast else found  # of what nobody would run


def _code() -> str:
    """A digest of what is compiled and by which compiler, so that no old answer is given."""
    from importlib import metadata

    try:
        compiler = metadata.version("libtpu")
    except metadata.PackageNotFoundError as error:
        raise UserError(
            "the TPU compiler is missing: pip install 'colorjax[tpu]', in an environment of its own"
        ) from error
    digest = hashlib.sha256()
    # The whole package: what a program is made of cannot be listed by hand without missing some.
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest() + compiler + metadata.version("jax")
