"""Optimizers, trainable sets and the plain training step. Knows trees, not models."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Float, Int
from ml_collections import ConfigDict

from colorjax.devices import sharding
from colorjax.errors import UserError, one_of
from colorjax.maths.types import Array, Params, PRNGKey
from colorjax.train import guard
from colorjax.train.guard import Guard

Metrics = guard.Metrics
Loss = Callable[[Params, Params, Any, PRNGKey], tuple[Float[Array, ""], Metrics]]


class TrainState(NamedTuple):
    """What training changes, and so what a checkpoint holds."""

    step: Int[Array, ""]
    params: Params
    opt_state: optax.OptState
    ema: Params  # empty without averaging
    guard: Guard | None = None  # see `guarded`


Step = Callable[[TrainState, Params, Any, PRNGKey], tuple[TrainState, Metrics]]


def optimizer(options: ConfigDict, total_steps: int) -> optax.GradientTransformation:
    """Adam (AdamW with weight decay) under a warm-up and, by choice, a cosine decay to zero.

    Raises:
        UserError: an unknown `schedule`.
    """
    schedules = {
        # Without a step of warm-up optax's own would stay at 0 for ever.
        "constant": lambda: optax.schedules.join_schedules(
            [
                optax.schedules.linear_schedule(0.0, options.learning_rate, options.warmup_steps),
                optax.schedules.constant_schedule(options.learning_rate),
            ],
            [options.warmup_steps],
        ),
        "cosine": lambda: optax.schedules.warmup_cosine_decay_schedule(
            0.0,
            options.learning_rate,
            options.warmup_steps,
            max(total_steps, options.warmup_steps + 1),
        ),
    }
    one_of("schedule", options.schedule, schedules)
    rate = schedules[options.schedule]()
    adam = optax.adamw(rate, options.b1, options.b2, weight_decay=options.weight_decay)
    if options.clip_norm:
        return optax.chain(optax.clip_by_global_norm(options.clip_norm), adam)
    return adam


def separately(parts: dict[str, optax.GradientTransformation]) -> optax.GradientTransformation:
    """One optimizer for each top-level part of the parameters, with its own norms and moments."""
    return optax.partition(parts, {name: name for name in parts})


def split(params: Params, trainable: Sequence[str]) -> tuple[Params, Params]:
    """Trainable and frozen leaves: a leaf is trainable if any regex matches its whole path.

    Raises:
        UserError: a regex that matches no leaf.
    """
    flat = flatten_dict(params, sep="/")
    for pattern in trainable:
        if not any(re.fullmatch(pattern, path) for path in flat):
            raise UserError(
                f"the trainable pattern {pattern!r} matches no parameter; paths look like "
                f"{sorted(flat)[0]!r}"
            )
    chosen = trained(flat, trainable)
    return (
        unflatten_dict({path: flat[path] for path in flat if path in chosen}, sep="/"),
        unflatten_dict({path: flat[path] for path in flat if path not in chosen}, sep="/"),
    )


def trained(paths: Iterable[str], trainable: Sequence[str]) -> set[str]:
    """The paths that some regex matches."""
    return {path for path in paths if any(re.fullmatch(pattern, path) for pattern in trainable)}


def merge(one: Params, other: Params) -> Params:
    """The tree that `split` took apart."""
    return unflatten_dict(flatten_dict(one, sep="/") | flatten_dict(other, sep="/"), sep="/")


def create(params: Params, tx: optax.GradientTransformation, ema_decay: float) -> TrainState:
    """The state before the first step; with an `ema_decay`, the average begins as the weights."""
    ema = jax.tree.map(jnp.copy, params) if ema_decay else {}
    return TrainState(jnp.zeros((), jnp.int32), params, tx.init(params), ema)


def averaged(state: TrainState) -> Params:
    """The weights to use: the moving average where there is one."""
    return state.ema or state.params


def narrowed(tree: Any, dtype: Any) -> Any:
    """Kernels and tables in the compute type; vectors, as norms and biases, stay as they are.

    The layers would cast them at use: the numbers are the same, and half the bytes are moved.
    """
    narrow = jnp.dtype(dtype)
    return jax.tree.map(
        lambda leaf: leaf.astype(narrow) if leaf.ndim >= 2 and leaf.dtype == jnp.float32 else leaf,
        tree,
    )


def make_step(
    loss: Loss,
    tx: optax.GradientTransformation,
    ema_decay: float,
    accumulate: int = 1,
    dtype: Any = jnp.float32,
) -> Step:
    """One gradient step of `loss(params, frozen, batch, key)`, with an exponential moving average.

    The average warms up as TensorFlow's does: its decay is at most (1 + n) / (10 + n), so that the
    initial weights do not linger.

    Args:
        accumulate: parts that the batch is taken in, for the memory of one part.
        dtype: what the loss computes in; weights, their average and the moments stay float32.
    """

    def step(
        state: TrainState, frozen: Params, batch: Any, key: PRNGKey
    ) -> tuple[TrainState, Metrics]:
        value, metrics, grads = gradient(
            loss, state.params, frozen, batch, key, accumulate=accumulate, dtype=dtype
        )
        metrics = metrics | {"loss": value, "gradient_norm": optax.tree.norm(grads)}
        return updated(state, grads, tx, ema_decay), metrics

    return step


def updated(
    state: TrainState, grads: Params, tx: optax.GradientTransformation, ema_decay: float
) -> TrainState:
    """The state after an optimizer's step."""
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    ema = state.ema
    if ema_decay:
        decay = jnp.minimum(ema_decay, (1.0 + state.step) / (10.0 + state.step))
        ema = jax.tree.map(lambda e, p: e + (1.0 - decay) * (p - e), ema, params)
    return state._replace(step=state.step + 1, params=params, opt_state=opt_state, ema=ema)


def gradient(
    loss: Loss,
    params: Params,
    frozen: Params,
    batch: Any,
    key: PRNGKey,
    *,
    accumulate: int = 1,
    dtype: Any = jnp.float32,
) -> tuple[Float[Array, ""], Metrics, Params]:
    """Value, metrics and gradient, in float32, of a loss that is a mean over the batch.

    Weights are cast first and gathered then, once for all parts of the batch; so are frozen
    weights that a rule has sharded, which rematerialisation would else gather again. Part i of k
    holds the rows i, i + k, ... so that each device keeps its own rows, and has the key
    `fold_in(key, i)`.
    """
    frozen = sharding.gathered(frozen)
    whole = sharding.gathered(narrowed(params, dtype))

    def of_part(part: Any, key: PRNGKey) -> Any:
        return jax.value_and_grad(loss, has_aux=True)(whole, frozen, part, key)

    if accumulate == 1:
        (value, metrics), grads = of_part(batch, key)
        return value, metrics, jax.tree.map(lambda g, p: g.astype(p.dtype), grads, params)
    count = len(jax.tree.leaves(batch)[0])
    mean = optax.microbatching.Accumulator(
        init=lambda parts: jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, jnp.float32), parts),
        update=lambda total, part, _: jax.tree.map(
            lambda t, g: t + g.astype(jnp.float32) / accumulate, total, part
        ),
        finalize=lambda total: total,
        aggregate=lambda parts: parts,
    )
    in_parts = optax.microbatching.microbatch(
        # The first row of part i is row i of the batch.
        lambda part, row: of_part(part, jax.random.fold_in(key, row[0])),
        argnums=(0, 1),
        microbatch_size=count // accumulate,
        accumulator=mean,
    )
    (value, metrics), grads = in_parts(batch, jnp.arange(count))
    return value, metrics, grads


def watched(state: TrainState) -> TrainState:
    """The state with the counts that `guarded` keeps."""
    return state._replace(guard=guard.unused())


def guarded(step: Step, spike_factor: float = 0.0, settle_steps: int = guard.SETTLE_STEPS) -> Step:
    """A step that leaves everything but the counts bit-unchanged when its numbers are no good.

    See `guard.is_good` for what that means. The step number goes on, and with it the data.
    """

    def checked(
        state: TrainState, frozen: Params, batch: Any, key: PRNGKey
    ) -> tuple[TrainState, Metrics]:
        assert state.guard is not None, "the state of a guarded step is `watched`"
        after, metrics = step(state, frozen, batch, key)
        good = guard.is_good(state.guard, metrics, spike_factor, settle_steps)
        kept = jax.tree.map(lambda new, old: jnp.where(good, new, old), after, state)
        counts = guard.after(state.guard, good, metrics["gradient_norm"])
        return kept._replace(step=after.step, guard=counts), metrics | counts.counts()

    return checked
