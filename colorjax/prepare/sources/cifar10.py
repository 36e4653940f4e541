"""CIFAR-10 (Krizhevsky, 2009) from its official archive."""

import io
import lzma
import pickle
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from colorjax import files
from colorjax.data import bounds
from colorjax.data.captions import CIFAR10_CLASSES
from colorjax.errors import UserError, first_line
from colorjax.prepare.sources import collages
from colorjax.prepare.sources.entries import Entry, Item, PixelContent

_MEMBERS = {
    "train": tuple(f"cifar-10-batches-py/data_batch_{i}" for i in range(1, 6)),
    "test": ("cifar-10-batches-py/test_batch",),
}
# What pickles of NumPy arrays name, by old and new module paths. Nothing here runs foreign code.
_ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
}


_MOST_UNPACKED = 2**29  # of a split as an .npz; the training split has 154 MB
_MOST_BYTES = 2**26  # of one member; the official ones have 31 MB
_DAMAGE = (zlib.error, lzma.LZMAError, ValueError, MemoryError)  # of what is compressed


class _NoArrays(Exception):
    """A pickle is something else than CIFAR-10's."""


class _ArrayUnpickler(pickle.Unpickler):
    """Loads containers, numbers, strings and NumPy arrays; any other class is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def read(path: Path, split: str, captions: Path | None) -> Iterator[Item]:
    """CIFAR-10 in its own order, keys `<split>-<five digits>`.

    `path` is the official `cifar-10-python.tar.gz`, or a folder with `train.npz` and `test.npz`
    holding `images` uint8 [n,32,32,3] and `labels` [n].

    Raises:
        UserError: `path` is neither, or its content is not CIFAR-10.
    """
    for key, image, label in _pictures(path, split):
        yield Entry(key, PixelContent(f"{key}.png", image), label=label)


def _pictures(path: Path, split: str) -> Iterator[tuple[str, np.ndarray, str]]:
    if path.is_dir():
        batches = iter([_read_npz(path / f"{split}.npz")])
    elif path.is_file():
        batches = _read_archive(path, _MEMBERS[split])
    else:
        raise UserError(
            f"--input={str(path)!r} does not exist; give cifar-10-python.tar.gz, or a folder with "
            "train.npz and test.npz"
        )
    index = 0
    for images, labels in batches:
        _check(images, labels, path)
        for image, label in zip(images, labels, strict=True):
            yield f"{split}-{index:05d}", image, CIFAR10_CLASSES[int(label)]
            index += 1


def read_close_ups(path: Path, split: str, captions: Path | None) -> Iterator[Item]:
    """As `read`, with a close-up of itself after every picture of the training split.

    Raises:
        UserError: see `read`.
    """
    for key, image, label in _pictures(path, split):
        yield Entry(key, PixelContent(f"{key}.png", image), label=label)
        if split == "train":
            near = collages.close_up(image, np.random.default_rng(zlib.crc32(key.encode())))
            yield Entry(f"{key}-near", PixelContent(f"{key}-near.png", near), label=label)


def _check(images: np.ndarray, labels: np.ndarray, path: Path) -> None:
    is_right = images.dtype == np.uint8 and images.ndim == 4 and images.shape[1:] == (32, 32, 3)
    if not is_right or labels.shape != images.shape[:1] or not np.isin(labels, range(10)).all():
        raise UserError(
            f"{str(path)!r} is not CIFAR-10: its images are {images.dtype} {images.shape} and its "
            f"labels {labels.shape}, expected uint8 [n,32,32,3] and [n] in 0..9; download it again"
        )


def _read_npz(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        images, labels = bounds.read_npz(path, ("images", "labels"), _MOST_UNPACKED)
        return images, labels
    # Damaged zip files raise what zipfile, zlib and NumPy's header parser like.
    except Exception as error:
        raise UserError(
            f"{str(path)!r} cannot be read ({first_line(error)}); it must be an .npz file with the "
            "arrays 'images' and 'labels'"
        ) from None


def _read_archive(path: Path, names: tuple[str, ...]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    try:
        with tarfile.open(path) as archive:
            for name in names:
                file = archive.extractfile(name)
                if file is None:
                    raise KeyError(f"{name} is not a file")
                yield _read_pickle(file)
    except (tarfile.TarError, OSError, EOFError, KeyError, *_DAMAGE) as error:
        raise UserError(
            f"{str(path)!r} is not a whole cifar-10-python.tar.gz "
            f"({first_line(error)}); download it again"
        ) from None
    except _NoArrays as error:
        raise UserError(
            f"{str(path)!r} holds something else than CIFAR-10's arrays ({first_line(error)}); "
            "download the official cifar-10-python.tar.gz"
        ) from None


def _read_pickle(file: Any) -> tuple[np.ndarray, np.ndarray]:
    # Python 2 wrote the official files: without encoding="bytes" their arrays do not load.
    data = io.BytesIO(file.read(_MOST_BYTES))
    try:
        files.check_pickle(data)
        batch = _ArrayUnpickler(data, encoding="bytes").load()
        planes = np.asarray(batch[b"data"]).reshape(-1, 3, 32, 32)
        return planes.transpose(0, 2, 3, 1), np.asarray(batch[b"labels"])
    # A damaged pickle may ask for anything, such as more memory than there is.
    except Exception as error:
        raise _NoArrays(first_line(error)) from error
