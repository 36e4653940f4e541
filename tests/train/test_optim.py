"""Trainable sets, the step and the moving average, by hand."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from colorjax.configs import common
from colorjax.errors import UserError
from colorjax.train import guard, optim

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
    from colorjax.configs import common

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


def mean_error(params, frozen, batch, key):
    """A loss without randomness, so that parts of a batch can be compared with the whole."""
    error = (batch["x"] @ params["w"] - batch["y"]) ** 2
    return error.mean(), {"largest": error.max()}


def regression():
    rng = np.random.default_rng(0)
    batch = {
        "x": rng.normal(size=(32, 5)).astype(np.float32),
        "y": rng.normal(size=(32, 3)).astype(np.float32),
    }
    return {"w": rng.normal(size=(5, 3)).astype(np.float32)}, batch


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_accumulated_parts_are_the_batch(parts: int) -> None:
    params, batch = regression()
    key, tx = jax.random.key(0), optax.adam(0.1)
    whole = ours = optim.create(params, tx, 0.0)
    for _ in range(5):
        whole, wanted = jax.jit(optim.make_step(mean_error, tx, 0.0))(whole, {}, batch, key)
        ours, got = jax.jit(optim.make_step(mean_error, tx, 0.0, parts))(ours, {}, batch, key)
        assert float(got["loss"]) == pytest.approx(float(wanted["loss"]), rel=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), ours, whole)


def test_masters_stay_float32_where_the_loss_computes_in_bfloat16() -> None:
    params, batch = regression()
    seen = []

    def loss(params, frozen, batch, key):
        seen.append(params["w"].dtype)
        return mean_error(params, frozen, batch, key)

    tx = optax.sgd(1e-4)
    state = optim.create(params, tx, 0.9)
    state, _ = optim.make_step(loss, tx, 0.9, dtype="bfloat16")(state, {}, batch, jax.random.key(0))
    assert seen == [jnp.bfloat16] and state.params["w"].dtype == jnp.float32
    # Steps far below bfloat16's resolution must add up.
    moved = np.abs(np.asarray(state.params["w"]) - params["w"])
    assert 0 < moved.max() < 2**-9 * np.abs(params["w"]).max()
    grads = jax.grad(lambda p: mean_error(p, {}, batch, None)[0])(params)
    np.testing.assert_allclose(state.params["w"], params["w"] - 1e-4 * grads["w"], atol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_step_without_numbers_changes_nothing(bad: float) -> None:
    params, batch = regression()
    tx = optax.adam(0.1)
    step = jax.jit(optim.guarded(optim.make_step(mean_error, tx, 0.9)))
    state = optim.watched(optim.create(params, tx, 0.9))
    state, _ = step(state, {}, batch, jax.random.key(0))
    before = jax.device_get(state)
    broken = batch | {"y": np.where(np.arange(32)[:, None] == 7, np.float32(bad), batch["y"])}
    for n in range(3):
        state, metrics = step(state, {}, broken, jax.random.key(0))
        assert metrics["skipped"] == metrics["skipped_in_a_row"] == n + 1
    assert int(state.step) == int(before.step) + 3, "the data goes on"
    for name in ("params", "opt_state", "ema"):
        now, then = (jax.tree.leaves(getattr(of, name)) for of in (state, before))
        assert all(np.asarray(a).tobytes() == b.tobytes() for a, b in zip(now, then, strict=True))
    state, metrics = step(state, {}, batch, jax.random.key(0))
    assert metrics["skipped"] == 3 and metrics["skipped_in_a_row"] == 0
    assert metrics["longest_skipped_in_a_row"] == 3
    assert not np.array_equal(state.params["w"], before.params["w"])


def test_a_spike_is_skipped_once_the_usual_is_known() -> None:
    params, batch = regression()
    tx = optax.sgd(1e-5)
    step = jax.jit(optim.guarded(optim.make_step(mean_error, tx, 0.0), 10.0, settle_steps=5))
    state = optim.watched(optim.create(params, tx, 0.0))
    spike = {"x": batch["x"], "y": batch["y"] + 1000.0}
    state, metrics = step(state, {}, spike, jax.random.key(0))
    assert metrics["skipped"] == 0, "nothing is usual at the first step"
    state = optim.watched(optim.create(params, tx, 0.0))
    for _ in range(5):
        state, metrics = step(state, {}, batch, jax.random.key(0))
    before = np.asarray(state.params["w"])
    state, metrics = step(state, {}, spike, jax.random.key(0))
    assert metrics["skipped"] == 1
    np.testing.assert_array_equal(state.params["w"], before)


def test_the_guard_reports_this_row_and_the_longest() -> None:
    """Of the steps bad, bad, good, bad, by the definitions of the counts."""
    state = guard.unused()
    rows = []
    for good in (False, False, True, False):
        state = guard.after(state, jnp.asarray(good), jnp.asarray(2.0))
        rows.append({name: int(value) for name, value in state.counts().items()})
    names = ("skipped", "skipped_in_a_row", "longest_skipped_in_a_row")
    expected = [(1, 1, 1), (2, 2, 2), (2, 0, 2), (3, 1, 2)]
    assert rows == [dict(zip(names, row, strict=True)) for row in expected]
    assert float(state.norm) == 2.0 and int(state.taken) == 1


def outcome(counts: list[int], first: int = 0, most: int = 3) -> tuple[int, int] | None:
    """The row and the step that end a run whose steps after `first` have these counts."""
    row = guard.Row(first, most, "do this")
    try:
        for step, count in enumerate(counts, first + 1):
            row.after(step, {"skipped_in_a_row": np.int32(count)})
        row.check()
    except UserError as error:
        assert str(error).endswith("lower learning rate: do this")
        length, step = re.findall(r"^(\d+) steps in a row up to step (\d+)", str(error))[0]
        return int(length), int(step)
    return None


def test_too_many_skipped_in_a_row_end_the_run() -> None:
    assert outcome([0, 1, 2, 0, 1, 2, 0]) is None
    assert outcome([0, 1, 2, 3]) == (3, 4), "the last step, too"
    assert outcome([0, 1, 2, 3, 0, 0]) == (3, 4), "over before the metrics are looked at"
    assert outcome([1, 2, 3, 4, 5], most=0) is None
    assert outcome([1], most=1) == (1, 1)


def test_a_row_is_counted_from_the_start_on() -> None:
    """A checkpoint may be within a row, of 27 steps here."""
    assert outcome([28, 29, 0, 1, 2, 0], first=27) is None
    assert outcome([28, 29, 30], first=27) == (3, 30)
