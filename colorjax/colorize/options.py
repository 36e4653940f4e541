"""The flags of commands that colour: a method, and its settings as its table has them."""

import argparse
from pathlib import Path
from typing import Any

from colorjax.colorize.colorizer import Colorizer
from colorjax.devices import processes, replicas
from colorjax.methods import registry


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """Adds `--method`, `--mesh` and a flag for every setting of every method.

    Values are checked by the tables, not here: an unknown one is told in the same sentence
    wherever it comes from.
    """
    names = tuple(registry.METHODS)
    parser.add_argument("--method", choices=names, default=registry.DEFAULT)
    parser.add_argument("--mesh", metavar="N", help="devices that share the work, or 'all'")
    groups: dict[str, Any] = {}
    for row, owners in registry.settings().values():
        group: Any = parser
        if len(owners) < len(names):
            (owner,) = owners[:1]
            title = registry.METHODS[owner].title
            if owner not in groups:
                groups[owner] = parser.add_argument_group(title, f"with --method={owner}")
            group = groups[owner]
        group.add_argument(f"--{row.name}", metavar=row.metavar, help=row.help)


def make_colorizer(args: argparse.Namespace, directory: Path) -> Colorizer:
    """The chosen method's colorizer with the settings of a command line.

    Joins a distributed run if it is to use all devices of one.

    Raises:
        UserError: a setting is another method's, or cannot have its value.
    """
    chosen = {name: getattr(args, name) for name in registry.settings()}
    mesh = None
    if args.mesh is not None:
        if args.mesh == "all":
            processes.join()
        mesh = replicas.mesh_of(args.mesh)
    return Colorizer(directory, args.method, mesh=mesh, **chosen)
