"""A note in EXIF's UserComment, put into a block without moving what is there.

A block's entries point to their contents by places counted from its start, a maker's own among
them. So a directory that grows is written anew behind everything else, and only what points to it
changes.
"""

import struct

from colorjax.colorize.files import exif, statement
from colorjax.colorize.files.statement import Note

DIRECTORY, TAG = 0x8769, 0x9286
_ASCII = b"ASCII\0\0\0"  # the code of characters that the first 8 bytes name (Exif 2.32, 4.6.5)
_UNDEFINED, _LONG = 7, 4
_MARK = "colorjax"  # the key that every note has; other programs write their own JSON there
_EMPTY = b"II*\0" + struct.pack("<IHI", 8, 0, 0)
_DAMAGED = (struct.error, ValueError, IndexError)


def with_note(block: bytes, note: Note) -> bytes:
    """A block that says what made the picture; maybe made from nothing.

    One that has a person's own comment, or cannot be followed, comes back as it is.
    """
    try:
        if _comment(block)[len(_ASCII) :].strip(b" \0"):
            return block
        return _added(block or _EMPTY, _ASCII + statement.as_text(note).encode("ascii"))
    except _DAMAGED:
        return block


def without_note(block: bytes) -> bytes:
    """A block without the note of an earlier picture; a person's comment stays."""
    try:
        if not text_in(block):
            return block
        order, first = exif.header(block)
        place = _place(block, order, first, DIRECTORY)
        assert place is not None  # there is a note
        (below,) = struct.unpack(order + "I", block[place + 8 : place + 12])
        rows = {_tag(row, order): row for row in _rows(block, order, below)}
        length, at = struct.unpack(order + "II", rows.pop(TAG)[4:])
        result = bytearray(block)
        written = _directory(list(rows.values()), order) + bytes(12)
        result[below : below + len(written)] = written
        result[at : at + length] = bytes(length)
        return bytes(result[:at] if at + length >= len(result) else result)
    except _DAMAGED:
        return block


def text_in(block: bytes) -> str:
    """The note in a block's UserComment; empty if there is none, or another text."""
    try:
        return decoded(_comment(block))
    except _DAMAGED:
        return ""


def decoded(content: bytes) -> str:
    """The note in the content of a UserComment; empty if it is another text."""
    text = content[len(_ASCII) :] if content.startswith(_ASCII) else b""
    said = text.decode("ascii", "replace").strip(" \0")
    return said if _MARK in (statement.parsed(said) or {}) else ""


def _comment(block: bytes) -> bytes:
    entry = exif.within(block, DIRECTORY).get(TAG) if block else None
    return b"" if entry is None else entry.content


def _added(block: bytes, content: bytes) -> bytes:
    order, first = exif.header(block)
    result = bytearray(block.ljust(len(block) + len(block) % 2, b"\0"))
    top = _place(block, order, first, DIRECTORY)
    rows = []
    if top is not None:
        (below,) = struct.unpack(order + "I", block[top + 8 : top + 12])
        rows = [row for row in _rows(block, order, below) if _tag(row, order) != TAG]
    place = len(result)
    behind = place + 2 + 12 * (len(rows) + 1) + 4
    rows.append(struct.pack(order + "HHII", TAG, _UNDEFINED, len(content), behind))
    result += _directory(rows, order) + content
    if top is not None:
        result[top + 8 : top + 12] = struct.pack(order + "I", place)
        return bytes(result)
    result += bytes(len(result) % 2)
    pointer = struct.pack(order + "HHII", DIRECTORY, _LONG, 1, place)
    result[4:8] = struct.pack(order + "I", len(result))
    return bytes(result + _directory([*_rows(block, order, first), pointer], order))


def _directory(rows: list[bytes], order: str) -> bytes:
    rows = sorted(rows, key=lambda row: _tag(row, order))
    return struct.pack(order + "H", len(rows)) + b"".join(rows) + bytes(4)


def _rows(block: bytes, order: str, place: int) -> list[bytes]:
    (count,) = struct.unpack(order + "H", block[place : place + 2])
    rows = [block[place + 2 + 12 * i : place + 14 + 12 * i] for i in range(count)]
    if any(len(row) < 12 for row in rows):
        raise ValueError("a directory is cut off")
    return rows


def _place(block: bytes, order: str, place: int, tag: int) -> int | None:
    """Where in the block the row of a tag is."""
    tags = [_tag(row, order) for row in _rows(block, order, place)]
    return place + 2 + 12 * tags.index(tag) if tag in tags else None


def _tag(row: bytes, order: str) -> int:
    return int(struct.unpack(order + "H", row[:2])[0])
