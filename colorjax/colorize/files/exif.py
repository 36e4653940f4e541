"""EXIF blocks as bytes: the few fields that no longer hold are changed where they stand.

Nothing is taken apart and put together again, so a maker's notes stay valid, and text comes out
in the encoding that it went in with. Only of a TIFF, whose directory also describes its strips,
the entries that are about the photograph are copied into a block of their own.
"""

import mmap
import struct
from collections.abc import Iterator, Mapping
from typing import NamedTuple

ORIENTATION = 0x0112
WIDTH, HEIGHT = 0x0100, 0x0101
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 282, 283, 296
_EXIF, _GPS = 34665, 34853  # directories within the first one
_COLOR_SPACE, _PIXEL_WIDTH, _PIXEL_HEIGHT = 0xA001, 0xA002, 0xA003
_SRGB = 1
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_SHORT, _LONG, _RATIONAL = 3, 4, 5
_CARRIED = frozenset((269, 270, 271, 272, 282, 283, 285, 296, 305, 306, 315, 316)) | {
    *(18246, 33432),
    *range(40091, 40096),
}


class Entry(NamedTuple):
    """A field of a directory."""

    kind: int
    number: int
    content: bytes
    place: int  # of its 12 bytes in the block


Directory = dict[int, Entry]
Block = bytes | mmap.mmap  # a file, or what it has of one
PLACE_OF_FIRST = slice(4, 8)  # of a file's first directory, as its header says it


def changed(block: bytes, width: int, height: int, *, is_srgb: bool = True) -> bytes:
    """A block for an upright picture of a size, in sRGB or in the old one's colours, without the
    old picture's thumbnail.

    One that cannot be followed is left out: empty.
    """
    try:
        order, first = header(block)
        result = bytearray(block)
        top = _directory(block, order, first)
        values = {ORIENTATION: 1, WIDTH: width, HEIGHT: height}
        below = {_PIXEL_WIDTH: width, _PIXEL_HEIGHT: height}
        below |= {_COLOR_SPACE: _SRGB} if is_srgb else {}
        _set(result, order, top, values)
        if _EXIF in top:
            place = _number(top[_EXIF], order)
            _set(result, order, _directory(block, order, place), below)
        behind = first + 2 + 12 * _count(block, order, first)
        result[behind : behind + 4] = bytes(min(4, len(result) - behind))  # the thumbnail's
    except (struct.error, ValueError, IndexError):
        return b""
    return bytes(result)


def of_tiff(data: bytes) -> bytes:
    """A block with what a TIFF file (or another block) says of the photograph; maybe empty."""
    try:
        order, first = header(data)
        top = _directory(data, order, first)
        parts = _parts_of(data, order, first)
        parts[0] = {tag: entry for tag, entry in top.items() if tag in _CARRIED}
    except (struct.error, ValueError, IndexError):
        return b""
    return _block(order, parts) if any(parts.values()) else b""


def merged(data: bytes, block: bytes, fields: Mapping[int, bytes]) -> bytes:
    """A TIFF file with the entries of a block of the same byte order, and further fields of bytes.

    The file's own entries stay; its first directory is written anew behind everything, so that
    nothing that it points to moves. `fields` is by their tags; empty ones are left out.
    """
    start, written = directory_behind(data, block, fields)
    result = bytearray(data.ljust(start, b"\0") + written)
    result[PLACE_OF_FIRST] = struct.pack(header(data)[0] + "I", start)
    return bytes(result)


def directory_behind(data: Block, block: bytes, fields: Mapping[int, bytes]) -> tuple[int, bytes]:
    """What `merged` writes behind a file, and where: its header has to say that place."""
    order, first = header(data)
    top = _directory(data, order, first)
    parts: dict[int, Directory] = {}
    if block:
        parts = _parts_of(block, *header(block))
    carried = {tag: entry for tag, entry in parts.get(0, {}).items() if tag in _CARRIED}
    top = carried | top
    top |= {tag: Entry(7, len(body), body, 0) for tag, body in fields.items() if body}
    start = len(data) + len(data) % 2
    return start, _tree(
        order, {0: top, **{tag: parts.get(tag, {}) for tag in (_EXIF, _GPS)}}, start
    )


def field(data: bytes, tag: int) -> bytes:
    """The bytes of a field of a TIFF's first directory; empty if it has none."""
    try:
        order, first = header(data)
        entry = _directory(data, order, first).get(tag)
    except (struct.error, ValueError, IndexError):
        return b""
    return b"" if entry is None else entry.content


def resolution(block: bytes) -> tuple[float, float, int] | None:
    """Horizontal and vertical dots, per inch (2), centimetre (3) or only their ratio (1)."""
    try:
        order, first = header(block)
        top = _directory(block, order, first)
        numbers = []
        for tag in (X_RESOLUTION, Y_RESOLUTION):
            over, under = struct.unpack(order + "2I", top[tag].content)
            numbers.append(over / under)
        unit = _number(top[RESOLUTION_UNIT], order) if RESOLUTION_UNIT in top else 2
    except (struct.error, ValueError, LookupError, ArithmeticError):
        return None
    return numbers[0], numbers[1], unit


def within(block: bytes, tag: int) -> Directory:
    """The directory that an entry of the first one points to; empty if there is none.

    Raises:
        ValueError: the block cannot be followed, as do `struct.error` and `IndexError`.
    """
    order, first = header(block)
    top = _directory(block, order, first)
    return _directory(block, order, _number(top[tag], order)) if tag in top else {}


def header(block: Block) -> tuple[str, int]:
    """The byte order, as `struct` writes it, and the place of the first directory.

    Raises:
        ValueError: it is no block.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None:
        raise ValueError("no TIFF structure")
    return order, struct.unpack(order + "I", block[4:8])[0]


def _count(block: Block, order: str, place: int) -> int:
    return int(struct.unpack(order + "H", block[place : place + 2])[0])


def _directory(block: Block, order: str, place: int) -> Directory:
    return dict(_entries(block, order, place))


def _entries(block: Block, order: str, place: int) -> Iterator[tuple[int, Entry]]:
    for i in range(_count(block, order, place)):
        at = place + 2 + 12 * i
        tag, kind, count = struct.unpack(order + "HHI", block[at : at + 8])
        length = _SIZES.get(kind, 1) * count
        start = at + 8
        if length > 4:
            (start,) = struct.unpack(order + "I", block[at + 8 : at + 12])
        content = block[start : start + length]
        if len(content) == length:  # a maker's own entries may point anywhere
            yield tag, Entry(kind, count, content, at)


def _number(entry: Entry, order: str) -> int:
    code = {1: "B", _SHORT: "H", _LONG: "I", 13: "I"}.get(entry.kind)
    if code is None:
        raise ValueError("no number")
    return int(struct.unpack(order + code, entry.content[: struct.calcsize(code)])[0])


def _set(result: bytearray, order: str, entries: Directory, values: Mapping[int, int]) -> None:
    for tag, value in values.items():
        if tag in entries:
            kind = _SHORT if value < 1 << 16 else _LONG
            body = struct.pack(
                order + ("HH" if kind == _SHORT else "I"),
                *((value, 0) if kind == _SHORT else (value,)),
            )
            place = entries[tag].place
            result[place + 2 : place + 12] = struct.pack(order + "HI", kind, 1) + body


def _parts_of(data: bytes, order: str, first: int) -> dict[int, Directory]:
    """The first directory, by 0, and those within it, by their tags."""
    top = _directory(data, order, first)
    parts = {0: top}
    for tag in (_EXIF, _GPS):
        if tag in top:
            parts[tag] = _directory(data, order, _number(top[tag], order))
    return parts


def _block(order: str, parts: dict[int, Directory]) -> bytes:
    """A block of directories."""
    start = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", 8)
    return start + _tree(order, parts, 8)


def _tree(order: str, parts: dict[int, Directory], start: int) -> bytes:
    """Directories behind each other, each followed by what does not fit into its entries."""
    below = [tag for tag in (_EXIF, _GPS) if parts.get(tag)]
    places: dict[int, int] = {}
    at = start + _length(parts[0], len(below))
    for tag in below:
        places[tag] = at
        at += _length(parts[tag], 0)
    top = parts[0] | {
        tag: Entry(_LONG, 1, struct.pack(order + "I", place), 0) for tag, place in places.items()
    }
    bodies = [_written(top, order, start)]
    bodies += [_written(parts[tag], order, places[tag]) for tag in below]
    return b"".join(bodies)


def _length(entries: Directory, more: int) -> int:
    loose = sum(len(e.content) + len(e.content) % 2 for e in entries.values() if len(e.content) > 4)
    return 2 + 12 * (len(entries) + more) + 4 + loose


def _written(entries: Directory, order: str, place: int) -> bytes:
    rows, loose = [], b""
    behind = place + 2 + 12 * len(entries) + 4
    for tag, entry in sorted(entries.items()):
        content = entry.content
        if len(content) > 4:
            inline = struct.pack(order + "I", behind + len(loose))
            loose += content + bytes(len(content) % 2)
        else:
            inline = content.ljust(4, b"\0")
        rows.append(struct.pack(order + "HHI", tag, entry.kind, entry.number) + inline)
    return struct.pack(order + "H", len(rows)) + b"".join(rows) + bytes(4) + loose
