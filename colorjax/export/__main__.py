"""Writes a colorizer as one file: `python -m colorjax.export --model DIR --output FILE.cjx`."""

import argparse
import time
from pathlib import Path

from colorjax import errors, release
from colorjax.errors import UserError

_ABOUT = "Writes a colorizer as one file that runs without the code of its networks."


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line's values."""
    from colorjax.colorize.options import add_sampling
    from colorjax.export.exporting import INCLUDE, PLATFORMS

    parser = argparse.ArgumentParser(prog="python -m colorjax.export", description=_ABOUT)
    add = parser.add_argument
    add("--model", default="bundled", help="a release directory (default: bundled)")
    add("--output", required=True, type=Path, metavar="FILE.cjx", help="the file to be written")
    add(
        "--platforms",
        default="cpu",
        metavar="NAMES",
        help=f"where it shall run, by commas, of {', '.join(PLATFORMS)} (default: cpu)",
    )
    add(
        "--include",
        default="",
        metavar="NAMES",
        help="programs beyond the usual ones, by commas: for masks that are given, for masks by "
        f"attention, for --vividness=auto: {', '.join(INCLUDE)} (default: none)",
    )
    add_sampling(parser)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Runs the command."""
    args = parse(arguments)
    if args.mesh is not None:
        raise UserError(f"mesh is {args.mesh}; an exported file runs on one device: leave it out")
    from colorjax.colorize.colorizer import Colorizer
    from colorjax.colorize.options import settings_of
    from colorjax.devices import precision
    from colorjax.export import exporting

    start = time.monotonic()
    platforms, include = (_names(text) for text in (args.platforms, args.include))
    exporting.check(args.output, platforms, include)
    directory = release.locate(args.model)
    chosen = settings_of(args)
    colorizer = Colorizer(
        directory, args.method, dtype=precision.compute_type(args.dtype), **chosen
    )
    programs = exporting.write(args.output, colorizer, directory, platforms, include)
    size = args.output.stat().st_size / 1e6
    errors.say(
        f"{args.output}: {len(programs)} programs for {', '.join(platforms)}, {size:.1f} MB, "
        f"{time.monotonic() - start:.0f} s"
    )


def _names(text: str) -> list[str]:
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


if __name__ == "__main__":
    errors.run(main)
