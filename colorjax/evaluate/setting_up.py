"""From a command line to what is measured of whom."""

import argparse
from pathlib import Path

import jax

from colorjax import release
from colorjax.colorize.colorizer import Colorizer
from colorjax.colorize.options import settings_of
from colorjax.colorize.words.automatic import Captioner
from colorjax.devices import precision, processes, replicas
from colorjax.errors import UserError
from colorjax.evaluate import networks, painters, protocols
from colorjax.evaluate.measuring import Measurement
from colorjax.evaluate.painters import ModelPainter, Painter
from colorjax.evaluate.pictures import Frame, Selection
from colorjax.evaluate.protocols import Protocol
from colorjax.methods import registry

BATCH_SIZE = 100  # of pictures on each device, where there are so many and nobody says another


def join(args: argparse.Namespace) -> None:
    """Joins the other processes of a run over all devices."""
    if args.mesh == "all":
        processes.join()


def selection(args: argparse.Namespace, protocol: Protocol) -> Selection:
    """The pictures of a protocol, or what the command line says instead.

    Raises:
        UserError: there is no such data, or no picture is asked for.
    """
    data = protocol.data if args.data is None else args.data
    if not data:
        raise UserError(f"protocol {protocol.name} is of your own pictures; give them by --data")
    limit = protocol.pictures or None if args.limit is None else args.limit
    crop = protocol.crop if args.crop is None else args.crop
    split = protocol.split if args.split is None else args.split
    return Selection.find(data, split, limit, crop)


def measurement(args: argparse.Namespace) -> Measurement:
    """Everything that `measuring.measure` needs.

    Raises:
        UserError: models of different sizes, missing weights, a setting that is another method's.
    """
    protocol = protocols.find(args.protocol)
    chosen = selection(args, protocol)
    if (args.statistics or args.save_statistics) and args.fid is None:
        raise UserError("statistics are of the FID's features; give --fid too")
    measured_with = networks.load(args.lpips, args.alex, args.fid, args.clip)
    mesh = replicas.local_mesh(args.mesh)
    devices = (1 if mesh is None else mesh.size) * jax.process_count()
    # A batch is filled up: of fewer pictures it would measure and colour some of them many times.
    usual = min(BATCH_SIZE, -(-chosen.count // devices))
    models = [_model(args, name, usual) for name in _models(args)]
    everyone: list[Painter] = [*models, *map(painters.outputs, args.outputs)]
    names = [painter.name for painter in everyone]
    if len(set(names)) < len(names):
        raise UserError(f"models are called {', '.join(names)}; each must have a name of its own")
    sizes = {model.colorizer.image_size for model in models}
    if len(sizes) > 1:
        raise UserError(
            f"the models colour pictures of {' and '.join(map(str, sorted(sizes)))} pixels; "
            "measure those of one size at a time"
        )
    size = next(iter(sizes), protocol.size)
    if not size:
        raise UserError("--outputs alone do not say a size; choose a protocol that has one")
    batch_size = models[0].colorizer.batch_size if models else int(args.batch_size or usual)
    level = protocol.captions if args.captions is None else args.captions
    frame = Frame(size, batch_size, level, painters.no_tokens)
    return Measurement(
        protocol, chosen, frame, everyone, measured_with, args.seed, not args.bare, mesh
    )


def only_model(args: argparse.Namespace) -> Colorizer:
    """The colorizer of the one model of `--swap` and `--obey`.

    Raises:
        UserError: there are several, or outputs.
    """
    names = _models(args)
    if len(names) != 1 or args.outputs:
        raise UserError("--swap and --obey are of one model; give one --model and no --outputs")
    return _model(args, names[0], BATCH_SIZE).colorizer


def _models(args: argparse.Namespace) -> list[str]:
    return args.model or ([] if args.outputs else ["bundled"])


def _model(args: argparse.Namespace, name: str, batch_size: int) -> ModelPainter:
    """One `--model`, whose part after the last colon may be a method."""
    model, colon, method = name.rpartition(":")
    if not colon or method not in registry.METHODS:
        model, method = name, args.method
    directory = release.locate(model)
    settings = {"batch_size": batch_size} | settings_of(args)
    dtype = precision.compute_type(args.dtype)
    colorizer = Colorizer(
        directory, method, dtype=dtype, mesh=replicas.local_mesh(args.mesh), **settings
    )
    is_plain = Path(model) == Path("bundled")  # with a slash or without, which differ
    shown = name if is_plain else str(Path(model)) + (f":{method}" if colon else "")
    captioner = Captioner(directory, colorizer.tokenize) if args.prompt else None
    shown += f", prompt {args.prompt}" if args.prompt else ""
    return ModelPainter(shown, colorizer, directory, bool(args.masks), captioner)
