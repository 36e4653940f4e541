"""What a training run needs, before a TPU is rented: the real compiler, no TPU.

    python -m colorjax.plan --config=configs/lcad.py --topology=v5e:4x4

compiles the latent stage's training step (or `stage=...`'s, by the configuration's variant) or,
with `--sampler`, the configured method's whole sampler, for a topology, with libtpu on this
machine's CPU (extra `tpu`; about ten minutes and 10 GB), and prints memory, cost, collectives and
what the configured schedule would take. Nothing is run: times are the compiler's estimates and
rooflines, not measurements. Results are kept in `--cache` by a hash of everything that decides
them.

    --batch_per_chip=8      instead of the configuration's batch
    --images=59000          of the data set, for the length of the schedule
    --unet_alone            the UNet's share of the step; latents and text states are its inputs
    --fast                  compile with less effort: fits? which collectives? no cycles
    --sweep                 first rank --batches, --remats and --fsdps by the UNet's levels, each
                            compiled by itself (a minute or two), then compile the first whole
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from absl import flags as absl_flags
from ml_collections import ConfigDict

from colorjax import errors, files
from colorjax.devices import chips
from colorjax.errors import UserError
from colorjax.plan import costs, roofline
from colorjax.train import flags

COCO = 118_287  # pictures of its train2017, of a configuration that does not say how many
TOPOLOGY = absl_flags.DEFINE_string("topology", "v5e:4x4", "Chip and shape, such as v5e:4x4.")
BATCH = absl_flags.DEFINE_integer("batch_per_chip", 0, "Pictures on a chip; 0: the config's.")
IMAGES = absl_flags.DEFINE_integer("images", 0, "Pictures of the data set; 0: the config's.")
SAMPLER = absl_flags.DEFINE_bool("sampler", False, "Compile the sampler instead of the step.")
MASKS = absl_flags.DEFINE_bool("masks", False, "With --sampler: instance-aware, by attention.")
UNET_ONLY = absl_flags.DEFINE_bool("unet_alone", False, "The UNet without the other networks.")
SWEEP = absl_flags.DEFINE_bool("sweep", False, "Rank the choices below first.")
BATCHES = absl_flags.DEFINE_list("batches", ["8", "16", "32"], "Pictures on a chip, to rank.")
REMATS = absl_flags.DEFINE_list("remats", ["none", "blocks"], "Remat policies, to rank.")
FSDPS = absl_flags.DEFINE_list("fsdps", ["1", "16"], "fsdp sizes, to rank.")
FAST = absl_flags.DEFINE_bool("fast", False, "Less effort of the compiler.")
CACHE = absl_flags.DEFINE_string("cache", "", "Where results are kept; ~/.cache/colorjax/plans.")


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv if arguments is None else arguments
    if {"--help", "-help", "-h"} & set(arguments):
        print(__doc__)
        return 0
    config = flags.parse(arguments)
    topology = chips.topology(TOPOLOGY.value)
    os.environ.update(chips.environment(topology))
    jax.config.update("jax_platforms", "cpu")  # jax has read its variable when it was imported
    name = config.stages[-1]
    if BATCH.value < 0 or IMAGES.value < 0:
        raise UserError("batch_per_chip and images must be 0 or more")
    if MASKS.value and not SAMPLER.value:
        raise UserError("--masks is about the sampler: give --sampler, too")
    if (UNET_ONLY.value or SWEEP.value) and name != "latent":
        raise UserError(f"--unet_alone and --sweep are for the stage 'latent', not {name!r}")
    per_chip = BATCH.value or -(-config[name].batch_size // topology.size)
    if SWEEP.value:
        per_chip = choose(config, topology)
    what = "sampler" if SAMPLER.value else "unet" if UNET_ONLY.value else name

    def lower() -> costs.Lowered:
        from colorjax.plan import lowering

        return lowering.lower(config, topology, what, per_chip, masks=MASKS.value)

    deciding = {"what": what, "topology": topology.name, "per_chip": per_chip}
    deciding |= {"masks": True} if MASKS.value else {}
    cost = pricing(config, topology, costs.compiled)(deciding, lower)
    print(roofline.report(cost, topology, schedule(config, name, what)))
    return 0


def choose(config: ConfigDict, topology: chips.Topology) -> int:
    """Prints the ranking, sets the first of it in the configuration, returns its batch a chip.

    Raises:
        UserError: something to rank that cannot be.
    """
    from colorjax.models.unet import REMAT_CHOICES
    from colorjax.plan import sweep

    per_chip, fsdps = ([int(n) if n.isdigit() else 0 for n in x.value] for x in (BATCHES, FSDPS))
    if min(per_chip + fsdps) < 1 or not set(REMATS.value) <= set(REMAT_CHOICES):
        raise UserError(
            f"--batches={BATCHES.value}, --fsdps={FSDPS.value}, --remats={REMATS.value}: numbers "
            f"of 1 or more, and of {', '.join(REMAT_CHOICES)}"
        )
    price = pricing(config, topology, costs.compiled_or_too_large)
    candidates = sweep.Candidates(per_chip, REMATS.value, fsdps)
    choices = sweep.rank(config, topology, candidates, price)
    print(sweep.report(choices, topology), end="\n\n", flush=True)
    best = choices[0]
    config.remat = best.remat
    config.mesh.update(data=-1, fsdp=best.fsdp)
    return best.per_chip


def pricing(
    config: ConfigDict,
    topology: chips.Topology,
    compiled: Callable[[costs.Lowered, chips.Topology, bool], costs.Cost],
) -> costs.Price:
    """Prices a configuration's programs: by the cache, or else compiled and put there."""

    def price(deciding: dict[str, Any], lower: Callable[[], costs.Lowered]) -> costs.Cost:
        text = costs.deciding_text(config, [deciding, FAST.value])
        return costs.remember(text, lambda: compiled(lower(), topology, FAST.value), cache())

    return price


def cache() -> Path:
    """Where results are kept."""
    return Path(CACHE.value) if CACHE.value else files.cache_folder("plans")


def schedule(config: ConfigDict, name: str, what: str) -> int | None:
    """How many pictures the configured training sees; None for the sampler, which trains none."""
    if what == "sampler":
        return None
    options = config[name]
    if options.total_steps:
        return int(options.total_steps * options.batch_size)
    return round(options.epochs * (IMAGES.value or config.get("pictures", COCO)))


if __name__ == "__main__":
    errors.run(main)
