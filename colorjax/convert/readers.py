"""Weight files as dicts of arrays that are mapped from the file, not held in memory."""

import hashlib
import json
import mmap
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from colorjax.convert import torch_legacy, torch_zip
from colorjax.errors import UserError, first_line

Tensors = dict[str, np.ndarray]

DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
WEIGHTS = [
    f"{stem}{variant}{end}"
    for variant in ("", ".fp16")
    for stem in ("diffusion_pytorch_model", "model", "pytorch_model")
    for end in (".safetensors", ".safetensors.index.json", ".bin")
]
MOST_LAYERS = 4  # of a state_dict in a state_dict; a file's may hold itself
MAX_HEADER = 100 * 2**20


def read(path: Path) -> Tensors:
    """Reads the tensors of a `.safetensors` file, of its `.index.json`, or of a PyTorch file.

    Of a training checkpoint only the `state_dict` counts. A file that a `SHA256SUMS` beside it
    lists is checked.

    Raises:
        UserError: a missing, damaged or refused file.
    """
    if not path.is_file():
        raise UserError(f"'{path}' does not exist, or is no file")
    check_sum(path)
    if path.name.endswith(".index.json"):
        return _read_shards(path)
    if torch_zip.is_zip(path):
        return _state_dict(path, torch_zip.read_zip(path))
    if torch_legacy.is_legacy(path):
        return _state_dict(path, torch_legacy.read_legacy(path))
    if path.suffix in (".ckpt", ".pt", ".pth", ".bin"):
        raise UserError(f"'{path}' is damaged or no PyTorch file: it starts like none")
    return read_safetensors(path)


def read_safetensors(path: Path) -> Tensors:
    """Reads a safetensors file.

    Raises:
        UserError: it is not whole, or its header contradicts itself.
    """
    try:
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        (length,) = struct.unpack_from("<Q", data)
        if length > min(MAX_HEADER, len(data) - 8):
            raise ValueError("the header is cut off")
        header = json.loads(data[8 : 8 + length])
        header.pop("__metadata__", None)
        end = 8 + length
        tensors = {}
        for key, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            start, stop = (8 + length + int(offset) for offset in entry["data_offsets"])
            shape = tuple(int(n) for n in entry["shape"])
            dtype = DTYPES[entry["dtype"]]
            count = int(np.prod(shape, dtype=object))
            if start != end or stop - start != count * dtype.itemsize or min((0, *shape)) < 0:
                raise ValueError(f"the place of {key!r} cannot be")
            if stop > len(data):
                raise ValueError("it is cut off")
            tensors[key] = np.frombuffer(data, dtype, count, start).reshape(shape)
            end = stop
        if end != len(data):
            raise ValueError("it holds more than its header says")
    except (OSError, *torch_zip.DAMAGE) as error:
        raise UserError(
            f"'{path}' is damaged or no safetensors file ({first_line(error)})"
        ) from error
    return tensors


def _read_shards(index: Path) -> Tensors:
    """One model in several files: the index says which key is where, and must be right."""
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(v, str) for v in places.values()):
        raise UserError(f"'{index}' has no weight_map of keys to file names")
    tensors: Tensors = {}
    for name in sorted(set(places.values())):
        if not re.fullmatch(r"[\w.-]+", name) or not (index.parent / name).is_file():
            raise UserError(f"'{index}' names the file {name!r}, which is not there")
        shard = read(index.parent / name)
        wanted = {key for key, place in places.items() if place == name}
        if set(shard) != wanted:
            odd = sorted(set(shard) ^ wanted)[0]
            raise UserError(f"'{index}' and its file {name!r} disagree about {odd!r}")
        tensors |= shard
    return tensors


def _state_dict(path: Path, content: Any) -> Tensors:
    for _ in range(MOST_LAYERS):
        if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
            content = content["state_dict"]
    if not isinstance(content, Mapping):
        raise UserError(f"'{path}' holds no state dict but a {type(content).__name__}")
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, np.ndarray):
            raise UserError(f"'{path}' has an entry {str(key)[:80]!r} that is no tensor")
    return dict(content)


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object; raises `UserError` for anything else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"'{path}' cannot be read ({first_line(error)})") from error
    if not isinstance(value, dict):
        raise UserError(f"'{path}' holds no JSON object")
    return value


def check_sum(path: Path) -> None:
    """Compares a file with the line of `SHA256SUMS` beside it, if there is one."""
    sums = path.parent / "SHA256SUMS"
    if not sums.is_file():
        return
    for line in sums.read_text(encoding="utf-8", errors="replace").splitlines():
        digest, _, name = line.partition(" ")
        if name.strip(" *") == path.name:
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != digest.lower():
                    raise UserError(f"'{path}' does not match SHA256SUMS: it is damaged")


def weights_file(folder: Path) -> Path:
    """The first weights file that transformers or diffusers would write there."""
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise UserError(f"'{folder}' has no weights such as {WEIGHTS[0]} or {WEIGHTS[3]}")
