"""Every kind of file in, every kind out: what must be there afterwards, read back by others.

A model without colours stands for the real one, so that the result is the photograph itself.
"""

import contextlib
import functools
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, ImageOps

from colorjax.colorize import jobs, painters, processing
from colorjax.colorize.chroma import looks
from colorjax.colorize.command import run
from colorjax.colorize.files import saving
from tests import pictures
from tests.colorize.test_controls import Painted

HEIGHT, WIDTH = 16, 24
RAMP = np.add.outer(np.arange(HEIGHT), np.arange(WIDTH)) / (HEIGHT + WIDTH - 2)
EIGHT, SIXTEEN = np.round(RAMP * 255).astype(np.uint8), np.round(RAMP * 65535).astype(np.uint16)
COVER = np.tile(np.linspace(1, 0.2, WIDTH), (HEIGHT, 1))
XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-\
syntax-ns#"><rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" \
dc:source="box 7"/></rdf:RDF></x:xmpmeta>"""
Write = Callable[[Path], None]


def pillow(mode: str, *, depth: np.ndarray = EIGHT, about: bool = True, **options: object) -> Write:
    """A picture of Pillow's, with what its format can say."""

    def write(path: Path) -> None:
        picture = Image.fromarray(depth)
        if mode in ("LA", "RGBA"):
            picture = picture.convert(mode)
            picture.putalpha(Image.fromarray(np.round(COVER * 255).astype(np.uint8)))
        elif mode == "LAB":
            profiles = (ImageCms.createProfile(name) for name in ("sRGB", "LAB"))
            transform = ImageCms.buildTransform(*profiles, "RGB", "LAB")
            picture = ImageCms.applyTransform(picture.convert("RGB"), transform)
        elif mode != picture.mode:
            picture = picture.convert(mode)
        more = dict(options)
        if about:
            exif = Image.Exif()
            exif[0x010E] = "grandmother"
            more |= {"exif": exif, "xmp": XMP, "dpi": (300, 300)}
        picture.save(path, **more)

    return write


def opencv(*channels: np.ndarray) -> Write:
    def write(path: Path) -> None:
        stacked = np.stack([np.round(c * 65535).astype(np.uint16) for c in channels], axis=-1)
        cv2.imwrite(str(path), stacked)

    return write


def tiff(values: np.ndarray, **options: object) -> Write:
    return lambda path: tifffile.imwrite(path, values, metadata=None, **options)


def three(values: np.ndarray) -> np.ndarray:
    return np.stack([values] * 3, axis=-1)


plain = functools.partial(pillow, about=False)
ALPHA16 = np.concatenate([three(SIXTEEN), np.round(COVER * 65535)[..., None]], -1).astype(np.uint16)
# By a name with the suffix: what writes it, and in which kind of numbers it is.
INPUTS: dict[str, tuple[Write, str]] = {
    "1.png": (pillow("1"), "one"),
    "l.png": (pillow("L"), "8"),
    "la.png": (pillow("LA"), "8a"),
    "rgb.png": (pillow("RGB"), "8"),
    "rgba.png": (pillow("RGBA"), "8a"),
    "p.png": (pillow("P"), "8"),
    "interlaced.png": (pillow("L"), "8"),
    "i16.png": (pillow("I;16", depth=SIXTEEN), "16"),
    "rgb16.png": (opencv(RAMP, RAMP, RAMP), "16"),
    "rgba16.png": (opencv(RAMP, RAMP, RAMP, COVER), "16a"),
    "1.tif": (pillow("1", compression="group4"), "one"),
    "l.tif": (pillow("L"), "8"),
    "lzw.tif": (pillow("L", compression="tiff_lzw"), "8"),
    "packbits.tif": (pillow("L", compression="packbits"), "8"),
    "la.tif": (pillow("LA"), "8a"),
    "rgb.tif": (pillow("RGB"), "8"),
    "deflate.tif": (pillow("RGB", compression="tiff_adobe_deflate"), "8"),
    "rgba.tif": (pillow("RGBA"), "8a"),
    "p.tif": (pillow("P"), "8"),
    "cmyk.tif": (pillow("CMYK"), "8"),
    "lab.tif": (pillow("LAB"), "lossy"),
    "jpeg.tif": (pillow("RGB", compression="jpeg"), "lossy"),
    "i16.tif": (pillow("I;16", depth=SIXTEEN), "16"),
    "white0.tif": (tiff(65535 - SIXTEEN, photometric="miniswhite"), "16"),
    "rgb16.tif": (tiff(three(SIXTEEN), photometric="rgb"), "16"),
    "rgba16.tif": (tiff(ALPHA16, photometric="rgb", extrasamples=["unassalpha"]), "16a"),
    "planes.tif": (tiff(np.stack([SIXTEEN] * 3), photometric="rgb", planarconfig=2), "16"),
    "motorola.tif": (tiff(SIXTEEN, byteorder=">"), "16"),
    "i32.tif": (tiff((RAMP * (2**32 - 1)).astype(np.uint32)), "16"),
    "f.tif": (tiff(RAMP.astype(np.float32)), "16"),
    "half.tif": (tiff(RAMP.astype(np.float16)), "half"),
    "frgb.tif": (tiff(three(RAMP.astype(np.float32)), photometric="rgb"), "16"),
    "l.jpg": (pillow("L", quality=100), "lossy"),
    "rgb.jpg": (pillow("RGB", quality=100), "lossy"),
    "progressive.jpg": (pillow("RGB", quality=100, progressive=True), "lossy"),
    "cmyk.jpg": (pillow("CMYK", quality=100), "lossy"),
    "rgb.mpo": (plain("RGB", quality=100, format="JPEG"), "lossy"),
    "rgb.webp": (pillow("RGB", lossless=True), "8"),
    "rgba.webp": (pillow("RGBA", lossless=True, exact=True), "8a"),
    "rgb.avif": (pillow("RGB", quality=100, subsampling="4:4:4"), "lossy"),
    "1.bmp": (plain("1"), "one"),
    "l.bmp": (plain("L"), "8"),
    "rgb.bmp": (plain("RGB"), "8"),
    "p.gif": (plain("L"), "8"),
    "1.pbm": (plain("1"), "one"),
    "l.pgm": (plain("L"), "8"),
    "i16.pgm": (plain("I;16", depth=SIXTEEN), "16"),
    "rgb.ppm": (plain("RGB"), "8"),
    "l.jp2": (plain("L", irreversible=False), "8"),
    "rgb.jp2": (plain("RGB", irreversible=False), "8"),
    "i16.jp2": (plain("I;16", depth=SIXTEEN, irreversible=False), "16"),
}
TOLERANCE = {"one": 1.0, "8": 1.0, "8a": 1.0, "lossy": 6.0, "16": 64 / 257, "16a": 64 / 257}
TOLERANCE |= {"half": 1.0}  # what such numbers are apart near white
CASES = list(itertools.product(INPUTS, (".png", ".tif"))) + [
    (name, suffix)
    for suffix in (".jpg", ".webp", ".avif")
    for name in ("rgb.png", "rgba16.png", "rgb16.tif", "rgb.jpg", "rgba.webp")
]


def levels_of(path: Path) -> np.ndarray:
    """A file's values in codes of 8 bits, by another reader than colorjax's."""
    if path.suffix == ".tif":
        array = tifffile.imread(path)
    elif path.suffix == ".png":
        array = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        array = array[..., [2, 1, 0, 3][: array.shape[-1]]]
    else:
        with Image.open(path) as picture:
            array = np.asarray(picture)
    return array.astype(float) / (257 if array.dtype == np.uint16 else 1)


@pytest.mark.parametrize(("name", "suffix"), CASES)
def test_what_goes_in_comes_out(tmp_path: Path, name: str, suffix: str) -> None:
    assert len(CASES) >= 80
    source, output = tmp_path / name, tmp_path / f"result{suffix}"
    write, kind = INPUTS[name]
    write(source)
    painter, model = painters.Colouring(looks.Look(scale=0.0)), Painted()
    prepared = jobs.ready([jobs.Request(source, "")], model.buckets, painter)
    (done,) = processing.process(model, prepared, painter, 0)
    assert done.error is None, done.error
    (part,) = processing.rendered(painter, done)
    saving.save_photo(output, part.levels, done.metadata, 100, note={"seed": 3})
    assert saving.note_of(output) == {"seed": 3}
    shown = levels_of(output)
    deep, has_alpha = kind in ("16", "16a", "half"), kind in ("8a", "16a")
    if suffix in (".png", ".tif"):
        flags = cv2.IMREAD_UNCHANGED
        assert cv2.imread(str(output), flags).dtype == (np.uint16 if deep else np.uint8)
    keeps_alpha = has_alpha and suffix != ".jpg"
    assert shown.shape == (HEIGHT, WIDTH, 4 if keeps_alpha else 3)
    expected = RAMP * 255.0
    if kind == "one":
        expected = np.asarray(Image.fromarray(EIGHT).convert("1")) * 255.0
    if has_alpha and not keeps_alpha:
        expected = expected * COVER + 255.0 * (1.0 - COVER)
    tolerance = max(TOLERANCE[kind], 0.0 if suffix in (".png", ".tif") else 4.0)
    assert np.abs(shown[..., :3] - expected[..., None]).max() <= tolerance + 0.01
    if keeps_alpha:
        assert np.abs(shown[..., 3] - COVER * 255.0).max() <= max(1.0, tolerance)
    with Image.open(output) as saved, opened(source) as before:
        had = {} if before is None else before.getexif()
        assert saved.getexif().get(0x010E) == had.get(0x010E)
        if kind != "lossy":  # of which some say 72 by themselves
            dpi = None if before is None else before.info.get("dpi")
            if dpi is not None and suffix in (".png", ".tif", ".jpg"):  # what has a place for it
                assert saved.info["dpi"] == pytest.approx(dpi, abs=0.1)
        assert (b"box 7" in saved.info.get("xmp", b"")) == (b"box 7" in source.read_bytes())


PROFILE = pictures.profile_of_gamma(1.8)
IN_A_SPACE: dict[str, Write] = {
    "l.png": plain("L", icc_profile=PROFILE),
    "rgb.png": plain("RGB", icc_profile=PROFILE),
    "rgb.tif": plain("RGB", icc_profile=PROFILE),
    "rgb16.tif": tiff(three(SIXTEEN), photometric="rgb", iccprofile=PROFILE),
    "rgb.jpg": plain("RGB", quality=100, subsampling=0, icc_profile=PROFILE),
    "rgb.webp": plain("RGB", lossless=True, icc_profile=PROFILE),
    "rgb.avif": plain("RGB", quality=100, subsampling="4:4:4", icc_profile=PROFILE),
}


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".webp", ".avif"])
@pytest.mark.parametrize("name", IN_A_SPACE)
def test_profiles_are_converted_or_kept(tmp_path: Path, name: str, suffix: str) -> None:
    IN_A_SPACE[name](tmp_path / name)
    painter, model = painters.Colouring(looks.Look(scale=0.0)), Painted()
    prepared = jobs.ready([jobs.Request(tmp_path / name, "")], model.buckets, painter)
    (done,) = processing.process(model, prepared, painter, 0)
    (part,) = processing.rendered(painter, done)
    light = RAMP**1.8
    in_srgb = np.where(light > 0.0031308, 1.055 * light ** (1 / 2.4) - 0.055, 12.92 * light)
    kept, profile = run._in_own_space(done, np.asarray(part.levels))
    for levels, own, expected in ((part.levels, b"", in_srgb), (kept, profile, RAMP)):
        output = tmp_path / f"result{suffix}"
        saving.save_photo(output, levels, done.metadata, 100, profile=own)
        with Image.open(output) as saved:
            assert saved.info.get("icc_profile", b"") == own
        losses = name.endswith((".jpg", ".avif")) + (suffix in (".jpg", ".webp", ".avif"))
        tolerance = 1.5 + 4.0 * losses
        assert np.abs(levels_of(output) - expected[..., None] * 255.0).max() <= tolerance
    assert profile == PROFILE


def opened(path: Path) -> Any:
    """By Pillow, if it can."""
    try:
        return Image.open(path)
    except OSError:
        return contextlib.nullcontext()


def test_pictures_of_phones(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif")
    pillow("RGB", quality=100, chroma=444)(tmp_path / "a.heic")
    painter, model = painters.Colouring(looks.Look(scale=0.0)), Painted()
    prepared = jobs.ready([jobs.Request(tmp_path / "a.heic", "")], model.buckets, painter)
    (done,) = processing.process(model, prepared, painter, 0)
    (part,) = processing.rendered(painter, done)
    saving.save_photo(tmp_path / "b.tif", part.levels, done.metadata)
    assert np.abs(levels_of(tmp_path / "b.tif") - RAMP[..., None] * 255.0).max() <= 6
    with Image.open(tmp_path / "b.tif") as saved:
        assert saved.getexif()[0x010E] == "grandmother" and b"box 7" in saved.info["xmp"]


@pytest.mark.parametrize("turned", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".tif", ".webp", ".png", ".avif"])
def test_orientation_is_applied_and_reset(tmp_path: Path, turned: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = turned
    options = {".jpg": {"quality": 100}, ".webp": {"lossless": True}}.get(suffix, {})
    Image.fromarray(EIGHT).convert("RGB").save(tmp_path / f"a{suffix}", exif=exif, **options)
    painter, model = painters.Colouring(looks.Look(scale=0.0)), Painted()
    prepared = jobs.ready([jobs.Request(tmp_path / f"a{suffix}", "")], model.buckets, painter)
    (done,) = processing.process(model, prepared, painter, 0)
    (part,) = processing.rendered(painter, done)
    saving.save_photo(tmp_path / "b.png", part.levels, done.metadata)
    with Image.open(tmp_path / f"a{suffix}") as before, Image.open(tmp_path / "b.png") as after:
        upright = np.asarray(ImageOps.exif_transpose(before).convert("L")).astype(int)
        assert after.getexif().get(0x0112, 1) == 1
        assert np.abs(np.asarray(after.convert("L")) - upright).max() <= 2


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 20_000), (3_000, 1), (2, 3)])
def test_photographs_of_every_shape(tmp_path: Path, height: int, width: int) -> None:
    values = np.arange(height * width).reshape(height, width) % 251
    Image.fromarray(values.astype(np.uint8)).save(tmp_path / "a.png")
    painter, model = painters.Colouring(looks.Look(scale=0.0)), Painted()
    prepared = jobs.ready([jobs.Request(tmp_path / "a.png", "")], model.buckets, painter)
    (done,) = processing.process(model, prepared, painter, 0)
    (part,) = processing.rendered(painter, done)
    assert part.levels.shape == (height, width, 3)
    assert np.abs(part.levels[..., 0].astype(int) - values).max() <= 1
