"""Optimizers, trainable sets and the plain training step. Knows trees, not models."""

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
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
    chosen = {path for path in flat if any(re.fullmatch(p, path) for p in trainable)}
    return (
        unflatten_dict({path: flat[path] for path in flat if path in chosen}, sep="/"),
        unflatten_dict({path: flat[path] for path in flat if path not in chosen}, sep="/"),
    )


def merge(one: Params, other: Params) -> Params:
    """The tree that `split` took apart."""
    return unflatten_dict(flatten_dict(one, sep="/") | flatten_dict(other, sep="/"), sep="/")


def create(params: Params, tx: optax.GradientTransformation, ema_decay: float) -> TrainState:
    ema = jax.tree.map(jnp.copy, params) if ema_decay else {}
    return TrainState(jnp.zeros((), jnp.int32), params, tx.init(params), ema)


def averaged(state: TrainState) -> Params:
    """The weights to use: the moving average where there is one."""
    return state.ema or state.params


def make_step(loss: Loss, tx: optax.GradientTransformation, ema_decay: float) -> Step:
    """One gradient step of `loss(params, frozen, batch, key)`, with an exponential moving average.

    The average warms up as TensorFlow's does: its decay is at most (1 + n) / (10 + n), so that the
    initial weights do not linger.
    """

    def step(
        state: TrainState, frozen: Params, batch: Any, key: PRNGKey
    ) -> tuple[TrainState, Metrics]:
        gradient = jax.value_and_grad(loss, has_aux=True)
        (value, metrics), grads = gradient(state.params, frozen, batch, key)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema = state.ema
        if ema_decay:
            decay = jnp.minimum(ema_decay, (1.0 + state.step) / (10.0 + state.step))
            ema = jax.tree.map(lambda e, p: e + (1.0 - decay) * (p - e), ema, params)
        metrics = metrics | {"loss": value, "gradient_norm": optax.tree.norm(grads)}
        return TrainState(state.step + 1, params, opt_state, ema), metrics

    return step
