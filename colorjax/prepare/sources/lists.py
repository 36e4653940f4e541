"""Data sets that are a list of captions beside folders of pictures: COCO and its relatives.

What the files look like is told with each reader; the readers yield an item for every name in the
list's order, and never stop at a bad one.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from colorjax.errors import UserError
from colorjax.prepare.sources.archives import Archive
from colorjax.prepare.sources.entries import (
    Content,
    Entry,
    Folder,
    Item,
    Rejected,
    Rejection,
    read_json,
    sentences,
    shown,
)

_PAIR_NUMBER = re.compile(r"(?P<name>.+\.\w+)_\d+")


@runtime_checkable
class Pictures(Protocol):
    """Where the pictures of a list are: a folder or an archive."""

    def find(self, name: Any) -> Content:
        """Where a picture is; raises `Rejected` for a name that cannot be one."""


def pictures_in(path: Path) -> Pictures:
    """The pictures of a folder or of a tar file."""
    return Archive(path) if path.is_file() else Folder(path)


def read_coco(path: Path, split: str, captions: Path | None) -> Iterator[Item]:
    """COCO (Lin et al., 2014): `<split>2017/` and `annotations/captions_<split>2017.json`.

    Pictures come in the order of the file's `images`, each with its `annotations` in theirs. The
    2014 edition is found by the same pattern. `captions` is another folder, or file, of captions.
    """
    file = _only(captions, path / "annotations", f"captions_{split}2???.json")
    content = read_json(file)
    images, annotations = (
        content.get(name) if isinstance(content, dict) else None
        for name in ("images", "annotations")
    )
    if not isinstance(images, list) or not isinstance(annotations, list):
        raise UserError(f"{str(file)!r} has no 'images' and 'annotations'; give COCO's own file")
    pictures = pictures_in(path / file.stem.removeprefix("captions_"))
    texts: dict[Any, list[Any]] = {
        row["id"]: [] for row in images if isinstance(row, dict) and _hashable(row.get("id"))
    }
    unknown = []
    for row in annotations:
        image = row.get("image_id") if isinstance(row, dict) else None
        if _hashable(image) and image in texts:
            texts[image].append(row.get("caption"))
        else:
            name = row.get("id") if isinstance(row, dict) else row
            unknown.append(Rejection(shown(f"annotation {name}"), "unknown picture"))
    for row in images:
        row = row if isinstance(row, dict) else {}
        own = texts.get(row.get("id")) if _hashable(row.get("id")) else None
        yield _item(row.get("file_name"), own, pictures)
    yield from unknown


def _hashable(value: Any) -> bool:
    return isinstance(value, int | str)


def read_coco_stuff(path: Path, split: str, captions: Path | None) -> Iterator[Item]:
    """Extended COCO-Stuff (Weng et al., 2022): `<split>2017/` and `{file: [caption, ...]}`.

    The captions are `caption_<split>.json` (L-CAD's name) or `selected_<split>.json` (L-CoDe's) in
    `path` or in the folder `captions`. L-CoDe's `obj2col.json` beside it, `{file: [[[object,
    colour], ...] of each caption]}` with words counted from one, gives the records their `pairs`.
    """
    folder = path if captions is None or captions.is_file() else captions
    names = [folder / f"{kind}_{split}.json" for kind in ("caption", "selected")]
    file = next((p for p in names if p.is_file()), names[0])
    file = captions if captions is not None and captions.is_file() else file
    content = _mapping(file)
    correspondences = file.with_name("obj2col.json")
    indices = read_json(correspondences) if correspondences.is_file() else {}
    pictures = pictures_in(path / f"{split}2017")
    for name, texts in content:
        places = indices.get(name) if isinstance(indices, dict) else None
        yield _item(name, texts, pictures, places)


def read_multi_instance(path: Path, split: str, captions: Path | None) -> Iterator[Item]:
    """Multi-instance (Chang et al., 2023): `<split>/` and `cap-img-pairs_<split>.json`.

    The file is a list of `[name, caption]`; the captions of a name that comes several times are
    put together at its first place.
    """
    name = f"cap-img-pairs_{split}.json"
    file = captions if captions is not None and captions.is_file() else (captions or path) / name
    rows = read_json(file)
    if not isinstance(rows, list):
        raise UserError(f"{str(file)!r} is not a list of [name, caption]; give L-CoIns' own file")
    pictures = pictures_in(path / split)
    grouped: dict[str, list[Any]] = {}
    for row in rows:
        if isinstance(row, list) and len(row) == 2 and isinstance(row[0], str):
            grouped.setdefault(row[0], []).append(row[1])
        else:
            yield Rejection(shown(row)[:200], "bad row", "it must be [name, caption]")
    for name, texts in grouped.items():
        yield _item(name, texts, pictures)


def read_test_list(path: Path, split: str, captions: Path | None) -> Iterator[Item]:
    """A public list of test pairs (COCO-LC, Li et al., 2024): `{name: caption}`.

    Every pair is a record of its own, under its name in the list: `000000318908.jpg_2` is the third
    caption of `000000318908.jpg`. `path` is the folder of pictures or a tar file of them.
    """
    if captions is None:
        raise UserError("this source needs a list; give --captions=FILE.json")
    pictures = pictures_in(path)
    for name, text in _mapping(captions):
        match = _PAIR_NUMBER.fullmatch(name)
        yield _item(name, text, pictures, picture=match["name"] if match else name)


def captions_by_name(file: Path) -> dict[str, Any]:
    """`{name: caption or captions}` of a JSON file."""
    return dict(_mapping(file))


def _mapping(file: Path) -> list[tuple[str, Any]]:
    """The (name, value) of a JSON object, repeated names included."""
    content = read_json(file, pairs=True)
    if not isinstance(content, list) or not all(isinstance(row, tuple) for row in content):
        raise UserError(f"{str(file)!r} is not a JSON object of names and captions; check the file")
    return content


def _only(captions: Path | None, folder: Path, pattern: str) -> Path:
    """The file `captions`, or the newest that fits the pattern there or in `folder`."""
    if captions is not None and not captions.is_dir():
        return captions
    folder = captions or folder
    matches = sorted(folder.glob(pattern))
    if not matches:
        raise UserError(
            f"there is no {pattern.replace('2???', '2017')!r} in {str(folder)!r}; give --input "
            "with COCO's folders, or --captions"
        )
    return matches[-1]


def _item(
    name: Any, texts: Any, pictures: Pictures, indices: Any = None, picture: str | None = None
) -> Item:
    try:
        content = pictures.find(name if picture is None else picture)
        pairs = word_pairs(texts, indices) if indices is not None else None
        return Entry(name, content, sentences([] if texts is None else texts), pairs=pairs)
    except Rejected as rejected:
        return Rejection(shown(name), rejected.reason, rejected.detail)


def word_pairs(captions: Any, indices: Any) -> list[list[list[str]]] | None:
    """[object, colour] words of each caption from their places, counted from one.

    None if the places do not fit the captions: L-CoDe has some that stand beside other captions.
    Words are L-CoDe's: runs of letters, digits and underscores, in lower case.
    """
    try:
        pairs = []
        for caption, places in zip(captions, indices, strict=True):
            words = re.findall(r"\w+", caption.lower())
            if any(min(place) < 1 for place in places):
                return None
            pairs.append([[words[thing - 1], words[colour - 1]] for thing, colour in places])
        return pairs
    except (TypeError, ValueError, IndexError, AttributeError):
        return None


def splits_found(path: Path, names: Iterable[str]) -> tuple[str, ...]:
    """Those of the names that are folders in `path`."""
    return tuple(name for name in names if (path / name).is_dir())
