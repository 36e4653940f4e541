"""The flags of commands that colour: a method, and its settings as its table has them."""

import argparse
from pathlib import Path

from colorjax import release
from colorjax.colorize.colorizer import Colorizer
from colorjax.devices import precision, processes, replicas
from colorjax.methods import registry
from colorjax.methods.method import Value


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """Adds `--method`, `--mesh` and a flag for every setting of every method.

    Values are checked by the tables, not here: an unknown one is told in the same sentence
    wherever it comes from.
    """
    names = tuple(registry.METHODS)
    group = parser.add_argument_group("the model; in brackets: where its release says nothing else")
    group.add_argument(
        "--method", choices=names, metavar="NAME", help=f"{' or '.join(names)} (the release's)"
    )
    group.add_argument("--mesh", metavar="N", help="devices that share the work, or 'all' (one)")
    group.add_argument(
        "--dtype",
        choices=precision.DTYPES,
        default=precision.AUTO,
        metavar="TYPE",
        help="auto (bfloat16 on a TPU or GPU), float32 or bfloat16 (%(default)s)",
    )
    for row, owners in registry.settings().values():
        whose = "" if len(owners) == len(names) else f"{registry.METHODS[owners[0]].title}: "
        choices = f": {', '.join(row.choices)}" if row.choices else ""
        usual = f"{whose}{row.help}{choices} ({row.default or 'none'})".replace("%", "%%")
        metavar = "NAME" if row.choices else row.metavar
        group.add_argument(f"--{row.name}", metavar=metavar, help=usual)


def method_of(args: argparse.Namespace, directory: Path) -> str:
    """The method of a command line, or else the one that the release was trained for.

    Raises:
        UserError: the release is damaged, or of a method that this version has not.
    """
    return args.method or registry.of_release(release.read_config(directory))


def resolved(args: argparse.Namespace, directory: Path) -> dict[str, Value]:
    """The value of every setting of the chosen method, without loading it.

    Raises:
        UserError: a setting is another method's, or cannot have its value.
    """
    method = registry.find(method_of(args, directory))
    chosen = {name: getattr(args, name) for name in registry.settings()}
    chosen = {name: value for name, value in chosen.items() if value is not None}
    registry.refuse_foreign(method, chosen)
    return method.resolve(release.read_config(directory), chosen)


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
    dtype = precision.compute_type(args.dtype)
    return Colorizer(directory, args.method, dtype=dtype, mesh=mesh, **chosen)
