"""Trainable sets, the step and the moving average, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from colorjax import optim
from colorjax.errors import UserError
from configs import common

PARAMS = {"a": {"kernel": jnp.array([1.0, 2.0])}, "b": {"cec_in": {"kernel": jnp.array([3.0])}}}


def test_split_and_merge() -> None:
    chosen, rest = optim.split(PARAMS, [r".*/cec_.*"])
    assert jax.tree.leaves(chosen) == [3.0] and list(rest) == ["a"]
    merged = optim.merge(chosen, rest)
    assert jax.tree.structure(merged) == jax.tree.structure(PARAMS)
    with pytest.raises(UserError, match="matches no parameter"):
        optim.split(PARAMS, ["cec"])


def test_step_and_average_by_hand() -> None:
    def loss(params, frozen, batch, key):
        value = params["w"] * frozen["scale"] * batch
        return value, {"value": value}

    tx = optax.sgd(0.1)
    state = optim.create({"w": jnp.array(1.0)}, tx, 0.9)
    step = optim.make_step(loss, tx, 0.9)
    expected, average = 1.0, 1.0
    for n in range(3):
        state, metrics = step(state, {"scale": 2.0}, 3.0, jax.random.key(0))
        assert float(metrics["loss"]) == pytest.approx(6 * expected)
        assert float(metrics["gradient_norm"]) == pytest.approx(6.0)
        expected -= 0.1 * 6
        average += (1 - min(0.9, (1 + n) / (10 + n))) * (expected - average)
        assert float(state.params["w"]) == pytest.approx(expected)
        assert float(optim.averaged(state)["w"]) == pytest.approx(average)
    assert int(state.step) == 3


def test_without_average_the_weights_are_used() -> None:
    state = optim.create({"w": jnp.array(1.0)}, optax.sgd(0.1), 0.0)
    assert optim.averaged(state) is state.params and state.ema == {}


def test_learning_rate_schedules() -> None:
    from configs import common

    for name, last in (("constant", 1e-2), ("cosine", 0.0)):
        options = common.stage(learning_rate=1e-2, schedule=name, warmup_steps=10, b1=0.0, b2=0.0)
        tx = optim.optimizer(options, 100)
        params, state = jnp.array(0.0), tx.init(jnp.array(0.0))
        moves = []
        for _ in range(101):
            update, state = tx.update(jnp.array(5.0), state, params)
            moves.append(-float(update))
        # With both betas zero Adam moves by the learning rate.
        np.testing.assert_allclose(moves[:11], np.linspace(0, 1e-2, 11), atol=1e-6)
        assert moves[100] == pytest.approx(last, abs=1e-6)
    options.schedule = "linear"
    with pytest.raises(UserError, match="linear"):
        optim.optimizer(options, 100)


@pytest.mark.parametrize("warmup_steps", [0, 4])
def test_the_constant_rate_is_reached(warmup_steps) -> None:
    """Adam's step is the learning rate; without warm-up it must not stay at the warm-up's 0."""
    tx = optim.optimizer(common.stage(learning_rate=0.1, warmup_steps=warmup_steps), 10)
    params, state = {"w": jnp.zeros(1)}, tx.init({"w": jnp.zeros(1)})
    moves = []
    for _ in range(8):
        updates, state = tx.update({"w": jnp.ones(1)}, state, params)
        moves.append(-float(updates["w"][0]))
    expected = [0.1 * min(1.0, n / warmup_steps) if warmup_steps else 0.1 for n in range(8)]
    np.testing.assert_allclose(moves, expected, rtol=1e-4, atol=1e-7)
