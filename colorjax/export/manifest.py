"""What an exported file says of itself, as JSON: settings tables, sizes, and its programs."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from colorjax.inputs import Pictures, Setting, Table

_KINDS = {"float": float, "int": int, "str": str}
_TEXT = {"type": "string"}
_VALUE = {"type": ["number", "string", "null"]}
_TEXTS = {"type": "array", "items": _TEXT}
_WHOLE = {"type": "integer", "minimum": 1}


def _section(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _each(of: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": of}


_ROW = _section(name=_TEXT, kind={"enum": list(_KINDS)}, help=_TEXT, default=_VALUE)
_PROGRAM = _section(
    name=_TEXT,
    count=_WHOLE,
    height=_WHOLE,
    width=_WHOLE,
    fields={"type": "array", "items": {"enum": list(Pictures._fields)}},
    part=_TEXT,
)
SCHEMA = _section(
    colorjax=_TEXT,
    jax=_TEXT,
    platforms=_TEXTS,
    dtype={"enum": ["float32", "bfloat16"]},
    release=_TEXT,
    method=_TEXT,
    methods={"type": "array", "items": _section(name=_TEXT, title=_TEXT, settings={"items": _ROW})},
    settings=_each(_VALUE),
    refused=_each(_TEXT),
    image_size=_WHOLE,
    batch_size=_WHOLE,
    buckets={"type": "array", "items": {"type": "array", "items": _WHOLE, "minItems": 2}},
    tokenizer=_section(max_length=_WHOLE, most_ids=_WHOLE, files=_TEXTS),
    weights=_each(_TEXT),
    programs={"type": "array", "items": _PROGRAM},
    parts=_each(_section(bytes={"type": "integer", "minimum": 0}, sha256=_TEXT)),
)


def of_table(table: Table) -> dict[str, Any]:
    """A settings table as data."""
    rows = [
        {name: _plain(value) for name, value in row._asdict().items()} for row in table.settings
    ]
    return {"name": table.name, "title": table.title, "settings": rows}


def _plain(value: Any) -> Any:
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, float) and math.isinf(value):
        return None  # JSON has no infinity, and it is the default of what can be infinite
    return list(value) if isinstance(value, tuple) else value


def table_of(data: Mapping[str, Any]) -> Table:
    """The settings table that data describe."""
    return Table(data["name"], data["title"], tuple(_row(row) for row in data["settings"]))


def _row(data: Mapping[str, Any]) -> Setting:
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in data.items()
        if value is not None and name in Setting._fields
    }
    return Setting(**values | {"kind": _KINDS[data["kind"]]})


def fields_of(pictures: Pictures) -> tuple[str, ...]:
    """The names of what there is of pictures: these decide which program takes them."""
    return tuple(name for name, part in pictures._asdict().items() if part is not None)


def key_of(program: Mapping[str, Any]) -> tuple[Any, ...]:
    """What tells programs apart."""
    names: Sequence[str] = program["fields"]
    sizes = (program["count"], program["height"], program["width"])
    return (program["name"], *sizes, frozenset(names))
