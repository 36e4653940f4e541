"""Tasks in files beside their shards, for workers on other machines.

They are msgpack, which holds data and no code: shared storage is writable by others.
"""

import dataclasses
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from colorjax import files
from colorjax.errors import UserError, first_line
from colorjax.prepare import shards
from colorjax.prepare.sources import Entry, Rejection
from colorjax.prepare.sources.archives import TarContent
from colorjax.prepare.sources.entries import FileContent, PixelContent
from colorjax.prepare.sources.tfds import TfdsContent

_CONTENTS = (FileContent, PixelContent, TarContent, TfdsContent)
_KINDS = {
    kind.__name__: kind for kind in (shards.Task, shards.Options, Entry, Rejection, *_CONTENTS)
}
_KIND = ""  # the key beside the fields
_SURROGATES = "surrogatepass"  # names of folders may be any bytes


def store(task: shards.Task) -> str:
    """Writes a task beside its shard, for `make`; returns the file's path."""
    file = task.path.with_suffix(".task")
    files.write_bytes(file, msgpack.packb(task, default=_plain, unicode_errors=_SURROGATES))
    return str(file)


def make(file: str) -> None:
    """Makes the shard of a task that `store` wrote, perhaps on another machine."""
    shards.make(read(Path(file)))


def read(file: Path) -> shards.Task:
    """A task that `store` wrote.

    Raises:
        UserError: the file is damaged, or holds something else than a task.
    """
    try:
        task = msgpack.unpackb(
            file.read_bytes(),
            object_hook=_rebuilt,
            strict_map_key=False,
            unicode_errors=_SURROGATES,
        )
        if not isinstance(task, shards.Task) or not isinstance(task.options, shards.Options):
            raise TypeError(f"it holds a {type(task).__name__}")
        return task
    except (ValueError, TypeError, LookupError, msgpack.UnpackException) as error:
        raise UserError(
            f"'{file}' is no task of this version ({first_line(error)}); repeat the command"
        ) from None


def _plain(value: Any) -> dict[str, Any]:
    if isinstance(value, np.ndarray):
        return {_KIND: "pixels", "shape": value.shape, "data": value.tobytes()}
    fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return {_KIND: type(value).__name__, **fields}


def _rebuilt(content: dict[str, Any]) -> Any:
    kind = content.pop(_KIND, None)
    if kind is None:
        return content
    if kind == "pixels":
        return np.frombuffer(content["data"], np.uint8).reshape(content["shape"])
    if kind == Entry.__name__:
        content["captions"] = tuple(content["captions"])
    return _KINDS[kind](**content)
