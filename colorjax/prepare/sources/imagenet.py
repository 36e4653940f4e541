"""ImageNet (ILSVRC 2012) from its tar files as downloaded, or unpacked into folders."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from colorjax.errors import UserError
from colorjax.prepare.sources import archives, lists
from colorjax.prepare.sources.entries import (
    Entry,
    FileContent,
    Item,
    Rejected,
    Rejection,
    checked_name,
    sentences,
    shown,
)

_TAR = "ILSVRC2012_img_{}.tar"
_WORDS = ("LOC_synset_mapping.txt", "synset_words.txt")  # lines of "n01440764 tench, Tinca tinca"


def read(path: Path, split: str, captions: Path | None) -> Iterator[Item]:
    """Pictures of a split, the training set by class, the validation set by number.

    `path` is the folder with `ILSVRC2012_img_<split>.tar`, or with a folder `<split>` of pictures
    or of class folders. A file of class words in `path` makes "tench" of the label "n01440764".
    `captions` is a JSON object of names and captions; without it the records have none, and
    pictures that it does not name are left out. So the first 5,000 pictures of the validation set
    are the split `val` with the limit 5,000, whatever of them is rejected.

    Raises:
        UserError: there is neither tar file nor folder.
    """
    tar, folder = path / _TAR.format(split), path / split
    if tar.is_file():
        items = list(archives.members(tar))
    elif folder.is_dir():
        items = list(_folder(folder))
    else:
        raise UserError(
            f"{str(path)!r} has neither {tar.name!r} nor a folder {split!r}; give the folder of "
            "the ImageNet downloads"
        )
    if split == "val":
        items.sort(key=lambda item: item.key)
    words = _words(path)
    texts = lists.captions_by_name(captions) if captions is not None else None
    for item in items:
        yield _described(item, words, texts) if isinstance(item, Entry) else item


def _folder(folder: Path) -> Iterator[Item]:
    for path in sorted(folder.rglob("*")):
        if path.is_dir() or path.name.startswith("."):
            continue
        name = str(path.relative_to(folder))
        try:
            label = path.parent.name if path.parent != folder else None
            yield Entry(path.name, FileContent(str(folder), checked_name(name)), label=label)
        except Rejected as rejected:
            yield Rejection(shown(name), rejected.reason, rejected.detail)


def _words(path: Path) -> dict[str, str]:
    for name in _WORDS:
        if (path / name).is_file():
            lines = (path / name).read_text(encoding="utf-8").splitlines()
            pairs = (line.split(maxsplit=1) for line in lines if " " in line.strip())
            return {wnid: words.split(",")[0].strip() for wnid, words in pairs}
    return {}


def _described(item: Entry, words: dict[str, str], texts: dict[str, Any] | None) -> Item:
    label = words.get(item.label, item.label) if item.label else None
    if texts is None:
        return replace(item, label=label)
    try:
        return replace(item, label=label, captions=sentences(texts.get(item.key, [])))
    except Rejected as rejected:
        return Rejection(item.key, rejected.reason, rejected.detail)
