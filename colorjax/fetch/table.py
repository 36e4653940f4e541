"""The table of what can be fetched, `models.toml`, as values."""

import difflib
import functools
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from colorjax.errors import UserError

TABLE = Path(__file__).parent / "models.toml"


class Input(NamedTuple):
    """Files of one place.

    Attributes:
        place: `hub:owner/name@revision`, `pypi:name==version`, `drive:folder` or `https://...`.
        files: which of them; of a single file's address none.
        sha256: of what is downloaded, where it is known from elsewhere.
    """

    place: str
    files: tuple[str, ...] = ()
    sha256: str = ""


class Model(NamedTuple):
    """What one name gets; see the head of `models.toml`."""

    name: str
    purpose: str
    licence: str
    meaning: str
    megabytes: int
    inputs: tuple[Input, ...]
    format: str = ""
    tokenizer: Input | None = None
    accept: bool = False
    use: str = ""

    @property
    def most_bytes(self) -> int:
        """What a download of it may have: a place that sends without end is hung up on.

        A checkpoint of a training holds, beside the weights, their mean and two moments of each.
        """
        return 4 * self.megabytes * 10**6


@functools.cache
def models(path: Path = TABLE) -> dict[str, Model]:
    """All that can be fetched, by name."""
    content = tomllib.loads(path.read_text("utf-8"))
    layouts = content.get("layouts", {})
    return {name: _model(name, row, layouts) for name, row in content["models"].items()}


def _model(name: str, row: dict[str, Any], layouts: dict[str, list[str]]) -> Model:
    def read(value: dict[str, Any]) -> Input:
        files = value.get("files", [])
        paths = layouts[files] if isinstance(files, str) else files
        return Input(value["from"], tuple(paths), value.get("sha256", ""))

    inputs = tuple(read(value) for value in row["inputs"])
    tokenizer = read(row["tokenizer"]) if "tokenizer" in row else None
    return Model(**{**row, "name": name, "inputs": inputs, "tokenizer": tokenizer})


def find(name: str, path: Path = TABLE) -> Model:
    """The model of a name.

    Raises:
        UserError: there is none; the sentence has the nearest name.
    """
    known = models(path)
    if name not in known:
        nearest = difflib.get_close_matches(name, known, 1)
        meant = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise UserError(
            f"{name!r} is nothing that can be fetched{meant} There are {', '.join(known)}, and "
            "hub:owner/name for a release on a hub"
        )
    return known[name]
