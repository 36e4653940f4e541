"""Measures models: `python -m colorjax.evaluate --protocol=cifar10 --model=bundled`.

Prints the measures of the outputs with the input's lightness kept and of the raw decodes, beside
gray, the training set's mean chroma and the truth on the same pictures, and beside the papers' rows
where the list of pictures is theirs. `--swap` measures instead whether two prompts pull the
centre's colour apart, `--obey` how often it gets the colour that a prompt asks for.
"""

import argparse
import json
from typing import Any

from colorjax import errors, files
from colorjax.colorize.jobs import check_seed
from colorjax.devices import compile_cache, processes
from colorjax.errors import UserError
from colorjax.evaluate import (
    measuring,
    networks,
    prompts,
    protocols,
    results,
    setting_up,
    statistics,
    study,
    writing,
)
from colorjax.evaluate.flags import parse


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    args = parse(arguments)
    check_seed(args.seed)
    if args.study_results:
        folder, *answers = args.study_results
        print("\n".join(verdict.line() for verdict in study.results(folder, answers)))
        return 0
    if args.swap and args.obey:
        raise UserError("--swap and --obey are two measurements; give one of them")
    if (args.swap or args.obey) and (args.masks or args.prompt):
        raise UserError(
            "--swap and --obey take prompts as they are; leave --masks and --prompt out"
        )
    setting_up.join(args)
    compile_cache.setup()
    if args.swap or args.obey:
        _prompted(args)
        return 0
    measurement = setting_up.measurement(args)
    tally = measuring.measure(measurement)
    reference = None
    if args.statistics:
        reference = statistics.read(args.statistics, networks.FEATURES)
    result = results.result(measurement, tally, reference)
    if processes.is_first():
        print(results.table(result))
    writing.write(args, measurement, tally, result)
    return 0


def _prompted(args: argparse.Namespace) -> None:
    """`--swap` and `--obey`: their figures, printed and written."""
    protocol = protocols.find(args.protocol)
    selection = setting_up.selection(args, protocol)
    colorizer = setting_up.only_model(args)
    labels = frozenset(filter(None, args.labels.split(",")))
    figures: dict[str, Any]
    if args.swap:
        swapped = prompts.Swap(tuple(args.swap), labels, args.seed)
        figures = prompts.swap(selection, colorizer, swapped)
    else:
        asked = prompts.Asked(args.obey, labels, args.seed)
        figures = prompts.obedience(selection, colorizer, asked)
    if processes.is_first():
        print(
            "\n".join(f"{errors.printable(name)}: {value:.4g}" for name, value in figures.items())
        )
        if args.json:
            files.write_text(args.json, json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    errors.run(main)
