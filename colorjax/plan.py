"""What a training run needs, before a TPU is rented: the real compiler, no TPU.

    python -m colorjax.plan --config=configs/lcad.py --topology=v5e:4x4

compiles the latent stage's training step (or `stage=...`'s, by the configuration's variant) and,
with `--sampler`, the whole sampler, for a topology, with libtpu on this machine's CPU (extra
`tpu`; about ten minutes and 10 GB), and prints memory, cost, collectives and what the configured
schedule would take. Nothing is run: times are the compiler's estimates and rooflines, not
measurements. Results are kept in `--cache` by a hash of everything that decides them.

    --batch_per_chip=8      instead of the configuration's batch
    --images=118287         of the data set, for the length of the schedule (COCO's train2017)
    --unet_alone            the UNet's share of the step, with latents and text states given
    --fast                  compile with less effort: fits? which collectives? no cycles
    --sweep                 first rank --batches, --remats and --fsdps by the UNet's levels, each
                            compiled alone (a minute or two each), then compile the first whole
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import flags as absl_flags
from ml_collections import ConfigDict

from colorjax import errors, roofline
from colorjax.devices import chips
from colorjax.errors import UserError
from colorjax.train import flags

TOPOLOGY = absl_flags.DEFINE_string("topology", "v5e:4x4", "Chip and shape, such as v5e:4x4.")
BATCH = absl_flags.DEFINE_integer("batch_per_chip", 0, "Pictures on a chip; 0: the config's.")
IMAGES = absl_flags.DEFINE_integer("images", 118287, "Pictures of the data set.")
SAMPLER = absl_flags.DEFINE_bool("sampler", False, "Compile the sampler instead of the step.")
ALONE = absl_flags.DEFINE_bool("unet_alone", False, "The UNet without the other networks.")
SWEEP = absl_flags.DEFINE_bool("sweep", False, "Rank the choices below first.")
BATCHES = absl_flags.DEFINE_list("batches", ["8", "16", "32"], "Pictures on a chip, to rank.")
REMATS = absl_flags.DEFINE_list("remats", ["none", "blocks"], "Remat policies, to rank.")
FSDPS = absl_flags.DEFINE_list("fsdps", ["1", "16"], "fsdp sizes, to rank.")
FAST = absl_flags.DEFINE_bool("fast", False, "Less effort of the compiler.")
CACHE = absl_flags.DEFINE_string("cache", "", "Where results are kept; ~/.cache/colorjax/plans.")
FAST_OPTIONS = {"exec_time_optimization_effort": -1.0}


class TooLarge(UserError):
    """A program that does not fit the chip's memory."""


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv if arguments is None else arguments
    if {"--help", "-help", "-h"} & set(arguments):
        print(__doc__)
        return 0
    config = flags.parse(arguments)
    topology = chips.topology(TOPOLOGY.value)
    os.environ.update(chips.environment(topology))  # before jax is imported
    name = config.stages[-1]
    if BATCH.value < 0 or IMAGES.value < 1:
        raise UserError("batch_per_chip must be 0 or more, images 1 or more")
    if (ALONE.value or SWEEP.value) and name != "latent":
        raise UserError(f"--unet_alone and --sweep are of the stage 'latent', not {name!r}")
    per_chip = BATCH.value or -(-config[name].batch_size // topology.size)
    if SWEEP.value:
        per_chip = choose(config, topology)
    what = "sampler" if SAMPLER.value else "unet" if ALONE.value else name
    found = cached(config, topology, what, per_chip, FAST.value)
    print(roofline.report(found, topology, schedule(config, name, what)))
    return 0


def choose(config: ConfigDict, topology: chips.Topology) -> int:
    """Prints the ranking, sets the first of it in the configuration, returns its batch a chip."""
    from colorjax import sweep
    from colorjax.models.unet import REMAT_CHOICES

    numbers = [[int(n) if n.isdigit() else 0 for n in one.value] for one in (BATCHES, FSDPS)]
    if min(map(min, numbers)) < 1 or not set(REMATS.value) <= set(REMAT_CHOICES):
        raise UserError(
            f"--batches={BATCHES.value}, --fsdps={FSDPS.value}, --remats={REMATS.value}: numbers "
            f"of 1 or more, and of {', '.join(REMAT_CHOICES)}"
        )

    def kept(deciding: dict[str, Any], make: Callable[[], roofline.Cost]) -> roofline.Cost:
        return remember(_deciding(config, [deciding, FAST.value]), make)

    def tried(
        program: Any, what: str, per_chip: int, model_flops: float, repeated: float
    ) -> roofline.Cost:
        given = (program, what, per_chip, model_flops, repeated)
        try:
            return compiled(*given, topology=topology, fast=FAST.value)
        except TooLarge:
            return roofline.too_large(what, per_chip)

    choices = sweep.rank(config, topology, (numbers[0], REMATS.value, numbers[1]), kept, tried)
    print(sweep.report(choices, topology), end="\n\n", flush=True)
    best = choices[0]
    config.remat = best.remat
    config.mesh.update(data=-1, fsdp=best.fsdp)
    return best.per_chip


def schedule(config: ConfigDict, name: str, what: str) -> int | None:
    """Pictures that the configured training sees."""
    if what == "sampler":
        return None
    options = config[name]
    if options.total_steps:
        return int(options.total_steps * options.batch_size)
    return round(options.epochs * IMAGES.value)


def cached(
    config: ConfigDict, topology: chips.Topology, what: str, per_chip: int, fast: bool
) -> roofline.Cost:
    """The cost of a program, compiled unless it was before.

    Raises:
        UserError: the extra `tpu` is missing, or the program does not fit.
    """

    def make() -> roofline.Cost:
        from colorjax import abstract

        lowered = abstract.lower(config, topology, what, per_chip)
        program = (lowered.program, what, per_chip, lowered.flops, lowered.repeated)
        return compiled(*program, topology=topology, fast=fast)

    mesh = config.mesh.to_dict()
    return remember(_deciding(config, [mesh, topology.name, what, per_chip, fast]), make)


def _deciding(config: ConfigDict, rest: list[Any]) -> str:
    """Everything that a cost depends on, as a text."""
    deciding = {
        "model": config.model.to_dict(),
        "stages": {stage: config[stage].to_dict() for stage in config.stages},
        "rules": config.sharding_rules,
        "rest": [config.dtype, config.remat, _code(), *rest],
    }
    return json.dumps(deciding, sort_keys=True, default=str)


def remember(deciding: str, make: Callable[[], roofline.Cost]) -> roofline.Cost:
    """What was made before for the same text, or is made now."""
    digest = hashlib.sha256(deciding.encode()).hexdigest()[:24]
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    file = Path(CACHE.value or home / "colorjax" / "plans") / f"{digest}.json"
    if file.is_file():
        return roofline.Cost(**json.loads(file.read_text()))
    found = make()
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(found._asdict(), indent=1) + "\n")
    partial.replace(file)
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
    package = Path(__file__).parent
    places = [*package.glob("models/*.py"), *package.glob("methods/*.py")]
    places += [*package.glob("stages/*.py"), package / "alone.py"]
    places += [package / f"{name}.py" for name in ("optim", "loop", "sharding", "hlo", "roofline")]
    text = b"".join(path.read_bytes() for path in sorted(places))
    return hashlib.sha256(text).hexdigest() + compiler + metadata.version("jax")


if __name__ == "__main__":
    errors.run(main)
