"""Training: `python -m colorjax.train --config=configs/lcad.py[:variant,...] [--workdir=DIR]`.

Runs the configuration's stages in order, each in `workdir/<stage>`: a stage resumes from its
latest checkpoint, and a finished one is skipped. What the stages learn is collected in
`workdir/release`, which `colorize` and `evaluate` take as `--model`. Any value of the
configuration can be set: `--config.latent.learning_rate=1e-4`.

SIGTERM saves the current step and ends with exit code 75: start the same command to go on. On
several hosts the same command runs on each, see `launch/`. `--profile=20:3` traces three steps on
each of them, `--profiler_port=9012` serves profiles on demand, `--wandb=PROJECT` logs to Weights &
Biases too.
"""

import functools
import sys
from pathlib import Path

import jax
from ml_collections import ConfigDict

from colorjax import errors
from colorjax.devices import compile_cache, processes, sharding
from colorjax.errors import UserError
from colorjax.train import finetune, flags, run, tracking
from colorjax.train.stages import STAGES


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code.

    Raises:
        UserError: a mistake in the command, the configuration, the data or the weights.
    """
    arguments = sys.argv if arguments is None else arguments
    if {"--help", "-help", "-h"} & set(arguments):
        print(__doc__)
        return 0
    config = flags.parse(arguments)
    command = functools.partial(flags.command, arguments)
    workdir = Path(flags.WORKDIR.value or f"runs/{config.name}")
    _check_stages(config)
    watch = tracking.Watch(*flags.profile_window(), flags.WANDB.value)
    compile_cache.setup()
    processes.join(
        flags.DISTRIBUTED.value,
        flags.COORDINATOR.value,
        flags.NUM_PROCESSES.value,
        flags.PROCESS_ID.value,
        flags.HEARTBEAT.value,
    )
    tracking.serve_profiles(flags.PROFILER_PORT.value)
    mesh = sharding.make_mesh(config.mesh.data, config.mesh.fsdp, config.mesh.dcn)
    processes.check_shared(workdir)
    if finetune.is_wanted(config):
        finetune.begin(config, workdir)
    for name in config.stages:  # the last one's mistake is told before the first one trains
        run.check(name, config, mesh)
    run.check_needs(config, workdir)
    with jax.set_mesh(mesh), processes.Stop() as stop:
        for name in config.stages:
            run.run_stage(name, config, workdir, mesh, stop, watch, command=command)
            if stop.asked:
                return processes.STOPPED
    if finetune.is_wanted(config):
        finetune.finish(config, workdir)
    return 0


def _check_stages(config: ConfigDict) -> None:
    for name in config.stages:
        if name not in STAGES or name not in config:
            known = ", ".join(stage for stage in STAGES if stage in config)
            raise UserError(f"stage {name!r} is unknown to this configuration; it has {known}")


if __name__ == "__main__":
    errors.run(main)
