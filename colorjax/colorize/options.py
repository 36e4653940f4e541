"""The flags of commands that colour: a method, and its settings as its table has them."""

import argparse
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from colorjax import release
from colorjax.colorize import finished
from colorjax.colorize.colorizer import Colorizer
from colorjax.colorize.running import PictureColorizer
from colorjax.colorize.words import prompts
from colorjax.devices import precision, replicas
from colorjax.methods import registry
from colorjax.methods.method import AUTO, Value
from colorjax.methods.registry import Choice

EXPORTED = ".cjx"  # how files of `colorjax.export` end


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """Adds `--method`, `--mesh` and a flag for every setting of every method.

    Values are checked by the tables, not here: an unknown one is told in the same sentence
    wherever it comes from.
    """
    names = tuple(registry.METHODS)
    group = parser.add_argument_group("the model; in brackets: where its release says nothing else")
    group.add_argument(
        "--method",
        choices=names,
        metavar="NAME",
        help=f"{' or '.join(names)} (as the release has it)",
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


def settings_of(args: argparse.Namespace) -> dict[str, Any]:
    """The settings that a command line names; it may name none."""
    values = {name: getattr(args, name) for name in registry.settings()}
    return {name: value for name, value in values.items() if value is not None}


def choice_of(args: argparse.Namespace, directory: Path) -> Choice:
    """The method and the settings of a command line that colours photographs.

    Raises:
        UserError: the release is damaged or of a method that this version has not, or a setting is
            another method's.
    """
    is_described = args.prompt is not None and prompts.plain(args.prompt) != AUTO
    return registry.choose(
        release.read_config(directory),
        args.method,
        settings_of(args),
        is_prompted=is_described or any((args.prompts, args.masks, args.enhance)),
    )


class Chosen(NamedTuple):
    """The model of a command line: what decides its results, and how it is loaded.

    Attributes:
        digest: stands for its weights, see `finished.digest_of_model`.
        directory: of a release; None of a file that `colorjax.export` has written.
    """

    digest: str
    method: str
    settings: Mapping[str, Value]
    directory: Path | None
    load: Callable[[], PictureColorizer]


def chosen(args: argparse.Namespace) -> Chosen:
    """The model that `--model` names, which of a release is not loaded yet.

    Raises:
        UserError: there is none, or a setting cannot have its value.
    """
    if str(args.model).endswith(EXPORTED):
        return _exported(args)
    directory = release.locate(args.model)
    choice = choice_of(args, directory)
    config, method = release.read_config(directory), registry.find(choice.method)
    settings = method.resolve(config, choice.settings)
    digest = finished.digest_of_model(directory)
    load = functools.partial(make_colorizer, args, directory, choice)
    return Chosen(digest, method.name, settings, directory, load)


def _exported(args: argparse.Namespace) -> Chosen:
    # By the face of the package, since rooms that stand on this one know such files.
    import colorjax

    settings = settings_of(args)
    mesh = replicas.local_mesh(args.mesh)
    loaded = colorjax.load(args.model, args.method, mesh=mesh, dtype=args.dtype, **settings)
    colorizer = loaded.colorizer
    name = colorizer.method.name
    return Chosen(loaded.digest, name, colorizer.settings, None, lambda: colorizer)


def make_colorizer(args: argparse.Namespace, directory: Path, choice: Choice) -> Colorizer:
    """A release's colorizer by a method and settings, on this process's devices.

    Raises:
        UserError: a part is missing, or a setting cannot have its value.
    """
    mesh = replicas.local_mesh(args.mesh)
    dtype = precision.compute_type(args.dtype)
    return choice.load(functools.partial(Colorizer, directory, dtype=dtype, mesh=mesh))
