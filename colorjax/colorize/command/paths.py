"""Photographs on disk: which ones an argument means, and where their results go."""

import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from colorjax import files
from colorjax.colorize.files.kinds import EXTRAS, FORMATS
from colorjax.colorize.files.saving import OUTPUT_SUFFIXES, SUFFIXES_TOLD, note_of
from colorjax.errors import UserError, reason

_RESULTS, _LINKS, _NAMELESS = "earlier results", "linked folders", "without a suffix"


@dataclass
class Photographs:
    """What inputs mean.

    Attributes:
        pictures: each with its folder relative to its input.
        left_out: how many of which kind folders hold that are no pictures to colour.
        problems: folders that cannot be read.
    """

    pictures: list[tuple[Path, Path]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    problems: list[UserError] = field(default_factory=list)

    @property
    def told(self) -> str:
        """What was left out, in one line; empty if nothing was."""
        return ", ".join(map(_kind, sorted(self.left_out.items())))


def _kind(counted: tuple[str, int]) -> str:
    kind, count = counted
    extra = EXTRAS.get(kind)
    hint = f" (pip install 'colorjax[{extra}]' reads them)" if extra else ""
    return f"{count} {kind}{hint}"


def find_photos(
    inputs: Sequence[str | os.PathLike[str]], exclude: str | os.PathLike[str] | None = None
) -> Photographs:
    """Pictures of files and folders (recursively).

    Order: as given, sorted inside a folder; a file met twice counts once. Folders give what has
    a picture's suffix, is not hidden and is no result of an earlier run, and skip the folder
    `exclude`; links to folders are not followed. A file given by name is always taken.

    Raises:
        UserError: a path is missing, or a folder has no pictures.
    """
    photographs = Photographs()
    pictures: dict[str, tuple[Path, Path]] = {}
    excluded = None if exclude is None else os.path.realpath(exclude)
    for root in map(Path, inputs):
        if not os.path.lexists(root):
            raise UserError(f"'{root}' does not exist; give pictures or folders of pictures.")
        if not os.path.isdir(root):
            pictures.setdefault(os.path.realpath(root), (root, Path(".")))
            continue
        inside = sorted(_inside(root, excluded, photographs))
        if not inside and not photographs.problems and not photographs.left_out[_RESULTS]:
            others = f"; left out there: {photographs.told}" if photographs.told else ""
            raise UserError(
                f"'{root}' holds no pictures (.png, .jpg, .tif, ...); check the path{others}."
            )
        for path in inside:
            pictures.setdefault(os.path.realpath(path), (path, path.parent.relative_to(root)))
    photographs.pictures = list(pictures.values())
    return photographs


def _inside(root: Path, excluded: str | None, photographs: Photographs) -> Iterator[Path]:
    """The pictures of a folder; what else is there is counted."""

    def problem(error: OSError) -> None:
        sentence = f"'{error.filename}' cannot be looked into ({reason(error)})"
        photographs.problems.append(UserError(f"{sentence}; check its permissions."))

    for folder, subfolders, names in os.walk(root, onerror=problem):
        for name in list(subfolders):
            path = os.path.join(folder, name)
            is_link = os.path.islink(path)
            if name[0] == "." or is_link or os.path.realpath(path) == excluded:
                subfolders.remove(name)
                photographs.left_out[_LINKS] += is_link and name[0] != "."
        for name in names:
            path = os.path.join(folder, name)
            suffix = os.path.splitext(name)[1].lower()
            if name[0] == ".":
                continue
            if suffix not in FORMATS:
                photographs.left_out[suffix or _NAMELESS] += 1
            elif suffix in OUTPUT_SUFFIXES and note_of(Path(path)) is not None:
                photographs.left_out[_RESULTS] += 1
            else:
                yield Path(path)
    photographs.left_out += Counter()  # only what there is


def output_paths(
    photos: Sequence[tuple[Path, Path]], output: str | os.PathLike[str], suffix: str | None = None
) -> list[Path]:
    """Where the result of each of `find_photos`' pictures goes.

    An `output` that ends in a format's suffix is the file for exactly one picture. Otherwise it is
    a folder: `<relative folder>/<stem><suffix>`, by default `.jpg` for JPEG input, else `.png`;
    pictures that would share a name become `<stem>_<suffix>` and, if that is not enough, are
    numbered.

    Raises:
        UserError: a result would replace one of the pictures, or cannot be where it shall.
    """
    output = Path(output)
    if output.suffix.lower() in OUTPUT_SUFFIXES and not output.is_dir():
        if len(photos) != 1:
            raise UserError(
                f"'{output}' is one file for {len(photos)} pictures; give a folder instead."
            )
        results = [output]
    elif output.suffix.lower() in FORMATS and not output.is_dir():
        raise UserError(f"'{output}' cannot be written; end its name in {SUFFIXES_TOLD}.")
    elif output.exists() and not output.is_dir():
        raise UserError(f"'{output}' is a file; give a folder for the results.")
    else:
        results = [output / name for name in _names(photos, suffix)]
    sources = {os.path.realpath(path) for path, _ in photos}
    for result in results:
        if os.path.realpath(result) in sources:
            raise UserError(f"'{result}' would be replaced by its result; give another output.")
    return results


def part(output: Path, name: str) -> Path:
    """Where a picture goes that is named beside the result itself, such as `a.2.png`."""
    return output.with_name(f"{output.stem}{name}{output.suffix}") if name else output


def check_writable(results: Sequence[Path], output: str | os.PathLike[str]) -> None:
    """Makes the folders of results and writes a file there, so that no work is lost for want of it.

    Raises:
        UserError: one cannot be written to, is a link within `output`, or a result is a folder.
    """
    for folder in dict.fromkeys(result.parent for result in results):
        files.check_links(Path(output), folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(b"colorjax")
                file.flush()
        except OSError as error:
            raise UserError(
                f"'{folder}' cannot be written to ({reason(error)}); give another --output."
            ) from error
    for result in results:
        if result.is_dir():
            raise UserError(f"'{result}' is a folder where a result shall go; give another output.")


def _names(photos: Sequence[tuple[Path, Path]], chosen: str | None) -> list[Path]:
    def name(path: Path, folder: Path, addition: str) -> Path:
        usual = ".jpg" if FORMATS.get(path.suffix.lower()) == "JPEG" else ".png"
        suffix = chosen or usual
        return folder / f"{path.stem}{addition}{suffix}"

    # Lower case, because on macOS and Windows A.png and a.png are one file.
    plain = Counter(str(name(path, folder, "")).lower() for path, folder in photos)
    names: list[Path] = []
    taken: set[str] = {key for key, count in plain.items() if count == 1}
    for path, folder in photos:
        result = name(path, folder, "")
        if plain[str(result).lower()] > 1:
            kind = "_" + path.suffix.lower().lstrip(".") if path.suffix else ""
            result, number = name(path, folder, kind or "_1"), 2
            while str(result).lower() in taken:
                result, number = name(path, folder, f"{kind}_{number}"), number + 1
            taken.add(str(result).lower())
        names.append(result)
    return names
