"""What on a command line does not go together, told before anything is loaded."""

import argparse
import os
import re
from pathlib import Path

from colorjax.colorize import comparisons, enhancing, painters
from colorjax.colorize.chroma.looks import Look
from colorjax.colorize.files.encoding import SUFFIXES
from colorjax.colorize.jobs import Painter, check_seed
from colorjax.colorize.words import prompts
from colorjax.data import captions
from colorjax.errors import UserError
from colorjax.methods import registry
from colorjax.methods.method import AUTO, OF_MASKS

KINDS = ("levels", "vividness_grid", "enhance")  # what else than a colouring there can be
CONTROLS = ("variations", "grid", "compare", "tint", "doubt", "hints", "only_masked")
MOST_VARIATIONS = 64


def check(args: argparse.Namespace) -> str:
    """The prompt in its plain form, see `prompts.plain`.

    Raises:
        UserError: something does not go together, before anything is loaded.
    """
    check_seed(args.seed)
    if bool(args.inputs) == bool(args.list):
        raise UserError("give photographs or folders of them, or a --list of them")
    _check_files(args)
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
    if args.keyframes < 1:
        raise UserError(f"keyframes is {args.keyframes}; it must be 1 or more")
    for name in (*KINDS, "variations", "grid", "doubt", "shard", "masks"):
        if args.frames and getattr(args, name) not in (None, False, 0, 1):
            raise UserError(f"--frames and --{name} do not go together; leave one of them out")
    if args.frames and args.pages == "all":
        raise UserError("--frames takes a picture for each frame: leave --pages all out")
    for name in ("levels", "prompts"):
        if args.masks and getattr(args, name):
            raise UserError(f"--masks and --{name} do not go together: masks belong to one prompt")
    if args.negative_prompt is not None:
        args.negative_prompt = prompts.plain(args.negative_prompt)
    return captions.SCARCE[0] if args.prompt is None else prompts.plain(args.prompt)


def _check_files(args: argparse.Namespace) -> None:
    if args.output in ("", "-"):
        raise UserError(f"output is {args.output!r}; give a file, or a folder for the results")
    for name in ("hints", "only_masked"):
        place = getattr(args, name)
        if place is not None and not os.path.exists(place):
            raise UserError(f"--{name} '{place}' does not exist; give a file, or a folder of them")
    if args.max_pixels < 1:
        raise UserError(f"max_pixels is {args.max_pixels}; it must be 1 or more")
    if not 1 <= args.quality <= 100:
        raise UserError(f"quality is {args.quality}; it must be in 1..100")
    if args.pages != "all" and not re.fullmatch("0*[1-9][0-9]{0,8}", args.pages):
        raise UserError(f"pages is {args.pages!r}; give all, or a number from 1 on")
    output = Path(args.output)
    is_file = output.suffix.lower() in SUFFIXES and not output.is_dir()
    if args.format and is_file and SUFFIXES[f".{args.format}"] != SUFFIXES[output.suffix.lower()]:
        raise UserError(f"--format {args.format} is not that of '{output}': leave it out")


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
        return comparisons.VividnessGrid()
    return comparisons.DetailLevels.of(prompt) if args.levels else _colouring(args)


def _enhancement(args: argparse.Namespace) -> Painter:
    able = [name for name, method in registry.METHODS.items() if method.colourfulness]
    if args.method not in able:
        raise UserError(f"--enhance is a setting of --method={able[0]}, not of {args.method}")
    if args.vividness == AUTO:
        raise UserError("--vividness=auto is for gray photographs; with --enhance give a number")
    return enhancing.Enhancement.of(args.enhance)


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
