"""Pickles of NumPy arrays in containers, read without running anything they bring.

Flax weights are often shared so. A pickle is a program that may call any function by name; here
it may name only what `_allowed` lists, and gets stand-ins instead of NumPy's own functions.
"""

import io
import math
import pickle
import re
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from colorjax import files
from colorjax.errors import UserError, first_line

_NUMBERS = re.compile(r"b1|[iu][1248]|f[248]")
Buffer = bytes | bytearray
_MOST_VALUES, _MOST_LEVELS = 1_000_000, 100  # a large model has thousands of arrays
_DAMAGE = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RecursionError,
    struct.error,
    TypeError,
    ValueError,
)


class _NumberType:
    """A pickled `numpy.dtype`: its code, and the byte order that follows as its state."""

    def __init__(self, code: str, *_: Any) -> None:
        if not _NUMBERS.fullmatch(code):
            raise ValueError(f"arrays of type {code!r}")
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple) -> None:
        if state[1] not in ("<", ">", "|", "="):
            raise ValueError(f"byte order {state[1]!r}")
        self.order = state[1]

    def numpy(self) -> np.dtype:
        return np.dtype(self.order + self.code)


class _PickledArray:
    """A pickled `numpy.ndarray`: an empty one whose shape, type and bytes follow as its state.

    NumPy's own `__setstate__` is C code not made for hostile states.
    """

    value: np.ndarray

    def __setstate__(self, state: tuple) -> None:
        _, shape, number_type, fortran, data = state
        self.fill(data, number_type, shape, fortran)

    def fill(self, data: Buffer, number_type: _NumberType, shape: tuple, fortran: bool) -> None:
        if not isinstance(number_type, _NumberType) or not isinstance(data, Buffer):
            raise TypeError("an array without numbers")
        kind = number_type.numpy()
        if math.prod(shape) * kind.itemsize != len(data):
            raise ValueError(f"{len(data)} bytes for an array of shape {shape}")
        self.value = np.ndarray(shape, kind, bytes(data), order="F" if fortran else "C")


def _from_buffer(data: Buffer, number_type: _NumberType, shape: tuple, order: str) -> _PickledArray:
    """How protocol 5 spells an array."""
    array = _PickledArray()
    array.fill(data, number_type, shape, order == "F")
    return array


def _latin1(text: str, _: str) -> bytes:
    """Protocols before 3 spell bytes as text."""
    return text.encode("latin1")


def _allowed(module: str, name: str) -> Any:
    """The stand-in for a global that is harmless; None for every other."""
    module = re.sub(r"^numpy\.(_?)core\.", "numpy.core.", module)
    return {
        ("numpy.core.multiarray", "_reconstruct"): lambda *_: _PickledArray(),
        ("numpy.core.numeric", "_frombuffer"): _from_buffer,
        ("numpy", "ndarray"): lambda: None,  # the first argument of _reconstruct, never called
        ("numpy", "dtype"): _NumberType,
        ("_codecs", "encode"): _latin1,
        ("__builtin__", "bytes"): lambda: b"",  # how protocols before 3 spell no bytes
        ("collections", "OrderedDict"): OrderedDict,
        ("flax.core.frozen_dict", "FrozenDict"): dict,
    }.get((module, name))


class ArrayUnpickler(pickle.Unpickler):
    """Resolves the globals of `_allowed`; refuses every other by its name."""

    def find_class(self, module: str, name: str) -> Any:
        stand_in = _allowed(module, name)
        if stand_in is None:
            raise UserError(
                f"the pickle asks for '{module}.{name}': only arrays and containers are read, "
                "since other pickles can run any code. Get the weights as safetensors."
            )
        # A fresh function: a pickle can set attributes of what it names, and would keep them set.
        return lambda *arguments: stand_in(*arguments)


def _plain(value: Any, above: tuple[int, ...] = (), budget: list[int] | None = None) -> Any:
    """The same containers with arrays in place of the stand-ins.

    Args:
        above: the containers that this one is in.
        budget: how many values there may be yet. A pickle of a hundred bytes can hold one list
            twice in another, and so on, which written out is more than any memory.
    """
    budget = [_MOST_VALUES] if budget is None else budget
    budget[0] -= 1
    if budget[0] < 0 or len(above) > _MOST_LEVELS or id(value) in above:
        raise ValueError("its containers hold too much, or themselves")
    if isinstance(value, _PickledArray):
        return value.value
    within = (*above, id(value))
    if isinstance(value, dict):
        return {key: _plain(item, within, budget) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(item, within, budget) for item in value)
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return value
    raise TypeError(f"a value of type {type(value).__name__}")


def load(file: io.BufferedIOBase, name: str) -> Any:
    """What an open pickle holds; `name` is for messages. Arrays are read-only.

    Raises:
        UserError: a damaged file, or one that names anything but arrays and containers.
    """
    try:
        files.check_pickle(file)
        return _plain(ArrayUnpickler(file).load())
    except UserError as error:
        raise UserError(f"'{name}' is refused: {error}") from None
    except _DAMAGE as error:
        raise UserError(
            f"'{name}' is not a whole pickle of arrays ({first_line(error)})"
        ) from error


def read(path: Path) -> Any:
    """What a pickle holds: nested dictionaries, lists and tuples of arrays.

    Raises:
        UserError: see `load`.
    """
    try:
        with path.open("rb") as file:
            return load(file, str(path))
    except OSError as error:
        raise UserError(f"'{path}' cannot be read ({first_line(error)})") from error
