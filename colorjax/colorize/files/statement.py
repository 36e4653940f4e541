"""What made a picture, as its file says it: XMP with IPTC's digital source type, and a note.

IPTC Photo Metadata Standard 2023.1, "Digital Source Type", by its controlled vocabulary: a
photograph whose colours a trained model made is a composite of the two.
"""

import json
import re
from collections.abc import Mapping
from typing import Any
from xml.sax import saxutils

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
Note = Mapping[str, Any]
_IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_OWN = "urn:colorjax:xmp:1.0/"
_END = b"</rdf:RDF>"
_FRAME = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{_RDF}">'
    '</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
).encode()
_STATEMENT = rb"<rdf:Description[^<>]*xmlns:colorjax=[^<>]*/>"
_SOURCE_TYPES = (  # as an attribute or an element, whatever prefix it has
    rb"\s[\w.-]+:DigitalSourceType\s*=\s*(\"[^\"<>]*\"|'[^'<>]*')",
    rb"<([\w.-]+:DigitalSourceType)\b[^<>]*?(/>|>[^<>]*</\1>)",
)
_SETTINGS = re.compile(rb'colorjax:settings="([^"<>]*)"')


def with_note(xmp: bytes, note: Note) -> bytes:
    """A packet that says what made the picture, beside what `xmp` says already.

    A packet in another encoding than UTF-8, or without a list of descriptions, comes back as it
    is: the note stands in the file's own kind of text all the same.
    """
    packet = xmp or _FRAME
    if packet.count(_END) != 1:
        return xmp
    packet = without_note(packet)
    for pattern in _SOURCE_TYPES:
        packet = re.sub(pattern, b"", packet)
    quoted = saxutils.quoteattr(as_text(note), {'"': "&quot;"})
    statement = (
        f'<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="{_IPTC}" xmlns:colorjax="{_OWN}" '
        f'Iptc4xmpExt:DigitalSourceType="{SOURCE_TYPE}" colorjax:settings={quoted}/>'
    )
    return packet.replace(_END, statement.encode() + _END)


def without_note(xmp: bytes) -> bytes:
    """A packet without the statement of an earlier picture."""
    return re.sub(_STATEMENT, b"", xmp)


def note_in(xmp: bytes) -> str:
    """The text of a packet's note; empty if there is none."""
    match = _SETTINGS.search(xmp)
    if match is None:
        return ""
    return saxutils.unescape(match[1].decode("utf-8", "replace"), {"&quot;": '"'})


def parsed(text: str) -> Note | None:
    """A note by its text; None of a text that is none."""
    try:
        note = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return note if isinstance(note, dict) else None


def as_text(note: Note) -> str:
    """A note in ASCII on one line, always the same for the same note."""
    return json.dumps(note, sort_keys=True)
