"""The command line of colouring photographs, and what in it does not go together."""

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from colorjax.colorize.chroma import doubt
from colorjax.colorize.command.report import JSON, LINES, QUIET
from colorjax.colorize.files import encoding, photos
from colorjax.colorize.film import film
from colorjax.colorize.options import add_sampling
from colorjax.data import captions

_ABOUT = """Colours photographs at their own size and lightness, by a sentence or by none.
In brackets what holds without a flag; where nothing stands, it is off."""
_EXAMPLES = """examples:
  colorjax photo.jpg --prompt "a red car" --output red.jpg
  colorjax old_photographs --output coloured --seed 3
  colorjax photo.jpg --variations 4 --grid
docs/photographs.md has all of it with pictures.
"""


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line's values; None is what it does not say."""
    words = sys.argv[1:] if arguments is None else arguments
    return make_parser().parse_args(list(_with_tint(words)))


def _with_tint(words: Sequence[str]) -> Iterator[str]:
    """`--tint -20,0` in one word, since argparse takes what begins with "-" for a flag."""
    rest = iter(words)
    for word in rest:
        value = next(rest, None) if word == "--tint" else None
        if value is None:
            yield word
        elif re.match(r"-[\d.]", value):
            yield f"{word}={value}"
        else:
            yield from (word, value)


def make_parser() -> argparse.ArgumentParser:
    """The grammar of the command line, by what one wants to do."""
    parser = argparse.ArgumentParser(
        prog="colorjax",
        usage="colorjax [PHOTO_OR_FOLDER ...] [--prompt TEXT] [--output PLACE] [flags below]",
        description=_ABOUT,
        epilog=_EXAMPLES,
        add_help=False,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(
            prog, max_help_position=27, width=100
        ),
    )
    _add_what(parser.add_argument_group("what to colour, and where to"))
    _add_wishes(parser.add_argument_group("which colours"))
    _add_choice(parser.add_argument_group("to choose from, and to judge"))
    _add_files(parser.add_argument_group("files"))
    _add_folders(parser.add_argument_group("many photographs"))
    add_sampling(parser)
    _add_help(parser.add_argument_group("about"))
    parser.set_defaults(batch=None)  # of a result to be made again
    return parser


def _add_what(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("inputs", nargs="*", metavar="PHOTO_OR_FOLDER", help="photographs, or folders of them")
    add(
        "--output",
        default="outputs",
        metavar="PLACE",
        help="a folder, or a file (outputs)",
    )
    add(
        "--model",
        default="bundled",
        help="a directory, a fetched name, hub:owner/name, or a .cjx file (bundled)",
    )
    add(
        "--prompt",
        metavar="TEXT",
        help=f"what it shows, and colours; auto: what the model sees ({captions.SCARCE[0]})",
    )
    add("--seed", type=int, default=0, metavar="N", help="another seed, other colours (0)")


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
        metavar="MASKS",
        help="the parts of the picture that phrases name: a path, clipseg or attention",
    )
    add("--clipseg", type=Path, metavar="DIR", help="converted CLIPSeg weights (the cache)")
    add("--tint", metavar="WARM,MAGENTA", help="shift all colours, such as 8,-3 (0,0)")
    add(
        "--restore",
        action="store_true",
        help="stretch a faded scan's lightness first",
    )
    add(
        "--enhance",
        nargs="?",
        const="auto",
        metavar="T0",
        help="add colour to faded colours; T0 near 1: they have almost none (T0: auto)",
    )


def _add_choice(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--variations",
        type=int,
        default=1,
        metavar="N",
        help="so many seeds from --seed on: a.png, a.2.png ... (1)",
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
        help=f"also a map of where colours are a guess, by N samples (N: {doubt.SAMPLES})",
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
        metavar="FORMAT",
        help=f"{', '.join(suffix[1:] for suffix in encoding.SUFFIXES)} (jpg for JPEG, else png)",
    )
    add(
        "--quality",
        type=int,
        default=encoding.QUALITY,
        metavar="N",
        help=f"of JPEG, WebP, AVIF ({encoding.QUALITY})",
    )
    add("--pages", default="1", metavar="all|N", help="of a TIFF of several pages (1)")
    add(
        "--keep_profile",
        action="store_true",
        help="write in the photograph's own colour space (sRGB)",
    )
    add(
        "--max_pixels",
        type=int,
        default=photos.MOST_PIXELS,
        metavar="N",
        help=f"of one photograph ({photos.MOST_PIXELS})",
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
    add(
        "--keyframes",
        type=int,
        default=film.INTERVAL,
        metavar="N",
        help=f"the model colours every Nth frame of a film or more ({film.INTERVAL})",
    )
    add("--list", metavar="FILE", help="photographs, one a line; - is standard input")
    add(
        "--prompts",
        metavar="FILE",
        help="by photograph: a CSV or JSONL; beside: .txt files beside the photographs",
    )
    add(
        "--shard",
        metavar="I/N",
        help="only this share of the photographs, for N workers (all)",
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
