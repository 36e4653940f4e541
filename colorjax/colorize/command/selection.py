"""What of many photographs is to be coloured, and by which words: lists, shards and prompts."""

import codecs
import csv
import hashlib
import io
import json
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from colorjax.colorize.words import prompts
from colorjax.errors import UserError, reason

BESIDE = "beside"
_STDIN = "-"
_COLUMNS = ("file", "prompt")
_MOST_PROMPT_BYTES = 1 << 16


def listed(path: str) -> list[Path]:
    """The photographs that a file names, one a line; "-" is standard input.

    Raises:
        UserError: it cannot be read, or names nothing.
    """
    try:
        text = sys.stdin.read() if path == _STDIN else Path(path).read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"list '{path}' cannot be read ({reason(error)})") from error
    names = [line for line in text.splitlines() if line.strip()]
    if not names:
        raise UserError(f"list '{path}' names no photographs; give one a line")
    return [Path(name) for name in names]


@dataclass(frozen=True)
class Shard:
    """One of several workers' shares of the photographs; workers need not know each other.

    A photograph belongs to one share by its name relative to its input, wherever the input lies.
    """

    number: int = 1
    of: int = 1

    @classmethod
    def parse(cls, text: str | None) -> "Shard":
        """Such as "2/3".

        Raises:
            UserError: it is something else.
        """
        if text is None:
            return cls()
        try:
            number, of = map(int, text.split("/"))
        except ValueError:
            number, of = 0, 0
        if not 1 <= number <= of:
            raise UserError(f"shard is {text!r}; give I/N with I in 1..N, such as 1/3")
        return cls(number, of)

    def divided(self, index: int, count: int) -> "Shard":
        """The share of one of so many processes, from 0, that have this one together."""
        return Shard(self.number + index * self.of, self.of * count)

    def has(self, relative: Path) -> bool:
        """Whether a photograph is in this share."""
        digest = hashlib.sha256(relative.as_posix().encode("utf-8", "surrogateescape")).digest()
        return int.from_bytes(digest[:8], "big") % self.of == self.number - 1


def beside(
    place: str | None, photograph: Path, suffixes: Sequence[str], *, must: bool = False
) -> Path | None:
    """What there is for one photograph: a file for all of them, or that of its name in a folder.

    Args:
        must: whether a photograph without one is an error.

    Raises:
        UserError: the folder has none, and must.
    """
    if place is None or not Path(place).is_dir():
        return None if place is None else Path(place)
    for suffix in suffixes:
        if (path := Path(place, photograph.stem + suffix)).is_file():
            return path
    if must:
        raise UserError(f"'{place}' has no {photograph.stem}{suffixes[0]} for '{photograph}'")
    return None


class Prompts:
    """The prompt of each photograph: from a table, from a text beside it, or one for all."""

    def __init__(self, source: str | None, usual: str, *, hold: bool = False) -> None:
        """Reads the table.

        Args:
            source: a CSV file with the columns `file` and `prompt`, a JSONL file with objects of
                both, "beside" for a `.txt` of the photograph's name, or None.
            usual: of photographs that nothing is said about.
            hold: whether they have the words of the one before instead, as frames of a film do.

        Raises:
            UserError: the table cannot be read.
        """
        self._usual, self._beside, self._hold = usual, source == BESIDE, hold
        self._table: dict[str, str] = {}
        self._used: set[str] = set()
        if source is not None and not self._beside:
            self._table = dict(_rows(Path(source)))

    def of(self, path: Path, relative: Path) -> str:
        """A photograph's prompt, by its name relative to its input, else by its last part.

        Raises:
            UserError: the text beside it is no prompt.
        """
        said = self._said(path, relative)
        if said is not None and self._hold:
            self._usual = said
        return self._usual if said is None else said

    def _said(self, path: Path, relative: Path) -> str | None:
        for name in map(_key, map(str, (relative, path, path.name))):
            if name in self._table:
                self._used.add(name)
                return self._table[name]
        text = path.with_suffix(".txt")
        if self._beside and text.is_file():
            try:
                with text.open("rb") as file:
                    said = file.read(_MOST_PROMPT_BYTES).decode("utf-8-sig")
            except (OSError, UnicodeDecodeError) as error:
                raise UserError(f"'{text}' cannot be read ({reason(error)})") from error
            return prompts.plain(said)
        return None

    @property
    def unused(self) -> list[str]:
        """The table's names that no photograph had."""
        return [name for name in self._table if name not in self._used]


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    try:
        data = path.read_bytes()
        is_wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = data.decode("utf-16" if is_wide else "utf-8-sig")
        if path.suffix.lower() == ".csv":
            rows = _table(text)
        else:
            rows = [json.loads(line) for line in text.split("\n") if line.strip()]
    except UnicodeDecodeError as error:
        raise UserError(f"prompts '{path}' are not in UTF-8: save the table so") from error
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        raise UserError(f"prompts '{path}' cannot be read ({reason(error)})") from error
    for number, row in enumerate(rows, 1):
        values = [row.get(name) for name in _COLUMNS] if isinstance(row, dict) else [None]
        if not all(isinstance(value, str) for value in values):
            raise UserError(
                f"prompts '{path}': row {number} lacks {' or '.join(_COLUMNS)}; a CSV has these "
                'columns, a JSONL lines such as {"file": "a.jpg", "prompt": "a red car"}'
            )
        yield _key(str(values[0])), prompts.plain(str(values[1]))


def _table(text: str) -> list[dict[str, str]]:
    """The rows of a CSV as spreadsheets write it: between semicolons, where a comma is decimal."""
    heading = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=heading.count))
    reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
    return list(reader)


def _key(name: str) -> str:
    """A photograph's name however a system writes it: slashes and accents are told in two ways."""
    return unicodedata.normalize("NFC", Path(name.replace("\\", "/")).as_posix())
