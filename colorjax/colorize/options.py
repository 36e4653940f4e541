"""The choice of a method and its settings, as the commands have them."""

import argparse
from pathlib import Path
from typing import Any

from colorjax.colorize.cold_colorizer import SETTINGS, ColdColorizer
from colorjax.colorize.colorizer import Colorizer, add_sampling_flags, sampling
from colorjax.errors import UserError

AnyColorizer = Colorizer | ColdColorizer
METHODS = ("lcad", "diffusing_colors")
# What one method has and the other not.
OF_LCAD = ("spacing", "sampler", "temperature", "refine_step_size", "masks", "mesh")
OF_COLD = ("solver", "vividness", "negative_prompt", "vividness_grid", "enhance")


def add_sampling(parser: argparse.ArgumentParser) -> Any:
    """Adds `--method` and the settings of both; returns the group of Diffusing Colors."""
    parser.add_argument("--method", choices=METHODS, default=METHODS[0])
    add_sampling_flags(parser)
    cold = parser.add_argument_group("Diffusing Colors", "with --method=diffusing_colors")
    cold.add_argument(
        "--vividness", metavar="FLOAT|auto", help="scales the colours; auto: the ranker chooses"
    )
    cold.add_argument("--negative_prompt", help="what the picture shall not look like")
    cold.add_argument("--solver", help="algorithm_2, euler or heun")
    return cold


def make_colorizer(args: argparse.Namespace, directory: Path) -> AnyColorizer:
    """The chosen method's colorizer with the settings of a command line.

    Raises:
        UserError: a setting of the other method.
    """
    cold = args.method == "diffusing_colors"
    foreign = OF_LCAD if cold else OF_COLD
    if given := [name for name in foreign if getattr(args, name, None) not in (None, False)]:
        other = METHODS[not cold]
        raise UserError(f"--{given[0]} is a setting of --method={other}, not of {args.method}")
    if cold:
        own = {name: getattr(args, name) for name in SETTINGS}
        return ColdColorizer(directory, args.batch_size, **own)
    aware = bool(args.masks)
    return Colorizer(directory, args.batch_size, instance_aware=aware, **sampling(args))
