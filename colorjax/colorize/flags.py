"""The command line of colouring photographs, and what in it does not go together."""

import argparse
from pathlib import Path

from colorjax.colorize import painters, photos, prompts
from colorjax.colorize.jobs import Painter, check_seed
from colorjax.colorize.options import add_sampling
from colorjax.data import captions
from colorjax.errors import UserError
from colorjax.methods import registry
from colorjax.methods.method import AUTO, OF_MASKS

KINDS = ("levels", "vividness_grid", "enhance")
_ABOUT = "Colours photographs at their own size and lightness, by a sentence or by none."
_EXAMPLES = """examples:
  colorjax photo.jpg --prompt "a red car" --output red.jpg
  colorjax old_photographs --output coloured --seed 3
"""


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line's values; None is what it does not say."""
    parser = argparse.ArgumentParser(
        prog="colorjax",
        description=_ABOUT,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--version", action="store_true", help="say which version this is")
    add("inputs", nargs="+", help="photographs, or folders of them")
    add("--prompt", help=f"what it shows, in which colours (default: {captions.SCARCE[0]!r})")
    add("--output", default="outputs", help="a folder, or a file for one input (default: outputs)")
    add("--model", default="bundled", help="a release directory (default: bundled)")
    add("--seed", type=int, default=0, help="another seed, other colours (default: 0)")
    add("--again", action="store_true", help="also what is finished: coloured by the same settings")
    add(
        "--max_megapixels",
        type=float,
        default=64.0,
        metavar="N",
        help="of one photograph, for which about 40 MB each are needed (default: 64)",
    )
    add_sampling(parser)
    _add_kinds(parser)
    return parser.parse_args(arguments)


def _add_kinds(parser: argparse.ArgumentParser) -> None:
    """What else than one colouring of the whole picture there can be."""
    parser.add_argument(
        "--masks",
        metavar="PATH|clipseg|attention",
        help="tie the prompt's phrases to their parts of the picture: masks in files, found by "
        "words, or found by the model itself (default: none)",
    )
    parser.add_argument(
        "--clipseg", type=Path, metavar="DIR", help="converted CLIPSeg weights (default: the cache)"
    )
    parser.add_argument(
        "--levels",
        action="store_true",
        help="a row of pictures: gray, by the whole prompt, by it without its colours, without it",
    )
    parser.add_argument(
        "--vividness_grid", action="store_true", help="all vividnesses with the ranker's scores"
    )
    parser.add_argument(
        "--enhance",
        nargs="?",
        const="auto",
        metavar="T0",
        help="add colour to faded colour photographs; T0 near 1: they have almost none "
        "(default: not; without T0: auto)",
    )


def check(args: argparse.Namespace) -> str:
    """The prompt in its plain form, see `prompts.plain`.

    Raises:
        UserError: something does not go together, before anything is loaded.
    """
    check_seed(args.seed)
    if not 0.0 < args.max_megapixels <= photos.MOST_MEGAPIXELS:
        raise UserError(
            f"max_megapixels is {args.max_megapixels:g}; it must be above 0, "
            f"at most {photos.MOST_MEGAPIXELS}"
        )
    if args.prompt is None and (args.masks or args.levels):
        raise UserError("--masks and --levels are about what a prompt says: give --prompt TEXT")
    for row in OF_MASKS:
        if not args.masks and getattr(args, row.name) is not None:
            raise UserError(f"--{row.name} is about --masks, which are not given")
    if args.masks != "clipseg" and args.clipseg is not None:
        raise UserError("--clipseg is about --masks clipseg, which is not asked for")
    if args.masks and args.levels:
        raise UserError("--masks and --levels do not go together: masks belong to one prompt")
    if args.negative_prompt is not None:
        args.negative_prompt = prompts.plain(args.negative_prompt)
    return captions.SCARCE[0] if args.prompt is None else prompts.plain(args.prompt)


def make_painter(args: argparse.Namespace, prompt: str) -> Painter:
    """What the command line asks for.

    Raises:
        UserError: two things at once, or one that the method cannot do.
    """
    kinds = [name for name in KINDS if getattr(args, name)]
    if len(kinds) > 1:
        raise UserError(f"--{kinds[0]} and --{kinds[1]} exclude each other; give one of them")
    if args.enhance:
        able = [name for name, method in registry.METHODS.items() if method.colourfulness]
        if args.method not in able:
            raise UserError(f"--enhance is a setting of --method={able[0]}, not of {args.method}")
        if args.vividness == AUTO:
            raise UserError(
                "--vividness=auto is for gray photographs; with --enhance give a number"
            )
        return painters.Enhancement.of(args.enhance)
    if args.vividness_grid:
        return painters.VividnessGrid()
    return painters.Levels.of(prompt) if args.levels else painters.Colouring()
