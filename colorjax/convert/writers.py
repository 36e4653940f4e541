"""Weight files written one tensor at a time, so that a model never has to fit in memory."""

import json
import pickle
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import ml_dtypes
import numpy as np

from colorjax.convert.readers import DTYPES
from colorjax.convert.torch_zip import STORAGES

SAFETENSORS_NAMES = {dtype: name for name, dtype in DTYPES.items()}
STORAGE_NAMES = {dtype: name for name, dtype in STORAGES.items()}
CHUNK = 1 << 24


def write_safetensors(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes tensors, views of any layout, to a safetensors file in the mapping's order."""
    header: dict[str, dict] = {"__metadata__": {"format": "pt"}}  # transformers insists on it
    end = 0
    for key, tensor in tensors.items():
        dtype = _stored(tensor)
        start, end = end, end + tensor.size * dtype.itemsize
        name = SAFETENSORS_NAMES[dtype]
        header[key] = {"dtype": name, "shape": tensor.shape, "data_offsets": (start, end)}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors.values():
            file.writelines(_chunks(tensor))


def write_checkpoint(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes what `torch.save({"state_dict": tensors})` would, without PyTorch."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", b"".join(_pickle(tensors)))
        archive.writestr("archive/byteorder", "little")
        for number, tensor in enumerate(tensors.values()):
            info = zipfile.ZipInfo(f"archive/data/{number}")
            with archive.open(info, "w", force_zip64=True) as member:
                for chunk in _chunks(tensor):
                    member.write(chunk)
        archive.writestr("archive/version", "3\n")


def _stored(tensor: np.ndarray) -> np.dtype:
    """The type in the file, which is in little-endian order."""
    return tensor.dtype if tensor.dtype == ml_dtypes.bfloat16 else tensor.dtype.newbyteorder("<")


def _chunks(tensor: np.ndarray) -> Iterator[memoryview]:
    flat = np.ascontiguousarray(tensor, _stored(tensor)).reshape(-1).view(np.uint8)
    for start in range(0, len(flat), CHUNK):
        yield flat[start : start + CHUNK].data


def _pickle(tensors: Mapping[str, np.ndarray]) -> Iterator[bytes]:
    """Protocol 2 by hand: `pickle` would have to import the functions that it names."""

    def name(module: str, attribute: str) -> bytes:
        return b"c" + f"{module}\n{attribute}\n".encode()

    def value(item: str | int | bool | tuple) -> bytes:
        if isinstance(item, tuple):
            return b"(" + b"".join(value(part) for part in item) + b"t"
        if isinstance(item, str):
            text = item.encode()
            return b"X" + struct.pack("<I", len(text)) + text
        return pickle.dumps(item, 2)[2:-1]

    yield b"\x80\x02}(" + value("state_dict") + name("collections", "OrderedDict") + b")R("
    for number, (key, tensor) in enumerate(tensors.items()):
        kind = name("torch", STORAGE_NAMES[_stored(tensor)])
        strides = tuple(int(np.prod(tensor.shape[i + 1 :])) for i in range(tensor.ndim))
        storage = value("storage") + kind + value(str(number)) + value("cpu") + value(tensor.size)
        yield value(key) + name("torch._utils", "_rebuild_tensor_v2")
        yield b"((" + storage + b"tQ" + value(0) + value(tensor.shape) + value(strides)
        yield value(False) + name("collections", "OrderedDict") + b")Rt" + b"R"
    yield b"uu."
