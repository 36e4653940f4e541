"""What a training run needs, before a TPU is rented: the real compiler, no TPU.

    python -m colorjax.plan --config=configs/lcad.py --topology=v5e:4x4

compiles the latent stage's training step (or `stage=...`'s, by the configuration's variant) and,
with `--sampler`, the whole sampler, for a topology, with libtpu on this machine's CPU (extra
`tpu`; about ten minutes and 10 GB), and prints memory, cost, collectives and what the configured
schedule would take. Nothing is run: times are the compiler's estimates and rooflines, not
measurements. Results are kept in `--cache` by a hash of everything that decides them.

    --batch_per_chip=8      instead of the configuration's batch
    --images=118287         of the data set, for the length of the schedule (COCO's train2017)
    --fast                  compile with less effort: fits? which collectives? no cycles
"""

import hashlib
import json
import os
import sys
import time
from pathlib import Path

from absl import flags as absl_flags
from ml_collections import ConfigDict

from colorjax import chips, errors, flags, roofline
from colorjax.errors import UserError

TOPOLOGY = absl_flags.DEFINE_string("topology", "v5e:4x4", "Chip and shape, such as v5e:4x4.")
BATCH = absl_flags.DEFINE_integer("batch_per_chip", 0, "Pictures on a chip; 0: the config's.")
IMAGES = absl_flags.DEFINE_integer("images", 118287, "Pictures of the data set.")
SAMPLER = absl_flags.DEFINE_bool("sampler", False, "Compile the sampler instead of the step.")
FAST = absl_flags.DEFINE_bool("fast", False, "Less effort of the compiler.")
CACHE = absl_flags.DEFINE_string("cache", "", "Where results are kept; ~/.cache/colorjax/plans.")
FAST_OPTIONS = {"exec_time_optimization_effort": -1.0}


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
    per_chip = BATCH.value or -(-config[name].batch_size // topology.size)
    what = "sampler" if SAMPLER.value else name
    found = cached(config, topology, what, per_chip, FAST.value)
    print(roofline.report(found, topology, schedule(config, name, what)))
    return 0


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
    deciding = {
        "model": config.model.to_dict(),
        "stages": {stage: config[stage].to_dict() for stage in config.stages},
        "mesh": config.mesh.to_dict(),
        "rules": config.sharding_rules,
        "rest": [config.dtype, config.remat, topology.name, what, per_chip, fast, _code()],
    }
    text = json.dumps(deciding, sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode()).hexdigest()[:24]
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    file = Path(CACHE.value or home / "colorjax" / "plans") / f"{digest}.json"
    if file.is_file():
        return roofline.Cost(**json.loads(file.read_text()))
    from colorjax import abstract

    start = time.monotonic()
    lowered = abstract.lower(config, topology, what, per_chip)
    print(f"compiling {what} for {topology.name}, {per_chip} a chip", file=sys.stderr, flush=True)
    try:
        compiled = lowered.program.compile(FAST_OPTIONS if fast else None)
    except Exception as error:  # the compiler has one type for all
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        first = str(error).splitlines()[0][:300]
        raise UserError(
            f"{what} with {per_chip} pictures a chip does not fit {topology.name} ({first}); take "
            "fewer, more --config.mesh.fsdp, or --config.remat=blocks"
        ) from error
    found = roofline.measure(compiled, what, per_chip, lowered.flops, time.monotonic() - start)
    if fast:
        found = found._replace(cycles=0, hot=[])  # of a program that nobody would run
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(found._asdict(), indent=1) + "\n")
    partial.replace(file)
    return found


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
    places += [*package.glob("stages/*.py"), package / "optim.py", package / "loop.py"]
    text = b"".join(path.read_bytes() for path in sorted(places))
    return hashlib.sha256(text).hexdigest() + compiler + metadata.version("jax")


if __name__ == "__main__":
    errors.run(main)
