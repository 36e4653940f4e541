"""The papers' claims at the bundled model's size: `python -m benchmarks.reproduction [ROW ...]`.

Measures rows that are not there yet, all by default, and draws the table, the frontier and the
pictures of `docs/reproduction.md`. Stop it at any time: the same command goes on. A row is measured
again when the number of pictures or the weights have changed; one that is not measured stays on the
page as it was (`docs/reproduction/rows.json`).
"""

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.reproduction import page
from benchmarks.reproduction.baselines import Workplace
from benchmarks.reproduction.rows import ROWS, Row
from colorjax import errors, files, release
from colorjax.devices import compile_cache
from colorjax.evaluate import (
    gallery,
    measuring,
    networks,
    painters,
    protocols,
    results,
    scoring,
)
from colorjax.evaluate.measuring import Measurement
from colorjax.evaluate.pictures import Frame, Selection, data_directory
from colorjax.release import sums

PICTURES = 8  # of each row, kept for the page
PARTS = (
    *("cold_unet", "distilled_unet", "luminance_encoder", "ranker", "text_encoder"),
    *("text_to_image_unet", "unet", "vae"),
)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--data", default="cifar10", help="a name in data/, or a directory")
    parser.add_argument("--limit", type=int, default=1000, help="the first pictures only")
    parser.add_argument("--lpips", nargs="?", const="", metavar="DIR", help="also LPIPS, Frechet")
    parser.add_argument("--folder", type=Path, default=Path("outputs/reproduction"))
    parser.add_argument("--batch_size", type=int, default=100)
    parser.add_argument("--no_page", action="store_true", help="measure only")
    return parser.parse_args(arguments)


class Tools(NamedTuple):
    """What all rows are measured with: one program."""

    networks: networks.Networks
    program: scoring.Program

    @classmethod
    def of(cls, args: argparse.Namespace) -> "Tools":
        loaded = networks.load(vgg16=args.lpips)
        return cls(loaded, scoring.program(loaded))


def measure(row: Row, args: argparse.Namespace, tools: Tools) -> dict[str, Any]:
    """One row's figures, and its first pictures beside it."""
    data = data_directory(args.data)
    workplace = Workplace(data, args.folder, args.batch_size)
    painter = row.make(workplace)
    measurement = Measurement(
        protocols.find("cifar10"),
        Selection.find(str(data), "test", args.limit),
        Frame(32, args.batch_size, row.captions, painters.no_tokens),
        [painter],
        tools.networks,
        references=False,
    )
    result = results.result(measurement, measuring.measure(measurement, tools.program))
    names = (painter.name, painter.name + measuring.RAW)
    shown = gallery.show(measurement, list(range(PICTURES)))
    strips = [
        gallery.grid([gallery.Shown("", "", {"": one.versions[name]}) for one in shown.values()])
        for name in (painter.name, measuring.GRAY, measuring.TRUTH)
    ]
    for kind, strip in zip(("own", "gray", "truth"), strips, strict=True):
        files.write_bytes(args.folder / f"{row.name}.{kind}.png", strip)
    of_row = result.json()
    return {
        "captions": row.captions,
        "identity": identity(args),
        "command": f"python -m benchmarks.reproduction {row.name} --limit={args.limit}",
        "list": of_row["list"],
        "kept": of_row["rows"][names[0]],
        "raw": of_row["rows"][names[1]],
        "intervals_95": of_row["intervals_95"][names[0]],
        "truth": of_row["rows"][measuring.TRUTH],
    }


def identity(args: argparse.Namespace) -> dict[str, Any]:
    """What a kept row is still good for."""
    weights = {part: release.digest(release.BUNDLED, part) for part in PARTS}
    settings = sums.digest(release.BUNDLED / "config.json")
    return {
        "limit": args.limit,
        "weights": weights,
        "settings": settings,
        "lpips": args.lpips is not None,
    }


def kept(row: str, args: argparse.Namespace) -> dict[str, Any] | None:
    """A row as it was measured before, if nothing that it depends on has changed."""
    path = args.folder / f"{row}.json"
    if not path.is_file():
        return None
    content: dict[str, Any] = files.read_json(path, advice="delete it")
    return content if content["identity"] == identity(args) else None


def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    for name in args.rows:
        errors.one_of("row", name, ROWS)
    compile_cache.setup()
    tools = None
    for name in args.rows or ROWS:
        if kept(name, args) is None:
            tools = tools or Tools.of(args)
            content = measure(ROWS[name], args, tools)
            files.write_text(args.folder / f"{name}.json", json.dumps(content, indent=1) + "\n")
            figures = {k: round(v, 3) for k, v in content["kept"].items()}
            print(f"{name}: {figures}", flush=True)
    if not args.no_page:
        there = {name: of for name in ROWS if (of := kept(name, args)) is not None}
        titles = {name: page.Titled(row.title, row.curve) for name, row in ROWS.items()}
        page.draw(there, titles, args.folder)
    return 0


if __name__ == "__main__":
    errors.run(main)
