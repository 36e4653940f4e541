"""Pictures that are computed row by row when they are asked for, and never whole."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

Shape = tuple[int, ...]
_STRIP_PIXELS = 1 << 17  # stays in the cache


class Rows:
    """An array of rows that has not been computed: slices of it are, each time anew.

    A photograph's file has one byte a pixel and channel; what is made of it has four, and again
    four. Of a large one only the first is kept.

    Attributes:
        kept: how many bytes it keeps in memory.
    """

    def __init__(
        self,
        shape: Shape,
        dtype: DTypeLike,
        compute: Callable[[slice], np.ndarray],
        kept: int,
    ) -> None:
        """`compute` gives the rows of a slice with both ends, of step 1."""
        self.shape, self.dtype, self.kept = shape, np.dtype(dtype), kept
        self._compute = compute

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, step = rows.indices(len(self))
        if step != 1:
            raise IndexError(f"rows come one after another, not by steps of {step}")
        return self._compute(slice(start, stop))

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("the rows are not in memory: they can only be copied there")
        result = np.empty(self.shape, self.dtype if dtype is None else dtype)
        for strip in strips(*self.shape[:2]):
            result[strip] = self[strip]
        return result

    @property
    def size(self) -> int:
        """The number of its values."""
        return int(np.prod(self.shape))

    def mapped(self, change: Callable[[np.ndarray], Any], shape: Shape | None = None) -> "Rows":
        """What a function makes of any rows, one of floats, of this shape or another one."""

        def compute(rows: slice) -> np.ndarray:
            changed: np.ndarray = change(self[rows])
            return changed

        return Rows(shape or self.shape, np.float32, compute, self.kept)


def strips(height: int, width: int) -> Iterator[slice]:
    """Slices of rows, from the top to the bottom, so few that they stay in the cache."""
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))
