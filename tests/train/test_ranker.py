"""The ranker: its range and size, its labels, and that it can learn what it is for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from colorjax.errors import UserError
from colorjax.maths import color, metrics
from colorjax.methods import diffusing_colors, vividness
from colorjax.models.clip import CLIPVisionModel
from colorjax.models.ranker import Head, Ranker
from colorjax.train import optim
from colorjax.train.stages import ranker as stage

TOWER = CLIPVisionModel(
    image_size=16,
    patch_size=8,
    hidden_size=8,
    intermediate_size=8,
    num_hidden_layers=1,
    num_attention_heads=1,
)


def test_the_tower_sees_its_own_size_and_range() -> None:
    """A flat picture of CLIP's mean colour is all zeros to the tower, at any size."""
    ranker = Ranker(TOWER, 8)
    params = ranker.init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))["params"]
    mean = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)  # of OpenAI's CLIP
    bias_free = TOWER.apply({"params": params["vision_model"]}, jnp.zeros((1, 16, 16, 3)))[1]
    expected = Head(8).apply({"params": params["head"]}, bias_free)
    for size in (16, 40):
        image = jnp.broadcast_to(2.0 * mean - 1.0, (1, size, size, 3))
        np.testing.assert_allclose(ranker.apply({"params": params}, image), expected, atol=1e-5)
    unnormalised = Ranker(TOWER, 8, normalization="none")
    image = jnp.zeros((1, 16, 16, 3))
    np.testing.assert_allclose(unnormalised.apply({"params": params}, image), expected, atol=1e-6)


def test_dropout_acts_in_training_only() -> None:
    ranker = Ranker(TOWER, 64, dropout=0.5)
    image = jax.random.uniform(jax.random.key(1), (4, 16, 16, 3))
    params = {"params": ranker.init(jax.random.key(0), image)["params"]}
    np.testing.assert_array_equal(ranker.apply(params, image), ranker.apply(params, image))
    one, other = (
        ranker.apply(params, image, train=True, rngs={"dropout": jax.random.key(n)}) for n in (0, 1)
    )
    assert np.abs(one - other).max() > 1e-3


def test_frozen_leaves_come_from_clip() -> None:
    tower = {"a": {"kernel": 1, "bias": 2}, "b": {"kernel": 3}}
    trained = {"head": {"kernel": 4}, "vision_model": {"b": {"kernel": 5}}}
    made = vividness.complete_ranker(trained, {"vision_model": tower, "logit_scale": 0})
    assert made == {
        "head": {"kernel": 4},
        "vision_model": {"a": {"kernel": 1, "bias": 2}, "b": {"kernel": 5}},
    }


def test_scales_are_moved_by_five_percent_but_one() -> None:
    scales = np.asarray(stage.draw_scales(jax.random.key(0), 1000))
    ratios = np.delete(scales / np.maximum(stage.SCALES, 1e-9), [0], axis=1)
    assert (scales[:, 0] == 0).all() and (scales[:, stage.SCALES.index(1.0)] == 1).all()
    assert 0.95 <= ratios.min() < 0.951 and 1.049 < ratios.max() <= 1.05


def test_faded_photographs_come_back_at_one() -> None:
    """With the gain times the share at 1 they are the photographs, up to what 8 bits lost."""
    lab = np.full((64, 8, 8, 3), 60.0, np.float32)
    lab[..., 1:] = np.random.default_rng(0).uniform(-12, 12, (64, 1, 1, 2))
    image = 2.0 * color.lab_to_srgb(lab) - 1.0
    versions, scales = stage.versions_of_faded(jax.random.key(0), jnp.asarray(image))
    shown = np.asarray(color.srgb_to_lab((np.asarray(versions) + 1.0) / 2.0))
    one = stage.FADED_SCALES.index(1.0)
    assert np.abs(shown[:, one] - lab).mean() < 1.0
    # What is shown of the other scales is the chroma times them; few of these leave the gamut.
    ratio = shown[:, : one + 2, ..., 1:].std(axis=(0, 2, 3, 4)) / lab[..., 1:].std()
    np.testing.assert_allclose(ratio, np.asarray(scales).mean(axis=0)[: one + 2], rtol=0.07)


def test_guidance_is_drawn_of_the_scales_and_every_picture_has_noise_of_its_own() -> None:
    inputs = diffusing_colors.Inputs(jnp.zeros((3, 8, 8, 1)), jnp.zeros((3, 4), jnp.int32), None)
    drawn = [stage.drawn_guidance(jax.random.key(n), inputs, (1.0, 1.3, 1.6)) for n in range(40)]
    assert {round(float(one.guidance_scale), 3) for one in drawn} == {1.0, 1.3, 1.6}
    fidelities = [float(one.fidelity) for one in drawn]
    assert min(fidelities) < 0.2 and max(fidelities) > 0.8
    data = np.asarray(jax.random.key_data(drawn[0].keys))
    assert len({tuple(row) for row in data.tolist()}) == 3


def test_steps_of_the_colourings_that_are_judged() -> None:
    sampling = ConfigDict({"num_steps": 10})
    assert stage.num_steps("", sampling) == 10 and stage.num_steps("4", sampling) == 4
    assert stage.num_steps("distilled", sampling) == "distilled"
    with pytest.raises(UserError, match="output_steps is 'few'"):
        stage.num_steps("few", sampling)


def test_shares_are_at_most_all() -> None:
    config = ConfigDict({"model": {"cold": {"decoder": "plain"}}})
    options = ConfigDict({"output_share": 0.7, "faded_share": 0.4})
    with pytest.raises(UserError, match="at most 1 together"):
        stage.check(config, options, ())


def test_right_for_an_output_is_the_truths_colourfulness() -> None:
    """Versions of a two-colour picture; one of them is as colourful as the truth."""
    flag = np.zeros((1, 4, 4, 3), np.float32)
    flag[:, :2, :, 0] = flag[:, 2:, :, 2] = 1.0
    scales = jnp.array([[0.25, 0.5, 1.0]])
    versions = jnp.stack([flag * s for s in scales[0]], axis=1)
    assert float(stage.nearest_scale(versions, scales, flag * 0.55)[0]) == 0.5
    assert float(stage.nearest_scale(versions, scales, flag * 3.0)[0]) == 1.0
    grow = metrics.colourfulness((versions[0] + 1) / 2)
    assert (np.diff(grow) > 0).all()


def test_the_loss_learns_to_prefer_the_right_scale() -> None:
    """Scores as free parameters: the best version must come out first, its sides in order."""
    scales = jnp.broadcast_to(jnp.asarray(stage.SCALES), (1, 9))
    tx = optim.optimizer(options(), 300)

    def value(scores, frozen, batch, key):
        return stage.loss(scores["r"], scales, jnp.ones(1))

    step = jax.jit(optim.make_step(value, tx, 0.0))
    state = optim.create({"r": jnp.zeros((1, 9))}, tx, 0.0)
    for _ in range(300):
        state, told = step(state, {}, {}, jax.random.key(0))
    order = np.asarray(state.params["r"][0])
    best = stage.SCALES.index(1.0)
    assert order.argmax() == best and float(told["near_best"]) == 1.0
    assert (np.diff(order[: best + 1]) > 0).all() and (np.diff(order[best:]) < 0).all()
    assert float(told["pairs_right"]) == pytest.approx(1.0)


def options() -> ConfigDict:
    from colorjax.configs import common

    return common.stage(learning_rate=0.05)
