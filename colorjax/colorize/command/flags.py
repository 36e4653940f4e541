"""The command line of colouring photographs, and what in it does not go together."""

import argparse
from pathlib import Path

from colorjax.colorize import painters
from colorjax.colorize.chroma import doubt
from colorjax.colorize.chroma.looks import Look
from colorjax.colorize.command.report import JSON, LINES, QUIET
from colorjax.colorize.files import encoding, photos
from colorjax.colorize.jobs import Painter, check_seed
from colorjax.colorize.options import add_sampling
from colorjax.colorize.words import prompts
from colorjax.data import captions
from colorjax.errors import UserError
from colorjax.methods import registry
from colorjax.methods.method import AUTO, OF_MASKS

KINDS = ("levels", "vividness_grid", "enhance")  # what else than a colouring there can be
CONTROLS = ("variations", "grid", "compare", "tint", "doubt", "hints", "only_masked")
MOST_VARIATIONS = 64
_ABOUT = "Colours photographs at their own size and lightness, by a sentence or by none."
_EXAMPLES = """examples:
  colorjax photo.jpg --prompt "a red car" --output red.jpg
  colorjax old_photographs --output coloured --seed 3
  colorjax photo.jpg --variations 4 --grid
docs/photographs.md has all of it with pictures.
"""


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line's values; None is what it does not say."""
    parser = argparse.ArgumentParser(
        prog="colorjax",
        usage="colorjax [PHOTO_OR_FOLDER ...] [--prompt TEXT] [--output PLACE] [flags below]",
        description=_ABOUT,
        epilog=_EXAMPLES,
        add_help=False,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(
            prog, max_help_position=30, width=100
        ),
    )
    _add_what(parser.add_argument_group("what to colour, and where to"))
    _add_wishes(parser.add_argument_group("which colours"))
    _add_choice(parser.add_argument_group("to choose from, and to judge"))
    _add_files(parser.add_argument_group("files"))
    _add_folders(parser.add_argument_group("many photographs"))
    add_sampling(parser)
    _add_help(parser.add_argument_group("about"))
    return parser.parse_args(arguments)


def _add_what(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("inputs", nargs="*", metavar="PHOTO_OR_FOLDER", help="photographs, or folders of them")
    add(
        "--output",
        default="outputs",
        metavar="PLACE",
        help="a folder, or a file (default: outputs)",
    )
    add(
        "--model",
        default="bundled",
        help="a directory, a fetched name, or hub:owner/name (default: bundled)",
    )
    add(
        "--prompt",
        metavar="TEXT",
        help="what it shows, in which colours; auto: what the model takes it for, which is said "
        f"(default: {captions.SCARCE[0]!r})",
    )
    add("--seed", type=int, default=0, metavar="N", help="another seed, other colours (default: 0)")


def _add_wishes(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--hints",
        metavar="FILE",
        help="this colour, here: strokes on a transparent PNG, points in a JSON",
    )
    add("--only_masked", metavar="MASK", help="colour inside a mask only; the rest stays as it was")
    add(
        "--masks",
        metavar="PATH|clipseg|attention",
        help="tie the prompt's phrases to their parts of the picture",
    )
    add(
        "--clipseg", type=Path, metavar="DIR", help="converted CLIPSeg weights (default: the cache)"
    )
    add("--tint", metavar="WARM,MAGENTA", help="shift all colours, such as 8,-3 (default: 0,0)")
    add(
        "--restore",
        action="store_true",
        help="stretch a faded scan's lightness first (default: not)",
    )
    add(
        "--enhance",
        nargs="?",
        const="auto",
        metavar="T0",
        help="add colour to faded colour photographs; T0 near 1: they have almost none "
        "(default: not; without T0: auto)",
    )


def _add_choice(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--variations",
        type=int,
        default=1,
        metavar="N",
        help="so many seeds from --seed on: a.png, a.2.png ... (default: 1)",
    )
    add("--grid", action="store_true", help="the variations on one sheet instead")
    add("--compare", action="store_true", help="gray and coloured side by side instead")
    add(
        "--doubt",
        type=int,
        nargs="?",
        const=doubt.SAMPLES,
        default=0,
        metavar="N",
        help=f"also a map of where colours are a guess, by N samples (without N: {doubt.SAMPLES})",
    )
    add(
        "--levels",
        action="store_true",
        help="a row: gray, by the prompt, without its colours, without it",
    )
    add("--vividness_grid", action="store_true", help="all vividnesses with the ranker's scores")


def _add_files(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--format",
        choices=[suffix[1:] for suffix in encoding.SUFFIXES],
        help="of results in a folder (default: jpg for JPEG, else png)",
    )
    add(
        "--quality",
        type=int,
        default=encoding.QUALITY,
        metavar="N",
        help=f"of JPEG, WebP, AVIF (default: {encoding.QUALITY})",
    )
    add("--pages", default="1", metavar="all|N", help="of a TIFF of several pages (default: 1)")
    add(
        "--keep_profile",
        action="store_true",
        help="write in the photograph's own colour space (default: sRGB)",
    )
    add(
        "--max_pixels",
        type=int,
        default=photos.MOST_PIXELS,
        metavar="N",
        help=f"of one photograph (default: {photos.MOST_PIXELS})",
    )
    add("--plain", action="store_true", help="write nothing about what made a result into it")
    add(
        "--like",
        type=Path,
        metavar="RESULT",
        help="with the prompt, seed and settings that made a result",
    )
    add("--show_settings", type=Path, metavar="RESULT", help="print them, and nothing else")


def _add_folders(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--frames",
        action="store_true",
        help="they are frames of a film, by their numbers: colours follow the motion",
    )
    add("--list", metavar="FILE", help="photographs, one a line; - is standard input")
    add(
        "--prompts",
        metavar="FILE|beside",
        help="prompts by file name: a CSV or JSONL, or .txt files beside the photographs",
    )
    add(
        "--shard",
        metavar="I/N",
        help="only this share of the photographs, for N workers (default: all)",
    )
    add(
        "--overwrite",
        action="store_true",
        help="also what is finished: coloured by the same settings",
    )
    add(
        "--quiet",
        dest="mode",
        action="store_const",
        const=QUIET,
        default=LINES,
        help="say only what went wrong",
    )
    add(
        "--json",
        dest="mode",
        action="store_const",
        const=JSON,
        help="a line of JSON for each photograph",
    )


def _add_help(group: argparse._ArgumentGroup) -> None:
    group.add_argument("-h", "--help", action="help", help="say this")
    group.add_argument("--version", action="store_true", help="say which version this is")


def check(args: argparse.Namespace) -> str:
    """The prompt in its plain form, see `prompts.plain`.

    Raises:
        UserError: something does not go together, before anything is loaded.
    """
    check_seed(args.seed)
    if bool(args.inputs) == bool(args.list):
        raise UserError("give photographs or folders of them, or a --list of them")
    if args.max_pixels < 1:
        raise UserError(f"max_pixels is {args.max_pixels}; it must be 1 or more")
    if not 1 <= args.quality <= 100:
        raise UserError(f"quality is {args.quality}; it must be in 1..100")
    if args.pages != "all" and not (args.pages.isdecimal() and int(args.pages) > 0):
        raise UserError(f"pages is {args.pages!r}; give all, or a number from 1 on")
    if args.prompt is None and (args.masks or args.levels):
        raise UserError("--masks and --levels are about what a prompt says: give --prompt TEXT")
    if args.prompt == AUTO and (args.masks or args.levels):
        raise UserError(
            "--masks and --levels are about what a prompt says, and --prompt auto says it too "
            "late: give --prompt TEXT"
        )
    for row in OF_MASKS:
        if not args.masks and getattr(args, row.name) is not None:
            raise UserError(f"--{row.name} is about --masks, which are not given")
    if args.masks != "clipseg" and args.clipseg is not None:
        raise UserError("--clipseg is about --masks clipseg, which is not asked for")
    for name in (*KINDS, "variations", "grid", "doubt", "shard", "masks"):
        if args.frames and getattr(args, name) not in (None, False, 0, 1):
            raise UserError(f"--frames and --{name} do not go together; leave one of them out")
    for name in ("levels", "prompts"):
        if args.masks and getattr(args, name):
            raise UserError(f"--masks and --{name} do not go together: masks belong to one prompt")
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
    controls = [name for name in CONTROLS if getattr(args, name) not in (None, False, 0, 1)]
    if kinds and controls:
        raise UserError(f"--{kinds[0]} and --{controls[0]} do not go together; give one of them")
    if args.enhance:
        return _enhancement(args)
    if args.vividness_grid:
        return painters.VividnessGrid()
    return painters.DetailLevels.of(prompt) if args.levels else _colouring(args)


def _enhancement(args: argparse.Namespace) -> Painter:
    able = [name for name, method in registry.METHODS.items() if method.colourfulness]
    if args.method not in able:
        raise UserError(f"--enhance is a setting of --method={able[0]}, not of {args.method}")
    if args.vividness == AUTO:
        raise UserError("--vividness=auto is for gray photographs; with --enhance give a number")
    return painters.Enhancement.of(args.enhance)


def _colouring(args: argparse.Namespace) -> Painter:
    if not 1 <= args.variations <= MOST_VARIATIONS:
        raise UserError(f"variations is {args.variations}; it must be in 1..{MOST_VARIATIONS}")
    if args.doubt != 0 and not 2 <= args.doubt <= MOST_VARIATIONS:
        raise UserError(f"doubt is {args.doubt}; samples must be in 2..{MOST_VARIATIONS}")
    if args.grid and args.compare:
        raise UserError("--grid and --compare exclude each other; give one of them")
    if args.grid and args.variations == 1:
        raise UserError("--grid is a sheet of variations: give --variations N, 2 or more")
    if args.compare and args.variations > 1:
        raise UserError("--compare shows one colouring: leave --variations out")
    look = Look() if args.tint is None else Look.of(args.tint)
    sheet = "grid" if args.grid else "compare" if args.compare else ""
    return painters.Colouring(look, args.variations, sheet, args.doubt)
