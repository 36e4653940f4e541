"""How the VAE holds colour: `python -m colorjax.analyze --model=bundled --data=cifar10`.

Diffusing Colors rests on one observation: with d = E(colour) - E(gray), decoding E(gray) + s d
gives pictures whose colourfulness grows about linearly with s. How its authors measured it is not
known; this protocol is ours. Writes a figure and a JSON:

- colourfulness and mean chroma over those at s = 1, each with R^2 of a straight line on 0..1,
  0..1.5 and 1..2; the hue's drift from s = 1; the luma's PSNR against the gray picture's;
- the chroma that the decoder puts on gray input;
- a linear probe, from the latent's channels to the mean Lab of the pixels below.
"""

import argparse
import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from colorjax import errors, files, release
from colorjax.analyze import figure, fits, measures
from colorjax.data import records
from colorjax.devices import compile_cache
from colorjax.errors import UserError
from colorjax.methods import lcad

SHOWN = 6  # pictures in the figure


class Request(NamedTuple):
    """What is to be analysed, and where the answer goes."""

    model: str  # as `release.locate` takes it
    data: Path  # a prepared data directory
    split: str
    limit: int  # pictures to measure
    output: Path  # a folder
    batch_size: int


def parse(arguments: Sequence[str] | None = None) -> Request:
    """The request of a command line.

    Raises:
        UserError: a number below 1.
    """
    parser = argparse.ArgumentParser(prog="colorjax.analyze", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--model",
        default="bundled",
        help="a directory, a fetched name, or hub:owner/name (default: bundled)",
    )
    parser.add_argument("--data", default="cifar10", help="a name in data/, or a directory")
    parser.add_argument("--split", default="test")
    parser.add_argument("--limit", type=int, default=1000, help="pictures to measure")
    parser.add_argument("--output", type=Path, default=Path("outputs/analysis"), help="a folder")
    parser.add_argument("--batch_size", type=int, default=50)
    flags = parser.parse_args(arguments)
    for name in ("limit", "batch_size"):
        if getattr(flags, name) < 1:
            raise UserError(f"{name} is {getattr(flags, name)}; it must be 1 or more")
    data = Path(flags.data) if Path(flags.data).is_dir() else Path("data") / flags.data
    return Request(flags.model, data, flags.split, flags.limit, flags.output, flags.batch_size)


def main(arguments: Sequence[str] | None = None) -> int:
    request = parse(arguments)
    records.open_split(request.data, request.split)
    compile_cache.setup()
    tables = measure(request)
    figures = fits.summary(tables, measures.SCALES)
    files.write_text(request.output / "analysis.json", json.dumps(figures, indent=1) + "\n")
    figure.draw(request.output / "analysis.png", figures, tables["shown"][:SHOWN])
    print(report(figures))
    print()
    errors.say(f"figure and JSON in '{request.output}'")
    return 0


def measure(request: Request) -> measures.Tables:
    """The measures of all pictures of a request, one table each, a row for each picture.

    Raises:
        UserError: a release that cannot be used, or fewer than a batch of colourful pictures.
    """
    model, params = lcad.load(request.model)
    size = int(release.read_config(release.locate(request.model))["image_size"])
    of_batch = jax.jit(functools.partial(measures.measure, model))
    batches = measures.colourful_pictures(
        request.data, request.split, size, request.batch_size, request.limit
    )
    tables = [jax.device_get(of_batch(params, images)) for images in batches]
    joined: measures.Tables = jax.tree.map(lambda *parts: np.concatenate(parts), *tables)
    return joined


def report(figures: fits.Figures) -> str:
    """The summary as text."""
    rows = [
        f"{figures['pictures']} pictures\n",
        "s              " + "".join(f"{s:8.1f}" for s in figures["scales"]),
    ]
    curves = {
        **figures["ratio to s = 1"],
        "hue drift": figures["hue drift in degrees"],
        "luma PSNR": figures["luma PSNR"],
    }
    for name, values in curves.items():
        rows.append(f"{name:15}" + "".join(f"{value:8.2f}" for value in values))
    for name, spans in figures["line"].items():
        lines = ", ".join(f"{span}: {line['r2']:.4f}" for span, line in spans.items())
        rows.append(f"R^2 of a line through {name}: {lines}")
    shares = ", ".join(f"{name} {value:.3f}" for name, value in figures["probe"]["r2"].items())
    rows.append(f"R^2 of the linear probe, latent to Lab: {shares}")
    on_gray = figures["decoder on gray"]
    rows.append(
        f"decoder on gray input: colourfulness {on_gray['colourfulness']:.2f}, "
        f"chroma {on_gray['chroma']:.2f}"
    )
    return "\n".join(rows)


if __name__ == "__main__":
    errors.run(main)
