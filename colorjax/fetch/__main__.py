"""Gets published weights and makes releases of them, in the cache, under a name.

    python -m colorjax.fetch
    python -m colorjax.fetch sd15
    python -m colorjax.fetch lcad --accept_licence cc-by-nc-4.0
    python -m colorjax.fetch hub:owner/name@revision

What was cut goes on, and what is there is kept. `HF_HOME`, `HF_ENDPOINT`, `HF_TOKEN`, proxies,
pip's settings and `XDG_CACHE_HOME` are honoured.
"""

import argparse
from pathlib import Path

from colorjax import errors, hub, release
from colorjax.errors import UserError
from colorjax.fetch import cache, table


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line's values."""
    parser = argparse.ArgumentParser(
        prog="colorjax.fetch",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", nargs="?", help="of a model; without one they are listed")
    parser.add_argument(
        "--accept_licence", metavar="LICENCE", help="where a model's licence must be accepted"
    )
    parser.add_argument(
        "--offline", action="store_true", help="convert what the hub's cache has, and ask nobody"
    )
    parser.add_argument(
        "--from",
        dest="own",
        action="append",
        type=Path,
        default=[],
        metavar="PATH",
        help="a file or folder that you have, instead of downloading it",
    )
    parser.add_argument("--again", action="store_true", help="replace what the cache has")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    args = parse(arguments)
    if args.name is None:
        print_table()
    elif args.name.startswith(hub.PREFIX):
        _release(args)
    else:
        _model(args)
    return 0


def print_table() -> None:
    """A line for each model: its name, what is downloaded, its licence, what it is for."""
    for model in table.models().values():
        there = "  (is there)" if cache.is_there(model) else ""
        size = f"{model.megabytes / 1000:.1f} GB"
        print(f"{model.name:15}{size:>7}  {model.licence:24}{model.purpose}{there}")
    print("\npython -m colorjax.fetch NAME gets one; docs/weights.md says more")


def _release(args: argparse.Namespace) -> None:
    """A release on a hub stays in the hub's cache, as it is; this looks for a newer one."""
    if args.own or args.again:
        raise UserError("--from and --again are for names of the list, not for hub:owner/name")
    repository = hub.parse(args.name)
    directory = release.on_hub(repository, newest=not args.offline, offline=args.offline)
    release.read_config(directory)
    errors.say(f"colorjax: '{args.name}' is in '{directory}'; give it by --model {args.name}")


def _model(args: argparse.Namespace) -> None:
    model = table.find(args.name)
    if len(args.own) > len(model.inputs):
        raise UserError(f"--from can be given {len(model.inputs)} times for {model.name!r}")
    cache.check_licence(model, args.accept_licence)
    if cache.is_there(model) and not args.again:
        errors.say(f"colorjax: {model.name!r} is there already, in '{release.cached(model.name)}'")
        return
    print(f"colorjax: {model.name} is {model.purpose} ({model.megabytes / 1000:.1f} GB)")
    print(f"colorjax: its licence is {model.licence}: {model.meaning}", flush=True)
    directory = cache.fetch(model, args.own, offline=args.offline, again=args.again)
    errors.say(f"colorjax: {model.name!r} is in '{directory}'")
    if model.use:
        print(f"use it by\n    {model.use}")


if __name__ == "__main__":
    errors.run(main)
