"""Measures a model: `python -m colorjax.evaluate --model=bundled --data=cifar10 --split=test`.

Prints PSNR, SSIM, colourfulness and, with `--lpips`, LPIPS of the outputs with the input's
lightness kept and of the raw decodes, beside gray, the training set's mean chroma and the truth
on the same pictures. `--swap` measures instead whether two prompts pull the centre's colour apart,
`--obey` how often it gets the colour that a prompt asks for.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from colorjax import errors, files, release
from colorjax.colorize.jobs import check_seed
from colorjax.colorize.options import add_sampling, make_colorizer
from colorjax.data import captions
from colorjax.devices import compile_cache, processes
from colorjax.errors import UserError, printable
from colorjax.evaluate import prompts, protocols
from colorjax.evaluate.pictures import Selection

COLUMNS = {  # heading, decimals
    "psnr_pooled": ("PSNR pooled", 2),
    "psnr_per_image": ("PSNR per image", 2),
    "ssim": ("SSIM", 4),
    "lpips": ("LPIPS (VGG)", 4),
    "colourfulness": ("colourfulness", 2),
    "chroma_error": ("ab error", 2),
}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line's values."""
    parser = argparse.ArgumentParser(
        prog="colorjax.evaluate", description=str(__doc__).split("\n")[0]
    )
    parser.add_argument(
        "--model",
        default="bundled",
        help="a directory, a fetched name, or hub:owner/name (default: bundled)",
    )
    parser.add_argument("--data", default="cifar10", help="a name in data/, or a directory")
    parser.add_argument("--split", default="test")
    parser.add_argument("--limit", type=int, default=2000, help="the first pictures only")
    parser.add_argument("--captions", default="complete", choices=captions.LEVELS)
    parser.add_argument("--crop", choices=("resize", "center"), help="if the sizes differ")
    parser.add_argument("--seed", type=int, default=0)
    add_sampling(parser)
    parser.set_defaults(batch_size=100)
    parser.add_argument(
        "--masks", choices=("attention",), help="instance-aware, by the model's own masks"
    )
    parser.add_argument(
        "--lpips",
        nargs="?",
        const="",
        metavar="DIR",
        help="also LPIPS on VGG16, with the weights in DIR or what colorjax.fetch got",
    )
    parser.add_argument("--swap", nargs=2, metavar="PROMPT", help="two prompts, each with a colour")
    parser.add_argument(
        "--obey", metavar="PROMPT", help="a prompt with {} for each colour: who gets what is asked"
    )
    parser.add_argument(
        "--labels", default="", help="with --swap and --obey: only these classes, by commas"
    )
    parser.add_argument("--json", type=Path, help="also write the figures here")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    args = parse(arguments)
    check_seed(args.seed)
    selection = Selection.find(args.data, args.split, args.limit, args.crop)
    model = release.locate(args.model)
    compile_cache.setup()
    if (args.swap or args.obey) and args.masks:
        raise UserError("--swap and --obey take prompts as they are; leave --masks out")
    if args.swap and args.obey:
        raise UserError("--swap and --obey are two measurements; give one of them")
    colorizer = make_colorizer(args, model)
    figures: dict[str, Any]
    labels = frozenset(filter(None, args.labels.split(",")))
    if args.swap or args.obey:
        if args.swap:
            swapped = prompts.Swap(tuple(args.swap), labels, args.seed)
            figures = prompts.swap(selection, colorizer, swapped)
        else:
            asked = prompts.Asked(args.obey, labels, args.seed)
            figures = prompts.obedience(selection, colorizer, asked)
        print("\n".join(f"{printable(name)}: {value:.4g}" for name, value in figures.items()))
    else:
        lpips = None if args.lpips is None else release.read_lpips("vgg16", args.lpips)
        colouring = protocols.Colouring(args.captions, args.seed, bool(args.masks))
        figures = protocols.table(selection, colorizer, colouring, lpips)
        print_table(figures)
    if args.json and processes.is_first():
        files.write_text(args.json, json.dumps(figures, indent=1) + "\n")
    return 0


def print_table(figures: protocols.Figures) -> None:
    """A row of figures for each kind of picture."""
    first = next(iter(figures.values()))
    columns = {name: column for name, column in COLUMNS.items() if name in first}
    print(f"{first['pictures']} pictures, lightness kept\n")
    print(f"{'':32}" + "".join(f"{heading:>16}" for heading, _ in columns.values()))
    for row, values in figures.items():
        cells = (f"{values[name]:16.{decimals}f}" for name, (_, decimals) in columns.items())
        print(f"{printable(row):32}{''.join(cells)}")


if __name__ == "__main__":
    errors.run(main)
