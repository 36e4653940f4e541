"""Masks on disk: what is read, in which order, and what is refused."""

import numpy as np
import pytest
from PIL import Image

from colorjax.colorize.words.masks import read_masks
from colorjax.errors import UserError

PHRASES = ["the blue cup", "the red cup", "the yellow cup"]


def block(index: int, height: int = 40, width: int = 60) -> np.ndarray:
    """A tenth of the picture's columns."""
    mask = np.zeros((height, width), bool)
    step = width // 10
    mask[:, index * step : (index + 1) * step] = True
    return mask


def centre(mask: np.ndarray) -> float:
    """The mean column, in tenths of the width."""
    return float((mask.sum(0) * (np.arange(mask.shape[1]) + 0.5)).sum() / mask.sum()) * (
        10 / mask.shape[1]
    )


def test_files_are_in_the_order_of_their_numbers(tmp_path):
    for number in range(1, 11):
        np.save(tmp_path / f"cups_{number}.npy", block(number - 1))
    (tmp_path / "notes.txt").write_text("of the cups")
    (tmp_path / "._cups_1.png").write_bytes(b"what macOS leaves")
    masks = read_masks(tmp_path, [f"cup {i}" for i in range(10)], 40, 60)
    assert masks.shape == (10, 40, 60) and masks.dtype == np.float32
    assert [centre(mask) for mask in masks] == pytest.approx([i + 0.5 for i in range(10)])
    assert masks.sum(0).max() == 1 and set(np.unique(masks)) == {0, 1}


def test_files_called_as_the_phrases(tmp_path):
    for name, index in (("The red cup", 1), ("the blue cup", 0), ("the yellow cup", 2)):
        Image.fromarray(block(index)).save(tmp_path / f"{name}.png")
    masks = read_masks(tmp_path, PHRASES, 20, 30)
    assert [centre(mask) for mask in masks] == pytest.approx([0.5, 1.5, 2.5])


@pytest.mark.parametrize(
    "write",
    [
        lambda path, mask: np.save(path / "1.npy", mask),
        lambda path, mask: np.save(path / "1.npy", mask.astype(np.float32)),
        lambda path, mask: np.save(path / "1.npy", mask.astype(np.int64)[None]),
        lambda path, mask: np.save(path / "1.npy", mask[..., None] * np.uint8(255)),
        lambda path, mask: Image.fromarray(mask).save(path / "1.png"),
        lambda path, mask: Image.fromarray(mask.astype(np.uint8)).save(path / "1.PNG"),
        lambda path, mask: Image.fromarray(mask * np.uint8(255)).save(path / "1.png"),
        lambda path, mask: Image.fromarray(mask * np.uint16(65535)).save(path / "1.png"),
        lambda path, mask: palette(mask).save(path / "1.png"),
        lambda path, mask: (
            Image.fromarray(mask * np.uint8(255)).convert("RGB").save(path / "1.png")
        ),
        lambda path, mask: Image.fromarray(mask * np.uint8(255)).convert("LA").save(path / "1.png"),
        lambda path, mask: (
            Image.fromarray(mask * np.uint8(255)).convert("RGBA").save(path / "1.png")
        ),
    ],
    ids="npy-bool npy-float npy-int npy-255 png-1 png-01 png-L png-16 png-P png-RGB png-LA png-RGBA"
    "".split(),
)
def test_kinds_of_files(tmp_path, write):
    write(tmp_path, block(3))
    (file,) = tmp_path.iterdir()
    for path in (tmp_path, file):
        (mask,) = read_masks(path, ["a cup"], 40, 60)
        np.testing.assert_array_equal(mask, block(3))


def palette(labels: np.ndarray) -> Image.Image:
    picture = Image.frombytes("P", labels.shape[::-1], labels.astype(np.uint8).tobytes())
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    return picture


def test_soft_edges_and_overlaps_stay(tmp_path):
    ramp = np.tile(np.arange(60, dtype=np.float64) / 59, (40, 1))
    np.save(tmp_path / "1.npy", ramp)
    Image.fromarray(np.round(255 * ramp).astype(np.uint8)).save(tmp_path / "2.png")
    masks = read_masks(tmp_path, PHRASES[:2], 40, 60)
    np.testing.assert_allclose(masks[0], ramp, atol=1e-7)
    np.testing.assert_allclose(masks[1], ramp, atol=0.5 / 255 + 1e-7)


@pytest.mark.parametrize("kind", ["npy", "L", "P"])
def test_label_maps(tmp_path, kind):
    labels = sum(((i + 1) * block(2 * i) for i in range(3)), np.zeros((40, 60), int))
    path = tmp_path / ("labels.npy" if kind == "npy" else "labels.png")
    if kind == "npy":
        np.save(path, labels)
    else:
        (palette(labels) if kind == "P" else Image.fromarray(labels.astype(np.uint8))).save(path)
    masks = read_masks(path, PHRASES, 40, 60)
    for i, mask in enumerate(masks):
        np.testing.assert_array_equal(mask, block(2 * i))


def test_resizing_is_linear_with_aligned_pixel_centres(tmp_path):
    """Halves: each new pixel lies between two old ones. Thrice: every third is an old pixel."""
    rng = np.random.default_rng(0)
    mask = rng.random((8, 12))
    np.save(tmp_path / "1.npy", mask)
    (half,) = read_masks(tmp_path, ["a"], 4, 6)
    means = mask.reshape(4, 2, 6, 2).mean((1, 3))
    np.testing.assert_allclose(half, means, atol=1e-6)
    (large,) = read_masks(tmp_path, ["a"], 24, 36)
    np.testing.assert_allclose(large[1::3, 1::3], mask, atol=1e-6)
    np.testing.assert_allclose(
        large[1::3, 2:-1:3], mask[:, :-1] * 2 / 3 + mask[:, 1:] / 3, atol=1e-6
    )


def test_mistakes_are_told(tmp_path):
    def refused(path, phrases, match):
        with pytest.raises(UserError, match=match):
            read_masks(path, phrases, 16, 16)

    refused(tmp_path / "none", PHRASES, "none' does not exist")
    refused(tmp_path, PHRASES, "has 0 masks .*but there are 3 phrases: 'the blue cup', ")
    with (tmp_path / "1.npy").open("wb") as file:
        np.savez(file, a=block(0))
    refused(tmp_path / "1.npy", PHRASES, "1.npy' cannot be read as a mask")
    with (tmp_path / "1.npy").open("wb") as file:  # a header that asks for gigabytes
        header = {"descr": "|b1", "fortran_order": False, "shape": (60_000, 60_000)}
        np.lib.format.write_array_header_1_0(file, header)
    refused(tmp_path / "1.npy", PHRASES, "shape .60000, 60000., more than 64000000 values")
    np.save(tmp_path / "1.npy", block(0))
    refused(tmp_path, PHRASES, "has 1 masks .*3 phrases")
    refused(tmp_path / "1.npy", PHRASES, "labels True in bool; for 3 phrases")
    np.save(tmp_path / "2.npy", block(1, 30, 40))
    refused(tmp_path, PHRASES[:2], "2.npy' has 40 x 30 pixels, but .*1.npy' 60 x 40")
    np.save(tmp_path / "2.npy", np.zeros((40, 60), bool))
    refused(tmp_path, PHRASES[:2], "mask of 'the red cup' in .*2.npy' has nothing in it")
    for array, match in (
        (np.zeros((2, 3, 4)), r"of shape \(2, 3, 4\)"),
        (np.full((4, 4), 7.5), "values up to 7.5"),
        (np.full((4, 4), np.nan), "infinite"),
        (np.full((4, 4), -1), "negative"),
        (np.full((4, 4), 10**6), "values up to 1000000"),
        (np.array([["a"]]), "<U1"),
    ):
        np.save(tmp_path / "a.npy", array)
        refused(tmp_path / "a.npy", ["a"], match)
    np.save(tmp_path / "a.npy", np.arange(3).repeat(8).reshape(4, 6))
    refused(tmp_path / "a.npy", PHRASES, "labels 1, 2 in int64; for 3 phrases")
    np.save(tmp_path / "a.npy", np.arange(9).repeat(2).reshape(3, 6))
    refused(tmp_path / "a.npy", PHRASES, r"labels 1, 2, 3, 4, 5, \.\.\. in int64")
    np.save(tmp_path / "a.npy", np.array([{}]), allow_pickle=True)
    refused(tmp_path / "a.npy", ["a"], "cannot be read as a mask")
    for name in ("broken.png", "broken.npy"):
        (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\nrest")
        refused(tmp_path / name, ["a"], "cannot be read as a mask")
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(tmp_path / "a.png")
    refused(tmp_path / "a.png", ["a"], "a.png' is coloured")
    (tmp_path / "a.jpg").write_bytes(b"")
    refused(tmp_path / "a.jpg", ["a"], "masks are .npy or .png files")
