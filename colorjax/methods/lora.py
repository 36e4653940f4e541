"""Low-rank adapters of the UNet's and the text encoder's matrices (LoRA, Hu et al. 2021).

A matrix W that is adapted becomes W + (alpha / rank) A B, Eq. 3 of the paper, with A of `rank`
columns and B of as many rows. A convolution's kernel is adapted as the matrix of its patches, so
that A is a convolution to `rank` channels and B one of a pixel. A tree of adapters has A as `down`
and B as `up` under a part and the path of a kernel; on the disk alpha / rank stands beside them.
"""

import math
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from colorjax import release
from colorjax.errors import UserError
from colorjax.maths.types import Params, PRNGKey

PART, SCALE = "lora", "scale"  # of a release, where several are lora_NAME; and a leaf of it
_NAME = re.compile(f"{PART}(_.+)?")
PARTS = ("unet", "cold_unet", "distilled_unet", "text_encoder")  # that can have adapters


class Adapter(NamedTuple):
    """Adapters on the disk, and how strongly they act."""

    path: Path
    weight: float = 1.0


def init(key: PRNGKey, params: Params, rank: int, targets: Collection[str]) -> Params:
    """Adapters that change nothing yet: A is random, B is zero.

    Args:
        params: parts by name.
        targets: regexes; a kernel is adapted if one of them matches its whole path, such as
            "unet/down_blocks_0/attentions_0/transformer_blocks_0/attn1/to_q/kernel".

    Raises:
        UserError: a target matches no kernel.
    """
    flat = {path: leaf for path, leaf in _flat(params).items() if _fits(path, leaf)}
    for target in targets:
        if not any(re.fullmatch(target, path) for path in flat):
            raise UserError(
                f"the LoRA target {target!r} matches no kernel; paths look like {min(flat)!r}"
            )
    chosen = sorted(path for path in flat if any(re.fullmatch(t, path) for t in targets))
    adapters = {}
    for path, own in zip(chosen, jax.random.split(key, len(chosen)), strict=True):
        shape = flat[path].shape
        fan_in = np.prod(shape[:-1])
        adapters[f"{path}/down"] = jax.random.normal(own, (*shape[:-1], rank)) * fan_in**-0.5
        adapters[f"{path}/up"] = jnp.zeros((rank, shape[-1]))
    tree: Params = unflatten_dict(adapters, sep="/")  # type: ignore[no-untyped-call]
    return tree


def _flat(tree: Params) -> dict[str, Any]:
    flat: dict[str, Any] = flatten_dict(tree, sep="/")  # type: ignore[no-untyped-call]
    return flat


def _fits(path: str, leaf: Any) -> bool:
    return path.split("/")[0] in PARTS and path.endswith("/kernel") and leaf.ndim > 1


def applied(params: Params, adapters: Params, scale: float) -> Params:
    """Parts with `scale` times the products of adapters added to their matrices.

    Those of a part that is not there are left out: a cold UNet's are nothing to L-CAD.

    Raises:
        UserError: an adapter is of another model.
    """
    flat = _flat(params)
    for path, down, up in _pairs(params, adapters):
        change = scale * jnp.tensordot(down, up, 1)
        flat[path] = (flat[path] + change).astype(flat[path].dtype)
    tree: Params = unflatten_dict(flat, sep="/")  # type: ignore[no-untyped-call]
    return tree


def _pairs(params: Params, adapters: Params) -> Iterator[tuple[str, Any, Any]]:
    """The path, A and B of each adapter of a part that is there; raises as `applied` does."""
    flat, changes = _flat(params), _flat(adapters)
    present = {path: leaf for path, leaf in changes.items() if path.split("/")[0] in params}
    for path in sorted({path.rsplit("/", 1)[0] for path in present}):
        down, up = (present.pop(f"{path}/{leaf}", None) for leaf in ("down", "up"))
        if down is None or up is None or up.ndim != 2 or down.shape[-1:] != up.shape[:1]:
            raise UserError(f"'{path}' of a LoRA is no adapter; {release.ADVICE}")
        shape = (*down.shape[:-1], up.shape[-1])
        if path not in flat or flat[path].shape != shape:
            has = flat[path].shape if path in flat else "none"
            raise UserError(
                f"a LoRA adapter is of another model: it changes '{path}' of shape {shape}, and "
                f"this model has {has}"
            )
        yield path, down, up
    if present:
        raise UserError(f"'{min(present)}' of a LoRA is no adapter; {release.ADVICE}")


class _Expected(NamedTuple):
    """What a file of adapters for these parts can hold; see `release.Model`."""

    params: Params
    what: str

    @property
    def most_bytes(self) -> int:
        # A pair whose rank is a matrix's smaller side is at most twice that matrix.
        return 2 * release.Model(self.params, self.what).most_bytes

    def check(self, *parts: Params) -> Params:
        (tree,) = parts
        if math.prod(getattr(tree.get(SCALE), "shape", (0,))) != 1:
            raise UserError(f"{self.what} holds no LoRA: it lacks the leaf {SCALE!r}")
        for _ in _pairs(self.params, tree):
            pass
        return tree


def with_adapters(params: Params, text: str) -> Params:
    """Parameters changed by the adapters that the setting `lora` names, see `parse`.

    Raises:
        UserError: they are not there, are damaged or are of another model.
    """
    for adapter in parse(text):
        tree = read(adapter, params)
        params = applied(params, tree, adapter.weight * float(tree[SCALE]))
    return params


def parse(text: str) -> list[Adapter]:
    """PATH or PATH:WEIGHT, several between commas.

    Raises:
        UserError: a path does not exist.
    """
    adapters = []
    for one in filter(None, text.split(",")):
        path, colon, weight = one.rpartition(":")
        numbered = colon and _is_number(weight)
        adapter = Adapter(Path(path), float(weight)) if numbered else Adapter(Path(one))
        if not adapter.path.exists():
            raise UserError(
                f"lora: '{adapter.path}' does not exist; give a release that has a LoRA, or the "
                "file lora.safetensors of one, and its strength after a colon: PATH:0.8"
            )
        adapters.append(adapter)
    return adapters


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def read(adapter: Adapter, params: Params) -> Params:
    """The tree of adapters of a release, or of one of its files, with their `SCALE`.

    Args:
        params: of the model that they are for. What does not fit is not read.

    Raises:
        UserError: there is none, or a damaged one, or it is of another model.
    """
    path, parts = adapter.path, [adapter.path.stem]
    if path.is_dir():
        parts = sorted(part for part in release.parts_in(path) if _NAME.fullmatch(part))
        if len(parts) != 1:
            there = f"several, {', '.join(parts)}: give one of their files" if parts else "none"
            raise UserError(f"lora: '{path}' has {there}")
    expected = _Expected(params, f"lora: '{path}'")
    directory = path if path.is_dir() else path.parent
    return release.read_part(directory, parts[0], model=expected)
