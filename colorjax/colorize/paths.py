"""Photographs on disk: which ones an argument means, and where their results go."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from colorjax.colorize.photos import FORMATS, OUTPUT_SUFFIXES
from colorjax.errors import UserError


def find_photos(
    inputs: Sequence[str | os.PathLike[str]], exclude: str | os.PathLike[str] | None = None
) -> list[tuple[Path, Path]]:
    """Pictures of files and folders (recursively), as (path, folder relative to its input).

    Order: as given, sorted inside a folder; a file met twice counts once. Folders give what has
    a picture's suffix and is not hidden, and skip the folder `exclude` (earlier results); a file
    given by name is always taken.

    Raises:
        UserError: a path is missing, or a folder has no pictures.
    """
    pictures: dict[Path, tuple[Path, Path]] = {}
    excluded = None if exclude is None else Path(exclude).resolve()
    for root in map(Path, inputs):
        if not root.exists():
            raise UserError(f"'{root}' does not exist; give pictures or folders of pictures.")
        if not root.is_dir():
            pictures.setdefault(root.resolve(), (root, Path(".")))
            continue
        inside = []
        for folder, subfolders, names in os.walk(root):
            subfolders[:] = [
                n for n in subfolders if n[0] != "." and Path(folder, n).resolve() != excluded
            ]
            inside += [
                Path(folder, n) for n in names if n[0] != "." and Path(n).suffix.lower() in FORMATS
            ]
        if not inside:
            raise UserError(f"'{root}' holds no pictures (.png, .jpg, .tif, ...); check the path.")
        for path in sorted(inside):
            pictures.setdefault(path.resolve(), (path, path.parent.relative_to(root)))
    return list(pictures.values())


def output_paths(photos: Sequence[tuple[Path, Path]], output: str | os.PathLike[str]) -> list[Path]:
    """Where the result of each of `find_photos`' pictures goes.

    An `output` ending in .png, .jpg or .jpeg is the file for exactly one picture. Otherwise it is
    a folder: `<relative folder>/<stem>.png`, `.jpg` for JPEG input; pictures that would share a
    name become `<stem>_<suffix>` and, if that is not enough, are numbered.

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
        raise UserError(f"'{output}' cannot be written; end its name in .png, .jpg or .jpeg.")
    elif output.exists() and not output.is_dir():
        raise UserError(f"'{output}' is a file; give a folder for the results.")
    else:
        results = [output / name for name in _names(photos)]
    sources = {path.resolve() for path, _ in photos}
    for result in results:
        if result.resolve() in sources:
            raise UserError(f"'{result}' would be replaced by its result; give another output.")
    return results


def _names(photos: Sequence[tuple[Path, Path]]) -> list[Path]:
    def name(path: Path, folder: Path, addition: str) -> Path:
        suffix = ".jpg" if FORMATS.get(path.suffix.lower()) == "JPEG" else ".png"
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
