"""The flags of `python -m colorjax.evaluate`."""

import argparse
from pathlib import Path

from colorjax.colorize.options import add_sampling
from colorjax.data import captions
from colorjax.evaluate import protocols
from colorjax.methods.method import AUTO


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line's values; what a protocol decides is None unless it is given."""
    parser = argparse.ArgumentParser(
        prog="colorjax.evaluate",
        description="Measures how good colourings are, by a protocol of the papers or your own.",
    )
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="MODEL[:METHOD]",
        help="a directory, a fetched name, or hub:owner/name, and its method; may be given again "
        "(default: bundled, unless there are --outputs)",
    )
    parser.add_argument(
        "--outputs",
        action="append",
        default=[],
        metavar="DIR",
        help="a folder of pictures that any program made, called like the list's; may be repeated",
    )
    _add_pictures(parser)
    add_sampling(parser)
    parser.add_argument(
        "--masks", choices=("attention",), help="instance-aware, by the model's own masks"
    )
    _add_networks(parser)
    _add_results(parser)
    _add_prompts(parser)
    return parser.parse_args(arguments)


def _add_pictures(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("which pictures")
    group.add_argument("--protocol", choices=protocols.BY_NAME, default="cifar10")
    group.add_argument("--data", help="a name in data/, or a directory (default: the protocol's)")
    group.add_argument("--split", help="(default: the protocol's)")
    group.add_argument("--limit", type=int, help="the first pictures only")
    group.add_argument(
        "--captions", choices=captions.LEVELS, help="level of detail (default: the protocol's)"
    )
    group.add_argument(
        "--prompt", choices=(AUTO,), help="no captions, but what each model takes a picture for"
    )
    group.add_argument(
        "--crop", choices=("resize", "center"), help="if sizes differ (default: the protocol's)"
    )
    group.add_argument("--seed", type=int, default=0)
    group.add_argument(
        "--bare", action="store_true", help="without gray, mean chroma and autoencoder beside"
    )


def _add_networks(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "measures that need weights", "DIR is by default what python -m colorjax.fetch has got"
    )
    for flag, of in (
        ("lpips", "LPIPS, Frechet and kernel distance on VGG16"),
        ("alex", "LPIPS on AlexNet"),
        ("fid", "FID and KID, on pytorch-fid's Inception"),
    ):
        group.add_argument(f"--{flag}", nargs="?", const="", metavar="DIR", help=f"also {of}")
    group.add_argument(
        "--clip", nargs="?", const="", metavar="MODEL", help="also CLIP score, by a release's CLIP"
    )
    group.add_argument(
        "--statistics", type=Path, metavar="NPZ", help="FID to these, as pytorch-fid writes them"
    )
    group.add_argument(
        "--save_statistics", type=Path, metavar="NPZ", help="write the truth's, for pytorch-fid"
    )


def _add_results(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is written")
    group.add_argument("--json", type=Path, help="write the figures here")
    group.add_argument(
        "--output", type=Path, metavar="DIR", help="figures.json, grid.png and report.html"
    )
    group.add_argument(
        "--save_outputs", type=Path, metavar="DIR", help="every picture, for --outputs"
    )
    group.add_argument(
        "--study", type=Path, metavar="DIR", help="a page of pairs for people to judge"
    )
    group.add_argument("--pairs", type=int, default=20, help="of a study")
    group.add_argument(
        "--study_results",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="the study's folder, then the answers' files: only what people said",
    )


def _add_prompts(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how prompts act, instead of the table")
    group.add_argument("--swap", nargs=2, metavar="PROMPT", help="two prompts, each with a colour")
    group.add_argument(
        "--obey", metavar="PROMPT", help="a prompt with {} for each colour: who gets what is asked"
    )
    group.add_argument(
        "--labels", default="", help="with --swap and --obey: only these classes, by commas"
    )
