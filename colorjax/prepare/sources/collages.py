"""Small pictures made of others: cuts of scenes, stamps laid on them, and close-ups."""

from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageFilter
from jaxtyping import UInt8

from colorjax.errors import UserError, first_line
from colorjax.maths import color

SIZE = 32
_FINE = 4  # stamps are laid on pictures of so many times the size, then averaged down
Pixels = UInt8[np.ndarray, "_ _ 3"]


def crop(pixels: Pixels, rng: np.random.Generator, size: int) -> Pixels:
    """A random square, its side log-uniform from a quarter of the shorter side to all of it."""
    height, width = pixels.shape[:2]
    short = min(height, width)
    side = min(short, max(size, round(short * 4.0 ** -rng.uniform(0.0, 1.0))))
    top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
    square = PIL.Image.fromarray(pixels[top : top + side, left : left + side])
    return np.asarray(square.resize((size, size), PIL.Image.Resampling.BICUBIC, reducing_gap=3.0))


def close_up(pixels: UInt8[np.ndarray, "32 32 3"], rng: np.random.Generator) -> Pixels:
    """A random square of 13 to 24 pixels enlarged to the whole picture, three in five sharpened.

    Objects of CIFAR-10 are seen whole. A model that knows nothing else takes the fur that fills a
    photograph for grass; enlarging blurs, which such fur is not.
    """
    side = int(rng.integers(13, 25))
    top, left = rng.integers(SIZE + 1 - side, size=2)
    square = PIL.Image.fromarray(pixels[top : top + side, left : left + side])
    near = square.resize((SIZE, SIZE), PIL.Image.Resampling.BICUBIC)
    if rng.random() < 0.6:
        near = near.filter(PIL.ImageFilter.UnsharpMask(1.2, int(rng.integers(80, 260)), 0))
    return np.asarray(near)


def _plain_ground(rng: np.random.Generator, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """A wall or a table: a slant between two near colours, half of them almost gray."""
    chroma = rng.uniform(0.0, 6.0 if rng.random() < 0.5 else 35.0)
    hue = rng.uniform(0.0, 2.0 * np.pi)
    lab = np.array([rng.uniform(25.0, 95.0), chroma * np.cos(hue), chroma * np.sin(hue)])
    slant = np.linspace(-1.0, 1.0, size)
    across, down = rng.normal(0.0, 6.0, 2)
    field = np.broadcast_to(lab, (size, size, 3)).copy()
    field[..., 0] += (
        across * slant[None, :] + down * slant[:, None] + rng.normal(0, 1, (size, size))
    )
    field[..., 0] = np.clip(field[..., 0], 2.0, 99.0)
    shown = color.lab_to_srgb(color.fit_gamut(field.astype(np.float32)))
    return np.round(np.clip(shown, 0.0, 1.0) * 255.0).astype(np.uint8)


def _lay(stamp: PIL.Image.Image, ground: Pixels, rng: np.random.Generator) -> Pixels:
    """The stamp on a ground, near the middle, at three quarters of its side to half as much again.

    It is flipped at random and shown a little lighter or darker.
    """
    size = ground.shape[0]
    longest = size * rng.uniform(0.75, 1.5)
    scale = longest / max(stamp.size)
    width, height = (max(1, round(side * scale)) for side in stamp.size)
    layer = stamp.resize((width, height), PIL.Image.Resampling.BICUBIC, reducing_gap=3.0)
    if rng.random() < 0.5:
        layer = layer.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT)
    whole = PIL.Image.fromarray(ground).convert("RGBA")
    shift = rng.normal(0.0, 0.06 * size, 2)
    corner = (round((size - width) / 2 + shift[0]), round((size - height) / 2 + shift[1]))
    above = PIL.Image.new("RGBA", whole.size)
    above.paste(layer, corner)
    whole.alpha_composite(above)
    light = rng.uniform(0.85, 1.1)
    return np.clip(np.asarray(whole.convert("RGB")) * light, 0, 255).astype(np.uint8)


def read_stamp(path: Path) -> PIL.Image.Image:
    """The stamp without its empty margin, no larger than is needed."""
    image = _decoded(path, "RGBA")
    image = image.crop(image.getchannel("A").getbbox())
    image.thumbnail((4 * SIZE * _FINE, 4 * SIZE * _FINE))
    return image


def read_scene(path: Path) -> Pixels:
    """The whole photograph in sRGB."""
    return np.asarray(_decoded(path, "RGB"))


def _decoded(path: Path, mode: str) -> PIL.Image.Image:
    try:
        with PIL.Image.open(path) as image:
            return image.convert(mode)
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(
            f"{str(path)!r} cannot be read ({first_line(error)}); unpack its package again"
        ) from None


def _shrunk(pixels: Pixels) -> UInt8[np.ndarray, "size size 3"]:
    whole = PIL.Image.fromarray(pixels)
    return np.asarray(whole.resize((SIZE, SIZE), PIL.Image.Resampling.BOX))


def stamped(stamp: PIL.Image.Image, grounds: list[Pixels], rng: np.random.Generator) -> Pixels:
    """The stamp on a cut of one of the scenes or, as often, on a plain ground."""
    is_natural = rng.random() < 0.5
    place = int(rng.integers(len(grounds)))
    side = SIZE * _FINE
    ground = crop(grounds[place], rng, side) if is_natural else _plain_ground(rng, side)
    return _shrunk(_lay(stamp, ground, rng))
