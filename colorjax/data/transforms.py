"""Pictures: decoding, and the crops of L-CAD's release as pure functions of (image, rng)."""

import struct

import cv2
import numpy as np
import PIL.Image
import simplejpeg
from jaxtyping import UInt8

from colorjax.data import bounds
from colorjax.errors import UserError, first_line, one_of
from colorjax.maths import color

try:
    import cykooz_resizer
except ImportError:  # there are no wheels for Linux on ARM; Pillow has the same filters
    cykooz_resizer = None

Image = UInt8[np.ndarray, "_ _ 3"]

# Batches are already read by several threads; OpenCV's own would compete with them.
cv2.setNumThreads(1)


def decode(data: bytes) -> Image:
    """RGB pixels of a PNG or JPEG file, gray and transparent ones included.

    Raises:
        UserError: the bytes are neither, damaged, or of more pixels than a picture may have.
    """
    try:
        return _decoded(data)
    except (ValueError, struct.error, cv2.error) as error:
        raise UserError(
            f"{len(data)} bytes could not be decoded as a picture ({first_line(error)}); give a "
            "whole PNG or JPEG file"
        ) from None


def _decoded(data: bytes) -> Image:
    # OpenCV knows many more formats, whose readers need not be open to whoever sends records.
    if data[:2] == bounds.JPEG_SIGNATURE:
        height, width, *_ = simplejpeg.decode_jpeg_header(data)
        _check_size(width, height)
        return simplejpeg.decode_jpeg(data)
    if not data.startswith(bounds.PNG_SIGNATURE):
        raise ValueError("it begins like neither")
    bounds.check_chunks(data)
    _check_size(*struct.unpack_from(">II", data, 16))
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise ValueError("it is damaged")
    return image.astype(np.uint8, copy=False)


def _check_size(width: int, height: int) -> None:
    if width * height > bounds.MAX_PIXELS:
        raise ValueError(f"it has {width} x {height} pixels, more than {bounds.MAX_PIXELS:,}")


def encode_png(image: Image) -> bytes:
    """The PNG file of RGB pixels, lossless."""
    return cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))[1].tobytes()


def bicubic(image: Image, width: int, height: int) -> Image:
    """The image at another size by Pillow's bicubic filter, which averages what it shrinks.

    fast_image_resize computes that filter six times as fast as Pillow. Its two passes are the
    other way round, so rounding differs by one of 255 here and there, and more where the filter
    overshoots black or white.
    """
    if cykooz_resizer is None:
        pixels = PIL.Image.fromarray(np.ascontiguousarray(image))
        return np.asarray(pixels.resize((width, height), PIL.Image.Resampling.BICUBIC))
    rgb = cykooz_resizer.PixelType.U8x3
    source = cykooz_resizer.ImageData(image.shape[1], image.shape[0], rgb, image.tobytes())
    target = cykooz_resizer.ImageData(width, height, rgb)
    filter = cykooz_resizer.ResizeAlg.convolution(cykooz_resizer.FilterType.catmull_rom)
    options = cykooz_resizer.ResizeOptions(resize_alg=filter)
    cykooz_resizer.Resizer().resize(source, target, options)
    return np.frombuffer(target.get_buffer(), np.uint8).reshape(height, width, 3)


def random_resized_crop(
    image: Image,
    rng: np.random.Generator,
    size: int,
    scale: tuple[float, float] = (0.8, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Image:
    """A random rectangle stretched to `size` x `size`, bicubic, as torchvision draws it.

    Its share of the area is uniform in `scale`, the logarithm of its width over height uniform in
    `ratio`. After ten rectangles that do not fit, the centre crop with the nearest allowed ratio.
    """
    h, w = image.shape[:2]
    for _ in range(10):
        area = h * w * rng.uniform(*scale)
        aspect = np.exp(rng.uniform(*np.log(ratio)))
        crop_w, crop_h = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
        if 0 < crop_w <= w and 0 < crop_h <= h:
            top, left = rng.integers(h - crop_h + 1), rng.integers(w - crop_w + 1)
            break
    else:
        crop_w = min(w, round(h * ratio[1]))
        crop_h = min(h, round(w / ratio[0]))
        top, left = (h - crop_h) // 2, (w - crop_w) // 2
    return bicubic(image[top : top + crop_h, left : left + crop_w], size, size)


def with_hues_turned(image: Image, rng: np.random.Generator) -> Image:
    """The image with the hues of CIE Lab turned by one angle and chroma scaled by 0.6 to 1.6.

    What a screen cannot show is cut off.
    """
    lab = color.srgb_to_lab(color.unit_from_bytes(image))
    angle, scale = rng.uniform(0.0, 2.0 * np.pi), np.exp(rng.uniform(-0.5, 0.5))
    turn = scale * np.array(
        [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]], np.float32
    )
    turned = np.concatenate([lab[..., :1], lab[..., 1:] @ turn], -1)
    return color.unit_to_bytes(np.clip(color.lab_to_srgb(turned), 0.0, 1.0))


def without_colours(image: Image) -> Image:
    """The picture's lightness alone, as `color.gray` shows it."""
    gray = color.gray(color.lightness(color.unit_from_bytes(image)))
    return color.unit_to_bytes(gray)


def random_flip(image: Image, rng: np.random.Generator) -> Image:
    """The image or, with probability one half, its mirror image."""
    return image[:, ::-1] if rng.random() < 0.5 else image


def resize(image: Image, size: int) -> Image:
    """The whole image at `size` x `size`, Pillow's bilinear: the aspect ratio is not kept."""
    if image.shape[:2] == (size, size):
        return image
    pixels = PIL.Image.fromarray(np.ascontiguousarray(image))
    return np.asarray(pixels.resize((size, size), PIL.Image.Resampling.BILINEAR))


def center_crop(image: Image, size: int) -> Image:
    """The central square of the shorter side, at `size` x `size`."""
    h, w = image.shape[:2]
    side = min(h, w)
    top, left = (h - side) // 2, (w - side) // 2
    return resize(image[top : top + side, left : left + side], size)


def _checked(image: Image, size: int) -> Image:
    if image.shape[:2] != (size, size):
        raise UserError(
            f"a picture is {image.shape[1]}x{image.shape[0]} but the model's size is {size}x{size}"
            ": it has to be brought to that, by --crop=resize or --crop=center of a command, and "
            "in training by --config.data.crop=random_resized"
        )
    return image


def for_training(image: Image, rng: np.random.Generator, size: int, crop: str | None) -> Image:
    """Crops a picture at random and then flips it at random.

    Args:
        image: any picture.
        rng: decides the crop and the flip.
        size: height and width of the result.
        crop: "random_resized"; None where the image has the model's size already.

    Raises:
        UserError: `crop` is unknown, or None and the image is not `size` x `size`.
    """
    if crop is None:
        return random_flip(_checked(image, size), rng)
    one_of("training crop", crop, ("random_resized", None))
    return random_flip(random_resized_crop(image, rng, size), rng)


def for_evaluation(image: Image, size: int, crop: str | None) -> Image:
    """The image at the model's size, without randomness.

    Args:
        image: any picture.
        size: height and width of the result.
        crop: "resize" stretches the whole picture, "center" takes the central square; None where
            the image has the model's size already.

    Raises:
        UserError: `crop` is unknown, or None and the image is not `size` x `size`.
    """
    if crop is None:
        return _checked(image, size)
    one_of("evaluation crop", crop, ("resize", "center", None))
    return resize(image, size) if crop == "resize" else center_crop(image, size)
