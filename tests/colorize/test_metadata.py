"""What a file says beside its pixels comes out as it went in; read back by Pillow or as bytes."""

import json
import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
import tifffile
from PIL import Image, PngImagePlugin, TiffImagePlugin

from colorjax.colorize.files import comment, exif, metadata
from colorjax.colorize.files.photos import load_photo, read
from colorjax.colorize.files.saving import note_of, save_photo
from colorjax.data import bounds

XMP = b"""<?xpacket begin="\xef\xbb\xbf"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description
 tiff:Orientation="6" exif:PixelXDimension="24" photoshop:ICCProfile="Adobe RGB (1998)"
 dc:title="Gro\xc3\x9fmutter"><exif:ColorSpace>65535</exif:ColorSpace></rdf:Description>"""
NOTE = {"colorjax": 2, "seed": 3}
IPTC = b"\x1c\x02\x78\x00\x05M\xfcnch"  # a caption in Latin-1, as old programs wrote them
RESOURCES = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(IPTC)) + IPTC
THUMBNAIL = b"8BIM\x04\x0c\0\0" + struct.pack(">I", 4) + b"gray"
GRAY = np.tile(np.arange(24, dtype=np.uint8) * 10, (16, 1))


def segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content


def jpeg(path, **options):
    """A photograph held sideways, with all that a JPEG can say."""
    block = Image.Exif()
    block[0x0112], block[0x010E] = 6, "grandmother"
    block.get_ifd(34665).update({0xA001: 65535, 0xA002: 24, 0x927C: b"maker" * 9})
    buffer = BytesIO()
    Image.fromarray(GRAY).save(buffer, "JPEG", exif=block, dpi=(600, 300), **options)
    data = buffer.getvalue()
    at = 2 + 2 + struct.unpack(">H", data[4:6])[0]
    more = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP)
    more += segment(0xED, b"Photoshop 3.0\0" + THUMBNAIL + RESOURCES)
    more += segment(0xFE, "Gro\xdfmutter".encode("latin-1"))
    path.write_bytes(data[:at] + more + data[at:])
    return path


def test_all_that_a_jpeg_says_is_kept_but_what_no_longer_holds(tmp_path) -> None:
    photo = load_photo(jpeg(tmp_path / "a.jpg"))
    assert photo.rgb.shape == (24, 16, 3)
    save_photo(tmp_path / "b.jpg", photo.rgb, photo.metadata)
    data = (tmp_path / "b.jpg").read_bytes()
    with Image.open(tmp_path / "b.jpg") as saved:
        assert saved.info["dpi"] == (300, 600), "turned as the picture is"
        assert saved.info["comment"] == "Gro\xdfmutter".encode("latin-1")
        block = saved.getexif()
        assert block[0x0112] == 1 and block[0x010E] == "grandmother"
        below = block.get_ifd(34665)
        assert below[0xA001] == 1 and below[0xA002] == 16 and below[0x927C] == b"maker" * 9
    assert RESOURCES in data and THUMBNAIL not in data
    expected = XMP.replace(b'"6"', b'"1"').replace(b'"24"', b'"16"').replace(b"65535", b"1")
    assert expected.replace(b"Adobe RGB (1998)", b"sRGB IEC61966-2.1") in data


def test_a_jpegs_metadata_in_a_png(tmp_path) -> None:
    photo = load_photo(jpeg(tmp_path / "a.jpg"))
    save_photo(tmp_path / "b.png", photo.rgb, photo.metadata)
    with Image.open(tmp_path / "b.png") as saved:
        saved.load()
        assert saved.info["dpi"] == pytest.approx((300, 600), abs=0.1)
        assert saved.getexif()[0x010E] == "grandmother" and saved.getexif()[0x0112] == 1
        assert saved.info["Comment"] == "Gro\xdfmutter" and b'Orientation="1"' in saved.info["xmp"]
    again = load_photo(tmp_path / "b.png")
    assert again.metadata.resources == RESOURCES
    save_photo(tmp_path / "c.jpg", again.rgb, again.metadata)
    assert RESOURCES in (tmp_path / "c.jpg").read_bytes()


def test_a_pngs_text_in_any_encoding_and_its_dots(tmp_path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Title", "Gro\xdfmutter", zip=True)
    info.add_itxt("Author", "Пётр", lang="ru")
    Image.fromarray(GRAY).save(tmp_path / "a.png", pnginfo=info, dpi=(600, 600))
    data = (tmp_path / "a.png").read_bytes()
    odd = bounds.png_chunk(b"tEXt", b"Odd\0\xff\xfe\x81")
    (tmp_path / "a.png").write_bytes(data[:33] + odd + data[33:])
    photo = load_photo(tmp_path / "a.png")
    save_photo(tmp_path / "b.png", photo.rgb, photo.metadata, note=NOTE)
    with Image.open(tmp_path / "b.png") as saved:
        saved.load()
        assert saved.info["Title"] == "Gro\xdfmutter" and saved.info["Author"] == "Пётр"
        assert saved.info["Author"].lang == "ru" and saved.info["dpi"] == pytest.approx(
            (600, 600), abs=0.1
        )
    assert odd in (tmp_path / "b.png").read_bytes()
    save_photo(tmp_path / "b.jpg", photo.rgb, photo.metadata, note=NOTE)
    with Image.open(tmp_path / "b.jpg") as saved:
        comments = [content for name, content in saved.applist if name == "COM"]
        assert saved.info["dpi"] == (600, 600)
    assert "Author: Пётр".encode() in comments and "Title: Gro\xdfmutter".encode() in comments
    for name in ("b.png", "b.jpg"):
        assert note_of(tmp_path / name) == NOTE
        again = load_photo(tmp_path / name).metadata
        assert round(again.density.across) == photo.metadata.density.across == 23622
        assert b"seed" not in repr(again).encode(), "a note is of one picture only"
    assert note_of(tmp_path / "a.png") is None


def test_a_tiff_of_the_other_byte_order(tmp_path) -> None:
    about = {"resolution": (600, 300), "resolutionunit": 2, "description": "grandmother"}
    tifffile.imwrite(tmp_path / "a.tif", GRAY, byteorder=">", metadata=None, **about)
    photo = load_photo(tmp_path / "a.tif")
    save_photo(tmp_path / "b.jpg", photo.rgb, photo.metadata)
    with Image.open(tmp_path / "b.jpg") as saved:
        assert saved.info["dpi"] == (600, 300) and saved.getexif()[0x010E] == "grandmother"


def test_a_tiffs_tags(tmp_path) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[315], tags[700], tags[33723] = "artist", XMP, IPTC
    tags[0x010E] = "XXXXXXXXXX"
    Image.fromarray(GRAY).save(tmp_path / "a.tif", tiffinfo=tags, dpi=(600, 600))
    data = (tmp_path / "a.tif").read_bytes()
    # Text that is no ASCII, which Pillow would write as question marks.
    (tmp_path / "a.tif").write_bytes(data.replace(b"XXXXXXXXXX", "Großvater".encode()))
    photo = load_photo(tmp_path / "a.tif")
    save_photo(tmp_path / "b.png", photo.rgb, photo.metadata)
    with Image.open(tmp_path / "b.png") as saved:
        saved.load()
        assert (
            saved.info["dpi"] == pytest.approx((600, 600), abs=0.1)
            and saved.getexif()[315] == "artist"
        )
        assert "Großvater".encode() in saved.info["exif"] and 256 not in saved.getexif()
        assert b"Gro\xc3\x9fmutter" in saved.info["xmp"]
    assert load_photo(tmp_path / "b.png").metadata.resources.endswith(IPTC)


def test_an_exif_block_changes_in_its_fields_only(tmp_path) -> None:
    data = jpeg(tmp_path / "a.jpg").read_bytes()
    block = metadata.of_file(data, None).exif
    changed = exif.changed(block, 16, 24)
    assert len(changed) == len(block)
    assert sum(a != b for a, b in zip(block, changed)) <= 8
    for damaged in (b"", b"II*\0", block[:20], b"MM\0*" + b"\xff" * 40):
        assert exif.changed(damaged, 16, 24) == b""


def test_a_picture_in_memory(tmp_path) -> None:
    with Image.open(jpeg(tmp_path / "a.jpg")) as picture:
        photo = read(picture)
    save_photo(tmp_path / "b.jpg", photo.rgb, photo.metadata)
    with Image.open(tmp_path / "b.jpg") as saved:
        assert saved.info["dpi"] == (300, 600) and saved.getexif()[0x0112] == 1
        assert b'Orientation="1"' in saved.info["xmp"]


def test_damaged_chunks_of_text_are_carried_and_harm_nothing(tmp_path) -> None:
    Image.fromarray(GRAY).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    odd = bounds.png_chunk(b"iTXt", b"Key\0\0\0")
    (tmp_path / "a.png").write_bytes(data[:-12] + odd + data[-12:])
    assert metadata.text_of((b"zTXt", b"Key\0\0" + zlib.compress(b"text"))) == (b"Key", b"text")
    photo = load_photo(tmp_path / "a.png")
    save_photo(tmp_path / "b.jpg", photo.rgb, photo.metadata)
    with Image.open(tmp_path / "b.jpg") as saved:
        assert saved.size == (24, 16)


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".avif", ".tif"])
def test_the_note_is_exifs_user_comment_too(tmp_path, suffix) -> None:
    """As bytes that another reader finds, whether the photograph had EXIF or not."""
    rgb = np.zeros((16, 24, 3), np.uint8)
    path, text = tmp_path / f"b{suffix}", json.dumps(NOTE).encode()
    for carried in (load_photo(jpeg(tmp_path / "a.jpg")).metadata, metadata.Metadata()):
        save_photo(path, rgb, carried, note=NOTE)
        with Image.open(path) as saved:
            below = saved.getexif().get_ifd(0x8769)
        assert below[0x9286] == b"ASCII\0\0\0" + text
        assert not carried.exif or below[0x927C] == b"maker" * 9
        assert note_of(path) == NOTE
        assert b'"seed"' not in repr(load_photo(path).metadata).encode()
        save_photo(tmp_path / f"c{suffix}", rgb, load_photo(path).metadata)
        assert note_of(tmp_path / f"c{suffix}") is None


def test_a_note_moves_nothing_in_a_block_and_can_be_taken_out() -> None:
    small, large = Image.Exif(), Image.Exif()
    large[0x010E] = "grandmother"
    large.get_ifd(0x8769).update({0xA001: 1, 0x927C: b"maker" * 9})
    large.get_ifd(0x8825).update({1: "N"})
    small[0x010E] = "grandmother"
    for block in (large.tobytes()[6:], small.tobytes()[6:]):
        with_note = comment.with_note(block, NOTE)
        changed = {i for i, (a, b) in enumerate(zip(block, with_note)) if a != b}
        assert len(changed) <= 4, "where the directory is, which stands behind all else now"
        assert comment.with_note(with_note, {**NOTE, "seed": 4}) == with_note
        assert comment.without_note(with_note).count(b"seed") == 0
        for changed_block in (with_note, comment.without_note(with_note)):
            again = Image.Exif()
            again.load(b"Exif\0\0" + changed_block)
            assert again[0x010E] == "grandmother"
            assert again.get_ifd(0x8769).get(0x927C, b"maker" * 9) == b"maker" * 9
    for damaged in (b"", b"no block", b"II*\0\xff\0\0\0", with_note[:-70]):
        comment.without_note(damaged)
        assert comment.text_in(damaged) in ("", json.dumps(NOTE))


def test_a_persons_own_comment_stays(tmp_path) -> None:
    block = Image.Exif()
    block.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0in the attic"
    Image.fromarray(GRAY).save(tmp_path / "a.jpg", exif=block)
    photo = load_photo(tmp_path / "a.jpg")
    for name in ("b.jpg", "b.webp", "b.tif"):
        save_photo(tmp_path / name, photo.rgb, photo.metadata, note=NOTE)
        with Image.open(tmp_path / name) as saved:
            assert saved.getexif().get_ifd(0x8769)[0x9286] == b"ASCII\0\0\0in the attic"
        assert note_of(tmp_path / name) == NOTE


def test_results_of_earlier_versions_are_read(tmp_path) -> None:
    """Whose note was a JPEG's comment."""
    Image.fromarray(GRAY).save(tmp_path / "a.jpg", comment="colorjax " + json.dumps(NOTE))
    assert note_of(tmp_path / "a.jpg") == NOTE and not load_photo(tmp_path / "a.jpg").metadata.exif
