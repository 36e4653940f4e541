"""What a checkpoint is compared with: the SHA-256, type and shape of every leaf of a state."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from colorjax.devices import processes, sharding

Manifest = dict[str, list[Any]]  # path of a leaf -> its SHA-256, type and shape


def leaves(tree: Any) -> Iterator[tuple[str, Any]]:
    """The leaves of a tree with their paths, as `params/conv_in/kernel`."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        yield sharding.path_name(path), leaf


def kind(leaf: Any) -> list[Any]:
    """Type and shape of a leaf, as JSON gives them back."""
    return [str(leaf.dtype), list(leaf.shape)]


def of(tree: Any) -> Manifest:
    """SHA-256, type and shape of every leaf of a tree, whatever mesh it lies on.

    Each leaf is brought to the host alone and hashed while the next one comes, so that the memory
    of a few leaves is enough. With several processes all take part and process 0 alone has the
    digests.
    """
    first = processes.is_first()
    with ThreadPoolExecutor(4) as pool:
        rows: list[tuple[str, Any, Future[str] | None]] = []
        for path, leaf in leaves(tree):
            whole = sharding.to_host(leaf, keep=first)
            rows.append((path, leaf, pool.submit(_digest, whole) if first else None))
            if len(rows) > 8 and (earlier := rows[-8][2]) is not None:
                earlier.result()
        return {p: [d.result() if d else "", *kind(leaf)] for p, leaf, d in rows}


def _digest(array: np.ndarray) -> str:
    # The bytes of a contiguous view, without a copy; some types, as bfloat16, have no buffer.
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return hashlib.sha256(flat.data).hexdigest()


def checksum(digests: Manifest) -> str:
    """One SHA-256 over all leaves of a manifest: equal states, equal text."""
    lines = "".join(f"{path} {' '.join(map(str, row))}\n" for path, row in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()
