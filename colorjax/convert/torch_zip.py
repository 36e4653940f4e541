"""PyTorch's zip files (`.ckpt`, `.pt`, `.bin`) without PyTorch, and without trusting them.

Such a file is a zip archive of `NAME/data.pkl`, a pickle of containers, and `NAME/data/N`, the raw
storages that its tensors are views of. A pickle can name any function to be called; here only the
few below exist, and any other name is refused when it is read, before anything can call it.
"""

import collections
import math
import mmap
import pickle
import re
import struct
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from colorjax import files
from colorjax.errors import UserError, first_line

STORAGES = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}
CONTAINERS: dict[tuple[str, str], type] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
    ("torch", "Size"): tuple,
}
# Lightning keys its callbacks' states by their classes: as plain text they cannot be called.
LABELS = r"pytorch_lightning\.callbacks\.[\w.]+"
MAX_PICKLE = 256 * 2**20
MAX_WORD = 100
LOCAL_HEADER = struct.Struct("<4s22xHH")
DAMAGE = (
    zipfile.BadZipFile,
    pickle.UnpicklingError,
    struct.error,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RecursionError,
    RuntimeError,
    TypeError,
    ValueError,
)


Storage = Callable[[str, np.dtype, int], np.ndarray]  # key, type and length to values


class Refused(Exception):
    """The pickle names something that is neither a tensor nor a container."""


def is_zip(path: Path) -> bool:
    """Whether a file begins as a zip archive."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def read_zip(path: Path) -> Any:
    """What was saved, its tensors as read-only arrays that are mapped from the file.

    Raises:
        UserError: a damaged file, or one that wants more than tensors and containers.
    """
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            return _load(archive, file)
    except Refused as refusal:
        raise refused(path, refusal) from None
    except DAMAGE as error:
        raise damaged(path, error) from error


def refused(path: Path, refusal: Refused) -> UserError:
    """The error of a file whose pickle wants more than tensors and containers."""
    return UserError(
        f"'{path}' is refused: its pickle asks for {refusal}, and only tensors and containers are "
        "read; nothing of it was run"
    )


def damaged(path: Path, error: Exception) -> UserError:
    """The error of a file that cannot be read to its end."""
    return UserError(
        f"'{path}' is damaged or no PyTorch file ({type(error).__name__}: {first_line(error)})"
    )


def _load(archive: zipfile.ZipFile, file: BinaryIO) -> Any:
    members = {info.filename: info for info in archive.infolist()}
    pickles = [name for name in members if re.fullmatch(r"([^/]+/)?data\.pkl", name)]
    if len(pickles) != 1:
        raise ValueError(f"{len(pickles)} members are called data.pkl")
    folder = pickles[0].removesuffix("data.pkl")
    if members[pickles[0]].file_size > MAX_PICKLE:
        raise ValueError("the pickle is too long")
    order = members.get(f"{folder}byteorder")
    if order is not None and (
        order.file_size > MAX_WORD or archive.read(order).strip() != b"little"
    ):
        raise ValueError("the bytes are not in little-endian order")
    data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def storage(key: str, dtype: np.dtype, count: int) -> np.ndarray:
        info = members[f"{folder}data/{key}"]
        if info.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"storage {key} is compressed")
        # The directory at the archive's end tells where the header is, not how long it is.
        magic, name, extra = LOCAL_HEADER.unpack_from(data, info.header_offset)
        start = info.header_offset + LOCAL_HEADER.size + name + extra
        if magic != b"PK\x03\x04" or start + info.file_size > len(data):
            raise ValueError(f"storage {key} is cut off")
        return np.frombuffer(data, dtype, info.file_size // dtype.itemsize, start)

    with archive.open(pickles[0]) as stream:
        files.check_pickle(stream)
        return Unpickler(stream, storage).load()


class Unpickler(pickle.Unpickler):
    """Knows two functions and a few classes; bound methods, so that no pickle can alter them."""

    def __init__(self, stream: Any, storage: Storage) -> None:
        super().__init__(stream, encoding="utf-8")
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in CONTAINERS:
            return CONTAINERS[module, name]
        if module == "torch._utils" and name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
            return self._tensor
        if module == "torch._utils" and name == "_rebuild_parameter":
            return self._parameter
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        if re.fullmatch(LABELS, f"{module}.{name}"):
            return f"{module}.{name}"
        raise Refused(f"'{module}.{name}'")

    def persistent_load(self, pid: Any) -> np.ndarray:
        kind, dtype, key, _, count = pid[:5]
        if len(pid) > 5 and pid[5] is not None:
            raise ValueError("a storage is a view of another")
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise ValueError(f"{kind!r} is no storage")
        values = self._storage(str(key), dtype, count)
        if not 0 <= count <= len(values):
            raise ValueError(f"storage {key} has {len(values)} values, not {count}")
        return values[:count]

    def _tensor(
        self,
        storage: np.ndarray,
        offset: int,
        shape: Sequence[int],
        strides: Sequence[int],
        *_: Any,
    ) -> np.ndarray:
        """A strided view, after making sure that it stays inside its storage."""
        numbers = (offset, *shape, *strides)
        if len(shape) != len(strides) or any(type(n) is not int or n < 0 for n in numbers):
            raise ValueError(f"a tensor of shape {shape} with strides {strides} cannot be")
        if 0 in shape:
            return np.empty(shape, storage.dtype)
        last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        if not isinstance(storage, np.ndarray) or storage.ndim != 1 or last >= len(storage):
            raise ValueError(f"a tensor of shape {shape} leaves its storage")
        if math.prod(shape) > len(storage):  # by strides of 0, which a copy would write out
            raise ValueError(f"a tensor of shape {shape} is more than its storage")
        return np.lib.stride_tricks.as_strided(
            storage[offset:],
            tuple(shape),
            tuple(step * storage.itemsize for step in strides),
            writeable=False,
        )

    def _parameter(self, tensor: np.ndarray, *_: Any) -> np.ndarray:
        return tensor
