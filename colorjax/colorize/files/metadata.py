"""What a photograph's file says beside its pixels, carried as bytes from file to file."""

import dataclasses
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from PIL import Image

from colorjax.colorize.files import comment, exif, statement
from colorjax.data import bounds

EXIF, XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
MORE_XMP, PHOTOSHOP = b"http://ns.adobe.com/xmp/extension/\0", b"Photoshop 3.0\0"
PNG_XMP, PNG_IPTC, NOTE = b"XML:com.adobe.xmp", b"Raw profile type iptc", b"colorjax"
_PNG_EXIF = (b"Raw profile type exif", b"Raw profile type APP1")
_IPTC = 0x0404
_CARRIED = (_IPTC, 0x040A, 0x040B, 0x0425)  # captions and copyright, not thumbnails and profiles
_PER_METRE = {1: 1 / 0.0254, 2: 100.0, 3: 1.0}  # of JFIF's units, and of a PNG's
# What in XMP no longer holds, and its value now, as an attribute or as an element.
_XMP_VALUES = {
    b"tiff:Orientation": b"1",
    b"photoshop:ColorMode": b"3",
}
_XMP_SRGB = {b"exif:ColorSpace": b"1", b"photoshop:ICCProfile": b"sRGB IEC61966-2.1"}
_XMP_SIZES = (
    (b"tiff:ImageWidth", b"exif:PixelXDimension"),
    (b"tiff:ImageLength", b"exif:PixelYDimension"),
)


@dataclass(frozen=True)
class Density:
    """Dots to the right and down, per metre, or only in a ratio."""

    across: float
    down: float
    per_metre: bool = True


@dataclass(frozen=True)
class Metadata:
    """What is carried over; every part may be empty.

    Attributes:
        exif: a block without the name that precedes it in a JPEG.
        xmp: a packet, and what a JPEG has of it in further segments.
        resources: Photoshop's, of which one is IPTC.
        comments: of a JPEG or GIF.
        texts: a PNG's chunks of text, by their kind.
    """

    exif: bytes = b""
    xmp: bytes = b""
    more_xmp: tuple[bytes, ...] = ()
    resources: bytes = b""
    comments: tuple[bytes, ...] = ()
    texts: tuple[tuple[bytes, bytes], ...] = ()
    density: Density | None = None

    @property
    def turned(self) -> "Metadata":
        """Of the picture turned by a quarter: dots to the right are dots down."""
        if self.density is None:
            return self
        density = Density(self.density.down, self.density.across, self.density.per_metre)
        return dataclasses.replace(self, density=density)

    def fitted(self, width: int, height: int, *, is_srgb: bool = True) -> "Metadata":
        """For an upright picture of a size, in sRGB or in the photograph's own colours: the fields
        changed that no longer hold."""
        xmp = self.xmp
        values = dict(_XMP_VALUES) | (_XMP_SRGB if is_srgb else {})
        for names, side in zip(_XMP_SIZES, (width, height)):
            values |= dict.fromkeys(names, b"%d" % side)
        for name, value in values.items():
            for pattern in (rb"(%b\s*=\s*[\"'])[^\"'<>]*", rb"(<%b>)[^<>]*"):
                xmp = re.sub(pattern % name, rb"\g<1>" + value, xmp)
        block = exif.changed(self.exif, width, height, is_srgb=is_srgb) if self.exif else b""
        return dataclasses.replace(self, exif=block, xmp=xmp)


def of_file(data: bytes, picture: Image.Image | None) -> Metadata:
    """What a file carries; of a damaged one it may be less.

    Args:
        picture: Pillow's, not yet loaded, if it can open the file.
    """
    if data.startswith(bounds.JPEG_SIGNATURE):
        carried = _of_jpeg(data)
    elif data.startswith(bounds.PNG_SIGNATURE):
        carried = _of_png(data)
    elif data[:4] in (b"II*\0", b"MM\0*"):
        carried = _of_tiff(data)
    else:
        return Metadata() if picture is None else of_picture(picture)
    # What made an earlier picture is not carried into the next.
    return _of_photograph(carried)


def _of_photograph(carried: Metadata) -> Metadata:
    xmp, block = statement.without_note(carried.xmp), comment.without_note(carried.exif)
    return dataclasses.replace(carried, xmp=xmp, exif=block)


def of_picture(picture: Image.Image) -> Metadata:
    """What a picture of Pillow's still has of its file."""
    info: dict[Any, Any] = picture.info
    block = info.get("exif")
    try:
        # Of a TIFF only its own reader has it.
        block = exif.of_tiff(picture.getexif().tobytes()) if block is None else block
    except Exception:  # a damaged block does not spoil the picture
        block = b""
    said, dpi = info.get("comment", b""), info.get("dpi")
    said = said.encode() if isinstance(said, str) else said
    texts = []
    for keyword, text in info.items():
        if isinstance(keyword, str) and isinstance(text, str) and picture.format == "PNG":
            texts.append((b"iTXt", keyword.encode("latin-1", "replace") + bytes(5) + text.encode()))
    carried = Metadata(
        exif=_without(EXIF, bytes(block)),
        xmp=_bytes(info.get("xmp")),
        comments=(said,) if said else (),
        texts=tuple(texts),
        density=Density(float(dpi[0]) / 0.0254, float(dpi[1]) / 0.0254) if dpi else None,
    )
    return _of_photograph(carried)


def text_of(chunk: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """A chunk's keyword and its text in UTF-8; empty where it is damaged."""
    kind, content = chunk
    keyword, _, rest = content.partition(b"\0")
    try:
        if kind == b"tEXt":
            return keyword, rest.decode("latin-1").encode()
        if kind == b"zTXt":
            return keyword, _unpacked(rest[1:]).decode("latin-1").encode()
        packed, text = rest[:1] == b"\1", rest[2:].split(b"\0", 2)[2]
        return keyword, _unpacked(text) if packed else text
    except (zlib.error, LookupError):
        return keyword, b""


def _unpacked(data: bytes, most: int = 1 << 24) -> bytes:
    return zlib.decompressobj().decompress(data, most)


def _bytes(text: object) -> bytes:
    if isinstance(text, str):
        return text.encode()
    return text if isinstance(text, bytes) else b""


def _without(name: bytes, content: bytes) -> bytes:
    return content[len(name) :] if content.startswith(name) else content


def _of_jpeg(data: bytes) -> Metadata:
    parts: dict[str, Any] = {"more_xmp": (), "comments": (), "resources": b""}
    for marker, start, end in bounds.jpeg_segments(data):
        content = data[start:end]
        if marker == 0xDA:
            break
        if marker == 0xE0 and content.startswith(b"JFIF\0") and len(content) >= 12:
            across, down = (int.from_bytes(content[i : i + 2], "big") for i in (8, 10))
            parts["density"] = _density(float(across), float(down), content[7])
        elif marker == 0xE1 and content.startswith(EXIF):
            parts.setdefault("exif", content[len(EXIF) :])
        elif marker == 0xE1 and content.startswith(XMP):
            parts.setdefault("xmp", content[len(XMP) :])
        elif marker == 0xE1 and content.startswith(MORE_XMP):
            parts["more_xmp"] += (content,)
        elif marker == 0xED and content.startswith(PHOTOSHOP):
            parts["resources"] += content[len(PHOTOSHOP) :]
        elif marker == 0xFE and not content.startswith(NOTE + b" {"):
            parts["comments"] += (content,)
    return Metadata(**parts | {"resources": _carried(parts["resources"])})


def _of_png(data: bytes) -> Metadata:
    parts: dict[str, Any] = {}
    texts = []
    for kind, content in bounds.png_chunks(data):
        if kind == b"eXIf":
            parts["exif"] = _without(EXIF, content)
        elif kind == b"pHYs" and len(content) == 9:
            across, down = (int.from_bytes(content[i : i + 4], "big") for i in (0, 4))
            parts["density"] = _density(float(across), float(down), 3 if content[8] == 1 else 0)
        elif kind in (b"tEXt", b"zTXt", b"iTXt"):
            keyword = content.partition(b"\0")[0]
            if keyword == PNG_XMP:
                parts["xmp"] = text_of((kind, content))[1]
            elif keyword == PNG_IPTC:
                parts["resources"] = _carried(_from_hex(text_of((kind, content))[1]))
            elif keyword in _PNG_EXIF:
                block = _without(EXIF, _from_hex(text_of((kind, content))[1]))
                parts.setdefault("exif", block)
            elif keyword != NOTE:
                texts.append((kind, content))
    return Metadata(**parts, texts=tuple(texts))


def _of_tiff(data: bytes) -> Metadata:
    block = exif.of_tiff(data)
    iptc, resources = exif.field(data, 33723), _carried(exif.field(data, 34377))
    if iptc and not any(name == _IPTC for name, _ in _resources(resources)):
        resources += b"8BIM" + _IPTC.to_bytes(2, "big") + bytes(2)
        resources += len(iptc).to_bytes(4, "big") + iptc + bytes(len(iptc) % 2)
    said = exif.resolution(block)
    density = _density(said[0], said[1], said[2] - 1) if said else None
    return Metadata(exif=block, xmp=exif.field(data, 700), resources=resources, density=density)


def _density(across: float, down: float, unit: int) -> Density | None:
    """Of JFIF's units; a ratio of one says nothing."""
    if across <= 0 or down <= 0 or (unit not in _PER_METRE and across == down):
        return None
    scale = _PER_METRE.get(unit, 1.0)
    return Density(across * scale, down * scale, unit in _PER_METRE)


def _resources(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The number and all bytes of each of Photoshop's resources, up to the first damaged one."""
    at = 0
    while data[at : at + 4] == b"8BIM" and at + 12 <= len(data):
        name = data[at + 6] + 1
        size = at + 6 + name + name % 2
        length = int.from_bytes(data[size : size + 4], "big")
        end = size + 4 + length + length % 2
        if size + 4 + length > len(data):
            return
        yield int.from_bytes(data[at + 4 : at + 6], "big"), data[at:end].ljust(end - at, b"\0")
        at = end


def _carried(data: bytes) -> bytes:
    return b"".join(content for number, content in _resources(data) if number in _CARRIED)


def _from_hex(text: bytes) -> bytes:
    """ImageMagick's way to put bytes into text: a name, their number, hexadecimal digits."""
    try:
        return bytes.fromhex(b"".join(text.split()[2:]).decode("ascii"))
    except ValueError:
        return b""
