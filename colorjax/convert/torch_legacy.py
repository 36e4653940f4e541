"""PyTorch's files from before version 1.6, which torchvision and others still distribute.

Five pickles in a row (a magic number, a version, facts about the machine, the containers, the keys
of the storages), then each storage as its length and its values. Read by the same restricted
unpickler as the zip files.
"""

import mmap
import struct
from pathlib import Path
from typing import Any

import numpy as np

from colorjax import files
from colorjax.convert.torch_zip import DAMAGE, Refused, Storage, Unpickler, damaged, refused

START = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # the pickled magic number
VERSION = 1001


def is_legacy(path: Path) -> bool:
    """Whether a file begins as those of PyTorch before version 1.6."""
    with path.open("rb") as file:
        return file.read(len(START)) == START


def read_legacy(path: Path) -> Any:
    """What was saved, its tensors as read-only arrays that are mapped from the file.

    Raises:
        UserError: a damaged file, or one that wants more than tensors and containers.
    """
    try:
        with path.open("rb") as file:
            return _load(file)
    except Refused as refusal:
        raise refused(path, refusal) from None
    except DAMAGE as error:
        raise damaged(path, error) from error


def _load(file: Any) -> Any:
    wanted: dict[str, tuple[np.dtype, int]] = {}

    def later(key: str, dtype: np.dtype, count: int) -> np.ndarray:
        """The values come after the pickle that asks for them: zeros for a first reading."""
        if type(count) is not int or wanted.setdefault(key, (dtype, count)) != (dtype, count):
            raise ValueError(f"storage {key} is of two kinds")
        return np.broadcast_to(np.zeros((), dtype), (count,))

    _, version, facts = (_next(file, later) for _ in range(3))
    if version != VERSION or not facts.get("little_endian"):
        raise ValueError("the version or the byte order is another")
    start = file.tell()
    _next(file, later)
    keys = _next(file, later)
    place = file.tell()
    data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    storages = {}
    for key in keys:
        dtype, count = wanted.pop(key)
        (stored,) = struct.unpack_from("<q", data, place)
        if stored != count:
            raise ValueError(f"storage {key} has {stored} values, not {count}")
        storages[key] = np.frombuffer(data, dtype, count, place + 8)
        place += 8 + storages[key].nbytes
    if wanted or place != len(data):
        raise ValueError("storages are missing or left over")
    file.seek(start)
    return Unpickler(file, lambda key, dtype, count: storages[key]).load()


def _next(file: Any, storage: Storage) -> Any:
    files.check_pickle(file)
    return Unpickler(file, storage).load()
