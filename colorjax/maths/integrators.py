"""Sampling runs as values: what one step does, so that a run can be made whole or in pieces.

A run in pieces keeps a place for each picture. So pictures of one batch need not stand at the same
step: one can begin where another has ended, and each goes its own way as if it were alone.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Int

from colorjax.maths.types import Array, Latents

Carry = Any  # a tree of arrays whose first axis is the batch's
Rows = Any  # a tree of arrays whose first axis is the steps'


class Levels(NamedTuple):
    """Where latents z stand before each step, and after the last: z = scale (z_0 + sigma d).

    With the true d, which is the noise or the way back to gray, z / scale is a line in sigma.
    """

    scale: np.ndarray  # float32 [num_steps + 1]
    sigma: np.ndarray  # float32 [num_steps + 1], descending


class Integrator(NamedTuple):
    """A sampler of some steps, for a batch whose denoiser it knows.

    Attributes:
        rows: what each step reads; `step` gets one of them for each picture, of shape [b].
        levels: see `Levels`.
        start: the carry of the latents that a run begins with.
        step: a carry and rows to the next carry.
        latents: the latents of a carry.
        last: what is done in the last step's place, where that is another.
    """

    rows: Rows
    levels: Levels
    start: Callable[[Latents], Carry]
    step: Callable[[Carry, Rows], Carry]
    latents: Callable[[Carry], Latents]
    last: Callable[[Carry, Rows], Carry] | None = None

    @property
    def num_steps(self) -> int:
        """How many steps a run has."""
        return len(self.levels.sigma) - 1


def along_batch(numbers: Array) -> Array:
    """Shapes one number for each picture, or one for all, so that it broadcasts over latents."""
    return numbers[:, None, None, None] if numbers.ndim else numbers


def run(integrator: Integrator, latents: Latents) -> Latents:
    """A whole run: one piece of all steps, so that pieces round as it does."""
    places = jnp.zeros(len(latents), jnp.int32)
    carry, _ = advance(integrator, integrator.start(latents), places, integrator.num_steps)
    return integrator.latents(carry)


def advance(
    integrator: Integrator, carry: Carry, places: Int[Array, " b"], count: int
) -> tuple[Carry, Int[Array, " b"]]:
    """Takes each picture up to `count` steps further; a picture that is at the end stays there.

    Args:
        carry: of a run, see `Integrator.start`.
        places: how many steps each picture has behind it.
        count: static: a loop of unknown length XLA fuses otherwise, which rounds otherwise.
    """
    end = integrator.num_steps

    def onwards(_: Array, now: tuple[Carry, Array]) -> tuple[Carry, Array]:
        carry, places = now
        at = jnp.minimum(places, end - 1)
        rows = jax.tree.map(lambda column: jnp.asarray(column)[at], integrator.rows)
        ahead = _step(integrator, carry, rows, places == end - 1)
        goes = places < end
        return chosen(goes, ahead, carry), places + goes

    result: tuple[Carry, Array] = jax.lax.fori_loop(0, count, onwards, (carry, places))
    return result


def _step(integrator: Integrator, carry: Carry, rows: Rows, is_last: Bool[Array, " b"]) -> Carry:
    step, last = integrator.step, integrator.last
    if last is None:
        return step(carry, rows)
    # Where not all are at one step both are computed: XLA makes the estimate that they share once.
    ways = (
        step,
        lambda carry, rows: chosen(is_last, last(carry, rows), step(carry, rows)),
        last,
    )
    return jax.lax.switch(is_last.any().astype(int) + is_last.all(), ways, carry, rows)


def chosen(which: Array, new: Any, old: Any) -> Any:
    """For each picture the leaves of one tree or of the other; a number for all is the new one's.

    Args:
        which: bool [b].
    """

    def leaf(new: Array, old: Array) -> Array:
        if not jnp.ndim(new):
            return new
        return jnp.where(which.reshape(-1, *[1] * (jnp.ndim(new) - 1)), new, old)

    return jax.tree.map(leaf, new, old)


def extrapolated(
    integrator: Integrator,
    before: Latents,
    after: Latents,
    places: Int[Array, " b"],
    reached: Int[Array, " b"],
) -> Latents:
    """Where a run ends if it goes on as in its last piece: a line through two of its points.

    For one step of DDIM, or of Euler's method, this is the denoiser's own estimate of the end.

    Args:
        before: the latents at `places`.
        after: those at `reached`; at the end, or where nothing has moved, they are the result.
    """
    scale, sigma = map(jnp.asarray, integrator.levels)
    x_before = before / along_batch(scale[places])
    x_after = after / along_batch(scale[reached])
    way = sigma[places] - sigma[reached]
    left = jnp.where(way > 0, (sigma[reached] - sigma[-1]) / jnp.where(way > 0, way, 1.0), 0.0)
    end: Latents = scale[-1] * (x_after + along_batch(left) * (x_after - x_before))
    return jnp.where(along_batch(left > 0), end, after)
