"""Any folder of pictures: captions in text files beside them, or in one CSV, JSONL or JSON file."""

import csv
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from colorjax.data import decoding
from colorjax.errors import UserError
from colorjax.prepare.sources import lists
from colorjax.prepare.sources.entries import (
    Entry,
    FileContent,
    Item,
    Rejected,
    Rejection,
    checked_name,
    read_json,
    sentences,
    shown,
)

SPLITS = ("train", "val", "test")
_TABLES = tuple(f"{stem}.{kind}" for stem in ("captions", "metadata") for kind in ("csv", "jsonl"))
_NAME_COLUMNS = ("file_name", "filename", "file", "image", "path", "name")
_TEXT_COLUMNS = ("caption", "text", "captions", "prompt", "description")

Rows = list[tuple[str, Any]]  # name -> caption or captions, names may come again


def splits(path: Path) -> tuple[str, ...]:
    """Its subfolders train, val and test; without any, all of the folder is `train`."""
    return lists.splits_found(path, SPLITS) or ("train",)


def read(path: Path, split: str, captions: Path | None) -> Iterator[Item]:
    """The pictures of the folder and what is below it, sorted, keyed by their relative path.

    Captions come from the file `captions` or else from `captions.csv`, `captions.jsonl`,
    `metadata.csv` or `metadata.jsonl` in the folder (columns `file_name` and `caption` or `text`;
    a JSON file is an object of names and captions); else from `photo.txt` beside `photo.jpg`. If
    there are captions at all, a picture without one is left out.

    Raises:
        UserError: there is no such folder or no picture in it, or the file cannot be understood.
    """
    if not path.is_dir():
        raise UserError(f"there is no folder {str(path)!r} of pictures; check --input")
    folder = path / split if split in lists.splits_found(path, SPLITS) else path
    names = _names(folder)
    if not names:
        raise UserError(f"{str(folder)!r} holds no pictures (.jpg, .png, ...); check --input")
    table = captions or next((folder / t for t in _TABLES if (folder / t).is_file()), None)
    if table is not None:
        yield from _with_table(folder, names, table)
        return
    captioned = any((folder / name).with_suffix(".txt").is_file() for name in names)
    for name in names:
        yield _item(folder, name, _sidecar(folder / name) if captioned else None)


def _names(folder: Path) -> list[str]:
    names = []
    for root, folders, files in os.walk(folder, followlinks=False):
        # In place: `os.walk` then stays out of hidden folders.
        folders[:] = [name for name in folders if name[0] != "."]
        names += [
            os.path.relpath(os.path.join(root, name), folder)
            for name in files
            if name[0] != "." and Path(name).suffix.lower() in decoding.FORMATS
        ]
    return sorted(names)


def _item(folder: Path, name: str, captions: Any) -> Item:
    """A picture of the folder; None are no captions, and no reason to leave it out."""
    try:
        content = FileContent(str(folder), checked_name(name))
        if isinstance(captions, Rejected):
            raise captions
        return Entry(name, content, () if captions is None else sentences(captions))
    except Rejected as rejected:
        return Rejection(shown(name), rejected.reason, rejected.detail)


def _sidecar(picture: Path) -> list[str] | Rejected:
    """The lines of the text file beside a picture, each a caption."""
    try:
        return picture.with_suffix(".txt").read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        return Rejected("missing caption")
    except (UnicodeDecodeError, OSError):
        return Rejected("caption is not text", "its text file is not UTF-8")


def _with_table(folder: Path, names: list[str], table: Path) -> Iterator[Item]:
    captions: dict[str, list[Any]] = {}
    for item in _rows(table):
        if isinstance(item, Rejection):
            yield item
        else:
            name, texts = item
            captions.setdefault(name, []).extend(texts if isinstance(texts, list) else [texts])
    for name in names:
        yield _item(folder, name, captions.pop(name, []))
    for name in captions:
        yield _absent(name)


def _absent(name: str) -> Rejection:
    """What is said of a caption whose picture is not there."""
    try:
        checked_name(name)
    except Rejected as rejected:
        return Rejection(shown(name), rejected.reason, rejected.detail)
    return Rejection(shown(name), "missing file")


def _rows(table: Path) -> Iterator[tuple[str, Any] | Rejection]:
    if not table.is_file():
        raise UserError(f"there is no file {str(table)!r}; check --captions")
    kind = table.suffix.lower()
    if kind == ".json":
        content = read_json(table)
        if not isinstance(content, dict):
            raise UserError(f"{str(table)!r} is not a JSON object of names and captions")
        yield from content.items()
    elif kind in (".jsonl", ".csv", ".tsv"):
        lines = table.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines(keepends=True)
        yield from _jsonl(table, lines) if kind == ".jsonl" else _csv(table, lines)
    else:
        raise UserError(f"{str(table)!r} cannot be read; give a .csv, .tsv, .jsonl or .json file")


def _jsonl(table: Path, lines: list[bytes]) -> Iterator[tuple[str, Any] | Rejection]:
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            yield str(row[_column(row, _NAME_COLUMNS)]), row[_column(row, _TEXT_COLUMNS)]
        except (ValueError, TypeError, KeyError, RecursionError):
            if line.strip():
                yield Rejection(f"{table.name} line {number}", "bad row")


def _csv(table: Path, lines: list[bytes]) -> Iterator[tuple[str, Any] | Rejection]:
    text, bad = [], []
    for number, line in enumerate(lines, 1):
        try:
            text.append(line.decode())
        except UnicodeDecodeError:
            bad.append(Rejection(f"{table.name} line {number}", "bad row", "it is not UTF-8"))
    yield from bad
    # With every kind of line end as it is: a quoted text may have lines of its own.
    lines_of_text = io.StringIO("".join(text), newline="")
    reader = csv.reader(lines_of_text, delimiter="\t" if ".tsv" in table.name else ",")
    header = _row(reader) or []
    try:
        name, caption = (header.index(_column(header, c)) for c in (_NAME_COLUMNS, _TEXT_COLUMNS))
    except KeyError:
        raise UserError(
            f"{str(table)!r} has the columns {', '.join(header)}; it must have 'file_name' and "
            "'caption' in its first line"
        ) from None
    while (row := _row(reader)) is not None:
        if len(row) == len(header):
            yield row[name], row[caption]
        elif row:
            yield Rejection(f"{table.name} line {reader.line_num}", "bad row")


def _row(reader: Any) -> list[str] | None:
    """The next row, and None at the end; what is no row, such as a text of megabytes, is [""]."""
    try:
        row: list[str] | None = next(reader, None)
        return row
    except csv.Error:
        return [""]


def _column(names: Any, known: tuple[str, ...]) -> str:
    """The first known name among `names`, else KeyError."""
    for name in known:
        if name in names:
            return name
    raise KeyError(known[0])
