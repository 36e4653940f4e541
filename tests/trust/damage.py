"""What goes wrong with bytes: each kind by random numbers, so that it can be made again."""

from collections.abc import Callable

import numpy as np

Damage = Callable[[bytearray, np.random.Generator], None]


def _bits(data: bytearray, rng: np.random.Generator) -> None:
    for _ in range(int(rng.integers(1, 5))):
        data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))


def _bytes(data: bytearray, rng: np.random.Generator) -> None:
    for _ in range(int(rng.integers(1, 9))):
        data[rng.integers(len(data))] = int(rng.choice([0, 1, 127, 128, 255, rng.integers(256)]))


def _head(data: bytearray, rng: np.random.Generator) -> None:
    """The first bytes, where sizes and offsets are."""
    for _ in range(int(rng.integers(1, 4))):
        data[rng.integers(min(len(data), 200))] = int(rng.integers(256))


def _number(data: bytearray, rng: np.random.Generator) -> None:
    """A number of four bytes that is larger than what it counts."""
    at = int(rng.integers(max(1, len(data) - 4)))
    value = int(rng.choice([0, 1, 2**16, 2**31 - 1, 2**31, 2**32 - 1]))
    data[at : at + 4] = value.to_bytes(4, "big" if rng.integers(2) else "little")


def _cut(data: bytearray, rng: np.random.Generator) -> None:
    del data[int(rng.integers(len(data))) :]


def _gone(data: bytearray, rng: np.random.Generator) -> None:
    first, last = _piece(data, rng)
    del data[first:last]


def _twice(data: bytearray, rng: np.random.Generator) -> None:
    first, last = _piece(data, rng)
    data[last:last] = data[first:last]


def _zeros(data: bytearray, rng: np.random.Generator) -> None:
    first, last = _piece(data, rng)
    data[first:last] = bytes(last - first)


def _more(data: bytearray, rng: np.random.Generator) -> None:
    data += rng.bytes(int(rng.integers(1, 2000)))


def _piece(data: bytearray, rng: np.random.Generator) -> tuple[int, int]:
    first = int(rng.integers(len(data)))
    return first, min(len(data), first + int(rng.integers(1, 400)))


KINDS: tuple[Damage, ...] = (_bits, _bytes, _head, _number, _cut, _gone, _twice, _zeros, _more)


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """The bytes gone wrong in one way, or in two."""
    result = bytearray(data)
    for _ in range(int(rng.integers(1, 3))):
        if result:
            KINDS[int(rng.integers(len(KINDS)))](result, rng)
    return bytes(result)
