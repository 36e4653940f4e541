"""A release's parts: trees of arrays out of safetensors files, compared with a model's shapes.

A safetensors file begins with the names, types and shapes of its tensors, and their bytes fill the
rest of it exactly. So what does not belong to a model is refused before a tensor of it is read.
"""

import functools
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from colorjax.errors import UserError, first_line
from colorjax.maths.types import Params
from colorjax.release import sums

ADVICE = "get the release again, or convert or train it again"
# The types that weights have; a file of others could be many times as large in memory.
_TYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_ODD_HEADER = (AttributeError, LookupError, TypeError, ValueError)
_MOST_OF_A_NUMBER = 8  # bytes, as float64
_MOST_BESIDE = 64 * 2**20  # bytes of a file's header, and of leaves that a model need not have


@runtime_checkable
class Expected(Protocol):
    """What files have to be, so far as their sizes and the shapes in them tell."""

    @property
    def what(self) -> str:
        """How a message calls them."""

    @property
    def most_bytes(self) -> int:
        """What they can have together."""

    def check(self, *parts: Params) -> Params:
        """Raises `UserError` for trees, or their shapes, that are another model's."""


class Model(NamedTuple):
    """What files have to be parts of.

    Attributes:
        expected: the model's own parameters, or their shapes.
        what: how a message calls the parts.
        assemble: makes a tree like `expected` of those of the parts, in their order.
        may_lack: as `conform` has it.
    """

    expected: Params
    what: str
    assemble: Callable[..., Params] = lambda tree: tree
    may_lack: str = "^$"

    @property
    def most_bytes(self) -> int:
        """What its files can have at the most."""
        numbers = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(self.expected))
        return _MOST_OF_A_NUMBER * numbers + _MOST_BESIDE

    def check(self, *parts: Params) -> Params:
        """The parts' trees as one, or their shapes, as `conform` checks and completes them."""
        return conform(self.expected, self.assemble(*parts), self.what, self.may_lack)


def read_part(
    directory: Path, part: str, dtype: Any = np.float32, model: Expected | None = None
) -> Params:
    """One part's tree, checked against the checksums.

    Vectors, as norms and biases are, stay float32 in a model that is read as something narrower.

    It is read leaf by leaf: a model read as bfloat16 is never in memory as float32.

    Args:
        model: refuses the file before it is read if it is another model's.

    Raises:
        UserError: a missing or damaged file, or one of another model.
    """
    return _read(_checked(directory, [part], model)[0], dtype)


def read_model(
    directory: Path,
    parts: Sequence[str],
    expected: Params,
    what: str,
    *,
    assemble: Callable[..., Params] = lambda tree: tree,
    dtype: Any = np.float32,
    may_lack: str = "^$",
) -> Params:
    """Parts as one model's parameters, refused before they are read if they are another model's.

    Args:
        expected: and the others as `Model` has them.

    Raises:
        UserError: a missing or damaged file, or one of another model.
    """
    model = Model(expected, what, assemble, may_lack)
    paths = _checked(directory, parts, model)
    return model.check(*map(functools.partial(_read, dtype=dtype), paths))


def check_size(directory: Path, parts: Sequence[str], model: Expected) -> None:
    """Looks whether a model's files have as much as it can have, whatever is in them.

    What is larger is not even compared with its checksum: whoever made both may have made them of
    terabytes, which cost nothing where they are a hole in the file.

    Raises:
        UserError: they have more.
    """
    paths = [_file(directory, part) for part in parts]
    size = sum(path.stat().st_size for path in paths)
    if size > model.most_bytes:
        model.check(*map(_shapes, paths))  # which can say what there is too much of
        raise UserError(
            f"{model.what} has {size / 1e6:,.0f} MB, and such a model at most "
            f"{model.most_bytes / 1e6:,.0f} MB; {ADVICE}"
        )


def _checked(directory: Path, parts: Sequence[str], model: Expected | None) -> list[Path]:
    """The files of parts, which are as the checksums say, and a model's."""
    if model is not None:
        check_size(directory, parts, model)
    paths = [_file(directory, part) for part in parts]
    for path in paths:
        sums.check(directory, path.name)
    if model is not None:
        model.check(*map(_shapes, paths))
    return paths


def _file(directory: Path, part: str) -> Path:
    path = directory / f"{part}.safetensors"
    if not path.is_file():
        raise UserError(
            f"'{directory}' has no part {part!r}; it has "
            f"{', '.join(sorted(sums.parts_in(directory)))}"
        )
    return path


def _shapes(path: Path) -> Params:
    """The shapes and types of a file's leaves, by its header alone."""
    from safetensors import SafetensorError, safe_open

    flat = {}
    try:
        with safe_open(path, framework="np") as file:
            for key in file.keys():  # noqa: SIM118 (no mapping)
                leaf = file.get_slice(key)
                dtype = jax.numpy.dtype(_TYPES[leaf.get_dtype()])
                flat[key] = jax.ShapeDtypeStruct(tuple(leaf.get_shape()), dtype)
        return unflatten_dict(flat, sep="/")
    # A header may name types that weights have not, or a leaf that is a branch as well.
    except (SafetensorError, OSError, *_ODD_HEADER) as error:
        raise _no_part(path, error) from error


def _read(path: Path, dtype: Any) -> Params:
    from safetensors import SafetensorError, safe_open

    flat = {}
    try:
        for key in flatten_dict(_shapes(path), sep="/"):
            # Opened anew for each leaf, since what was read stays mapped until the file is closed.
            with safe_open(path, framework="np") as file:
                leaf = file.get_tensor(key)
                flat[key] = leaf.astype(dtype if leaf.ndim > 1 else np.float32, copy=False)
        return unflatten_dict(flat, sep="/")
    except (SafetensorError, OSError, *_ODD_HEADER) as error:
        raise _no_part(path, error) from error


def _no_part(path: Path, error: Exception) -> UserError:
    return UserError(f"'{path}' is not a part's safetensors file ({first_line(error)}); {ADVICE}")


def conform(expected: Params, params: Params, what: str, may_lack: str = "^$") -> Params:
    """Checks that parameters have the leaves and shapes of a model, and completes them.

    Args:
        expected: the model's own parameters, such as fresh ones, or their shapes.
        params: parameters from a file.
        what: how a message calls `params`.
        may_lack: a regex of the paths that `params` need not have; these come from `expected`.

    Raises:
        UserError: a leaf more, a leaf less or another shape, with all three lists.
    """
    ours, theirs = flatten_dict(expected, sep="/"), flatten_dict(params, sep="/")
    for key in ours.keys() & theirs:
        if ours[key].shape == () and theirs[key].shape == (1,):  # as scalars were once written
            leaf = theirs[key]
            is_shape = isinstance(leaf, jax.ShapeDtypeStruct)
            theirs[key] = ours[key] if is_shape else leaf.reshape(())
    faults = {
        "missing": [k for k in ours if k not in theirs and not re.search(may_lack, k)],
        "unknown": [k for k in theirs if k not in ours],
        "of another shape": [k for k in ours.keys() & theirs if ours[k].shape != theirs[k].shape],
    }
    if any(faults.values()):
        lists = (f"{name}: {_listed(sorted(keys))}" for name, keys in faults.items() if keys)
        raise UserError(f"{what} is of another model: {'; '.join(lists)}")
    return unflatten_dict(ours | theirs, sep="/")


def _listed(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
