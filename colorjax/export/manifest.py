"""What an exported file says of itself, as JSON: settings tables, sizes, and its programs."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from colorjax.inputs import Pictures, Setting, Table

_KINDS = {"float": float, "int": int, "str": str}


def _texts(most: int) -> dict[str, Any]:
    return {"type": "array", "maxItems": most, "items": _TEXT}


def _section(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _each(of: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": of, "maxProperties": 10_000}


def _list(of: Mapping[str, Any], most: int) -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "maxItems": most, "items": of}


def _whole(most: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": 1, "maximum": most}


_TEXT = {"type": "string", "maxLength": 10_000}
_NUMBER = {"type": ["number", "null"], "minimum": -1e9, "maximum": 1e9}
_VALUE = _NUMBER | {"type": ["number", "string", "null"], "maxLength": 10_000}
_SIDE = _whole(16_384)
_ROW = _section(name=_TEXT, kind={"enum": list(_KINDS)}, help=_TEXT, default=_VALUE)
# What a row may say besides.
_ROW["properties"] |= dict(
    traced={"type": "boolean"},
    least=_NUMBER,
    most=_NUMBER,
    choices=_texts(100),
    words=_texts(100),
    neutral=_VALUE,
)
_TABLE = _section(
    name=_TEXT,
    title=_TEXT,
    settings={"type": "array", "maxItems": 1000, "items": _ROW},
)
_PROGRAM = _section(
    name=_TEXT,
    count=_whole(4096),
    height=_SIDE,
    width=_SIDE,
    fields={"type": "array", "items": {"enum": list(Pictures._fields)}, "maxItems": 100},
    part=_TEXT,
)
SCHEMA = _section(
    colorjax=_TEXT,
    jax=_TEXT,
    platforms=_texts(16),
    dtype={"enum": ["float32", "bfloat16"]},
    release=_TEXT,
    method=_TEXT,
    methods=_list(_TABLE, 16),
    settings=_each(_VALUE),
    refused=_each(_TEXT),
    image_size=_whole(4096),
    batch_size=_whole(4096),
    buckets=_list({"type": "array", "items": _SIDE, "minItems": 2, "maxItems": 2}, 100),
    tokenizer=_section(max_length=_whole(1024), most_ids=_whole(1_000_000), files=_texts(16)),
    weights=_each(_TEXT),
    programs={"type": "array", "items": _PROGRAM, "maxItems": 10_000},
    parts=_each(_section(bytes={"type": "integer", "minimum": 0}, sha256=_TEXT)),
)


def contradictions(about: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong between values that are right each for itself, in half a sentence each."""
    tables = {table["name"]: table for table in about["methods"]}
    if len(tables) < len(about["methods"]) or about["method"] not in tables:
        yield f"method {about['method']!r} is not one of its methods"
        return
    needed = {row["name"] for row in tables[about["method"]]["settings"]}
    needed |= {"vividness", "negative_prompt", *about["refused"]}
    if missing := needed - about["settings"].keys():
        yield f"its settings lack {', '.join(sorted(missing))}"
    named = {*about["weights"].values(), *about["tokenizer"]["files"]}
    named |= {program["part"] for program in about["programs"]}
    if missing := named - about["parts"].keys():
        yield f"its parts lack {', '.join(sorted(missing)[:5])}"


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
