"""Writes a release as a folder for a hub: its files, as they are, and a model card.

    python -m colorjax.evaluate --model=DIR --data=cifar10 --json=figures.json
    python -m colorjax.publish DIR --to FOLDER --licence apache-2.0 --figures figures.json
    hf upload owner/name FOLDER

`--model hub:owner/name` then takes it from there.
"""

import argparse
import re
import shlex
import shutil
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from colorjax import errors, files, release
from colorjax.errors import UserError
from colorjax.publish import card
from colorjax.publish.card import Card
from colorjax.release import sums

MOST_BYTES = 5 * 10**9  # of one file, which every hub and its clients take
CARDS = ("MODEL_CARD.md", "README.md")  # by which names a release may have one


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line's values."""
    parser = argparse.ArgumentParser(
        prog="colorjax.publish",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", help="a release directory, or another name of a model")
    parser.add_argument("--to", required=True, type=Path, metavar="FOLDER", help="must not exist")
    parser.add_argument("--licence", help="of the weights, as hubs call it: apache-2.0, mit, ...")
    parser.add_argument("--figures", type=Path, help="what colorjax.evaluate --json has written")
    parser.add_argument(
        "--card", type=Path, help="Markdown for the model card (default: the release's own card)"
    )
    parser.add_argument("--repository", default="", metavar="OWNER/NAME", help="for the card")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    args = parse(arguments)
    directory = release.locate(args.model)
    if args.to.exists() or args.to.is_symlink():
        raise UserError(f"'{args.to}' exists; give another folder, or delete it")
    own = next((path for name in CARDS if (path := directory / name).is_file()), None)
    described = Card(
        _repository(args.repository),
        _licence(directory, args.licence),
        card.read_figures(args.figures),
        card.read_text(args.card or own),
    )
    paths = list(_checked(directory))
    text = card.written(directory, described)

    def write(folder: Path) -> None:
        for path in paths:
            target = folder / path.relative_to(directory)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        (folder / "README.md").write_text(text, "utf-8")

    files.replace(args.to, write)
    if not described.figures and not described.text:
        print("colorjax: the card has no figures; measure them by colorjax.evaluate, see --help")
    errors.say(f"colorjax: '{args.to}' is ready: look at its README.md, then")
    errors.say(f"    hf upload {args.repository or 'OWNER/NAME'} {shlex.quote(str(args.to))}")
    return 0


def _repository(name: str) -> str:
    if name and not re.fullmatch(r"[\w.-]+/[\w.-]+", name, re.ASCII):
        raise UserError(f"--repository is {name!r}; it must be OWNER/NAME")
    return name


def _licence(directory: Path, asked: str | None) -> str:
    """The licence that the release says, or else the one that is asked for.

    Raises:
        UserError: nobody says one, or both do and not the same.
    """
    own = release.read_config(directory).get("licence")
    if own and asked and own != asked:
        raise UserError(
            f"--licence is {asked}, but the weights come from others under {own}; leave it out"
        )
    licence = own or asked
    if not licence:
        raise UserError("say under which licence the weights are published: --licence apache-2.0")
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", licence):
        raise UserError(f"--licence is {licence!r}; hubs know names like apache-2.0, mit or other")
    return str(licence)


def _checked(directory: Path) -> Iterator[Path]:
    """The files of a release, each as its checksums say.

    Raises:
        UserError: one is damaged, or larger than hubs take.
    """
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if not path.is_file() or not any(fnmatch(name, pattern) for pattern in release.FILES):
            continue
        if path.stat().st_size > MOST_BYTES:
            raise UserError(
                f"'{path}' has {path.stat().st_size / 1e9:.1f} GB, and hubs take 5: halve it by "
                f"python -m colorjax.convert --to=bundle --input={directory} --output=SMALLER"
            )
        if name != sums.CHECKSUMS:
            sums.check(directory, name)
        yield path


if __name__ == "__main__":
    errors.run(main)
