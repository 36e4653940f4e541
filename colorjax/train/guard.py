"""What keeps one bad batch from spoiling a run: a step without usable numbers is left out.

A batch of broken pictures, or an overflow in bfloat16, gives a gradient that is not finite; Adam's
moments would carry it into every later step. So such a step changes no weight. Many of them in a
row are another matter: then the run itself is broken, and it ends.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from colorjax.errors import UserError
from colorjax.maths.types import Array

SETTLE_STEPS = 100  # good steps until the running average of the gradient's norm says anything

Metrics = dict[str, Float[Array, ""]]


class Guard(NamedTuple):
    """Counts over a whole run, part of its state; checkpoints know the leaves by these names."""

    skipped: Int[Array, ""]  # steps left out
    in_a_row: Int[Array, ""]  # steps left out since the last good one
    longest: Int[Array, ""]  # the most that ever were left out in a row
    taken: Int[Array, ""]  # good steps
    norm: Float[Array, ""]  # running average of the gradient's norm over the good steps

    def counts(self) -> dict[str, Int[Array, ""]]:
        """What the metrics tell of it.

        A row may begin and end between two steps whose metrics are written; `longest` tells of it.
        """
        return {
            "skipped": self.skipped,
            "skipped_in_a_row": self.in_a_row,
            "longest_skipped_in_a_row": self.longest,
        }


def unused() -> Guard:
    """The guard of a run that has made no step."""
    zero = jnp.zeros((), jnp.int32)
    return Guard(skipped=zero, in_a_row=zero, longest=zero, taken=zero, norm=jnp.zeros(()))


def is_good(
    guard: Guard, metrics: Metrics, spike_factor: float = 0.0, settle_steps: int = SETTLE_STEPS
) -> Bool[Array, ""]:
    """Whether a step with these metrics may change the weights.

    All metrics must be finite. With a `spike_factor`, `gradient_norm` must also be at most so many
    times its running average, as soon as `settle_steps` good steps have made that average.
    """
    good = jnp.all(jnp.isfinite(jnp.stack([jnp.asarray(value) for value in metrics.values()])))
    if spike_factor:
        average_unknown = guard.taken < settle_steps
        good &= average_unknown | (metrics["gradient_norm"] <= spike_factor * guard.norm)
    return good


def after(guard: Guard, good: Bool[Array, ""], norm: Float[Array, ""]) -> Guard:
    """The counts after a step that was good or not, with the norm of its gradient."""
    in_a_row = jnp.where(good, 0, guard.in_a_row + 1)
    # A plain mean at first, an exponential one over about a hundred steps later.
    share = jnp.maximum(0.01, 1.0 / (1.0 + guard.taken))
    return Guard(
        skipped=guard.skipped + ~good,
        in_a_row=in_a_row,
        longest=jnp.maximum(guard.longest, in_a_row),
        taken=guard.taken + good,
        norm=jnp.where(good, guard.norm + share * (norm - guard.norm), guard.norm),
    )


class Row:
    """Ends a run of which too many steps in a row were left out.

    Every step is looked at, but only when the next one is on its way: the device would otherwise
    wait for the host. Rows are counted from this start on, so that one which has ended a run does
    not end the next one at once.
    """

    def __init__(self, first: int, most: int, advice: str) -> None:
        """Of a run that stands at step `first`.

        Args:
            most: so many steps in a row are too many; 0 for no bound.
            advice: how to go on with other settings, for the message.
        """
        self._first, self._most, self._advice = first, most, advice
        self._last: tuple[int, Any] | None = None

    def after(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Takes the metrics of a step that was just begun, with `Guard.counts`.

        Raises:
            UserError: with the step before they were too many.
        """
        self.check()
        self._last = step, metrics["skipped_in_a_row"]

    def check(self) -> None:
        """Waits for the last step.

        Raises:
            UserError: with it they were too many.
        """
        if self._last is None:
            return
        (step, in_a_row), self._last = self._last, None
        row = min(int(in_a_row), step - self._first)
        if row >= self._most > 0:
            raise UserError(
                f"{row} steps in a row up to step {step} gave no finite loss and gradient, or a "
                "spike, and were left out: the weights are as before them. Look at the data, or go "
                f"on from the last checkpoint with a lower learning rate: {self._advice}"
            )
