"""Optimizers, trainable sets and the plain training step. Knows trees, not models."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import PartitionSpec as P
from jaxtyping import Float, Int
from ml_collections import ConfigDict

from colorjax.errors import UserError
from colorjax.types import Array, Params, PRNGKey

Metrics = dict[str, Float[Array, ""]]
Loss = Callable[[Params, Params, Any, PRNGKey], tuple[Float[Array, ""], Metrics]]


class TrainState(NamedTuple):
    """What training changes, and so what a checkpoint holds."""

    step: Int[Array, ""]
    params: Params
    opt_state: optax.OptState
    ema: Params  # empty without averaging
    guard: Params = {}  # see `guarded`


Step = Callable[[TrainState, Params, Any, PRNGKey], tuple[TrainState, Metrics]]


def optimizer(options: ConfigDict, total_steps: int) -> optax.GradientTransformation:
    """Adam (AdamW with weight decay) under a warm-up and, by choice, a cosine decay to zero."""
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
    if options.schedule not in schedules:
        raise UserError(f"schedule is {options.schedule!r}; it must be one of {sorted(schedules)}")
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
    ema = jax.tree.map(jnp.copy, params) if ema_decay else {}
    return TrainState(jnp.zeros((), jnp.int32), params, tx.init(params), ema)


def averaged(state: TrainState) -> Params:
    """The weights to use: the moving average where there is one."""
    return state.ema or state.params


def narrowed(leaf: Any, dtype: Any) -> Any:
    """Kernels and tables in the compute type; vectors, as norms and biases, stay as they are.

    The layers would cast them at use: the numbers are the same, and half the bytes are moved.
    """
    wide = leaf.ndim >= 2 and leaf.dtype == jnp.float32
    return leaf.astype(jnp.dtype(dtype)) if wide else leaf


def gathered(params: Params) -> Params:
    """Sharded parameters whole on every device, at this point of a program and nowhere else.

    Without it the partitioner shards activations by the weights' sharding, with an all-to-all at
    every layer. What made the parameters, as a cast to the compute type, keeps their sharding: half
    the bytes are gathered then.
    """
    if jax.sharding.get_abstract_mesh().empty:
        return params
    # Alone, the second constraint would be taken for the sharding of the cast before it.
    unsaid = jax.tree.map(lambda leaf: P(*[P.UNCONSTRAINED] * leaf.ndim), params)
    params = jax.lax.with_sharding_constraint(params, unsaid)
    return jax.lax.with_sharding_constraint(params, jax.tree.map(lambda _: P(), params))


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
    accumulate: int = 1,
    dtype: Any = jnp.float32,
) -> tuple[Float[Array, ""], Metrics, Params]:
    """Value, metrics and gradient, in float32, of a loss that is a mean over the batch.

    Cast first, gathered then, once for all parts of the batch; so are frozen weights that a rule
    has sharded, which rematerialisation would else gather again. Part i holds the rows i, i + k,
    ... so that each device keeps its own rows, and has the key `fold_in(key, i)`.
    """
    frozen = gathered(frozen)

    def of_part(whole: Params, part: Any, key: PRNGKey) -> Any:
        return jax.value_and_grad(loss, has_aux=True)(whole, frozen, part, key)

    narrow = jax.tree.map(lambda leaf: narrowed(leaf, dtype), params)
    whole = gathered(narrow)
    if accumulate == 1:
        (value, metrics), grads = of_part(whole, batch, key)
        return value, metrics, jax.tree.map(lambda g, p: g.astype(p.dtype), grads, params)

    def parts(rows: Array) -> Array:
        return jnp.moveaxis(rows.reshape(-1, accumulate, *rows.shape[1:]), 1, 0)

    def add(total: Any, part: Any) -> tuple[Any, None]:
        i, rows = part
        got = of_part(whole, rows, jax.random.fold_in(key, i))
        return jax.tree.map(lambda t, g: t + g.astype(t.dtype) / accumulate, total, got), None

    split_up = jax.tree.map(parts, batch)
    shape = jax.eval_shape(of_part, whole, jax.tree.map(lambda rows: rows[0], split_up), key)
    zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, jnp.float32), shape)
    total, _ = jax.lax.scan(add, zero, (jnp.arange(accumulate), split_up))
    (value, metrics), grads = total
    return value, metrics, grads


def watched(state: TrainState) -> TrainState:
    """The state with what `guarded` counts."""
    zero = jnp.zeros((), jnp.int32)
    counts = {"skipped": zero, "in_a_row": zero, "longest": zero, "taken": zero}
    return state._replace(guard=counts | {"norm": jnp.zeros(())})


def guarded(step: Step, spike_factor: float = 0.0, settle_steps: int = 100) -> Step:
    """A step that leaves everything but the counts bit-unchanged when its numbers are no good.

    That is when a metric is not finite, or, with a `spike_factor`, when the gradient's norm is so
    many times its running average, after `settle_steps` good steps.
    """

    def checked(
        state: TrainState, frozen: Params, batch: Any, key: PRNGKey
    ) -> tuple[TrainState, Metrics]:
        after, metrics = step(state, frozen, batch, key)
        guard = state.guard
        good = jnp.all(jnp.isfinite(jnp.stack([jnp.asarray(v) for v in metrics.values()])))
        norm = metrics["gradient_norm"]
        if spike_factor:
            usual = guard["taken"] < settle_steps
            good &= usual | (norm <= spike_factor * guard["norm"])
        kept = jax.tree.map(lambda new, old: jnp.where(good, new, old), after, state)
        row = jnp.where(good, 0, guard["in_a_row"] + 1)
        share = jnp.maximum(0.01, 1.0 / (1.0 + guard["taken"]))
        counts = {
            "skipped": guard["skipped"] + ~good,
            "in_a_row": row,
            "longest": jnp.maximum(guard["longest"], row),
            "taken": guard["taken"] + good,
            "norm": jnp.where(good, guard["norm"] + share * (norm - guard["norm"]), guard["norm"]),
        }
        told = {"skipped": counts["skipped"], "skipped_in_a_row": counts["longest"]}
        return kept._replace(step=after.step, guard=counts), metrics | told

    return checked
