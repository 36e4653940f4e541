"""Instance-aware refinement: its closed form against autodiff, its effect inside the network."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from colorjax.errors import UserError
from colorjax.maths import guidance
from colorjax.methods import lcad
from tests import small

HEIGHT, WIDTH, CELLS = 8, 12, 6  # maps of 2 x 3


def normal(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


@pytest.fixture(scope="module")
def case() -> tuple:
    """Two pictures, three phrases: of two tokens, of one, and an empty one that is padding."""
    logits = 2.0 * normal(0, 2, 4, CELLS, 9)
    masks = jax.random.uniform(jax.random.key(1), (2, 3, HEIGHT, WIDTH))
    spans = np.zeros((2, 3, 9), bool)
    spans[:, 0, 1:3] = spans[:, 1, 5:6] = True
    return logits, masks, jnp.asarray(spans)


def cells_by_hand(masks) -> np.ndarray:
    """The top left pixel of each cell of 4 x 4, row by row."""
    return np.stack([masks[:, :, 4 * (i // 3), 4 * (i % 3)] for i in range(CELLS)], axis=-1)


def inside_loss(logits, masks, spans) -> jax.Array:
    """Sum over phrases of the mean binary cross-entropy over heads, tokens and cells."""
    total = jnp.zeros(())
    for b, j in np.argwhere(np.asarray(spans).any(-1)):
        columns = logits[b][:, :, np.flatnonzero(spans[b, j])]
        target = cells_by_hand(masks)[b, j][None, :, None]
        terms = jax.nn.softplus(columns) - target * columns
        total += terms.mean()
    return total


def outside_loss(logits, masks, spans) -> jax.Array:
    """Attention outside the mask: summed over the map, mean over heads and tokens."""
    attention = jax.nn.softmax(logits, axis=-1)
    total = jnp.zeros(())
    for b, j in np.argwhere(np.asarray(spans).any(-1)):
        columns = attention[b][:, :, np.flatnonzero(spans[b, j])]
        total += (columns * (1 - cells_by_hand(masks)[b, j])[None, :, None]).sum(1).mean()
    return total


# An objective, its loss, and by what a latent of three times the map's pixels weighs it.
RELEASED = [("inside", inside_loss, 1.0), ("outside", outside_loss, 3.0)]


@pytest.mark.parametrize(("objective", "loss", "weight"), RELEASED)
def test_the_released_closed_form_is_the_gradient(case, objective: str, loss, weight) -> None:
    logits, masks, spans = case
    refined = guidance.refine_logits(logits, masks, spans, 21.0, objective, 3 * CELLS)
    by_hand = np.asarray(masks), np.asarray(spans)  # which columns they name must be known
    gradient = jax.jit(jax.grad(lambda logits: loss(logits, *by_hand)))
    expected = logits - 21.0 * weight * gradient(logits)
    np.testing.assert_allclose(refined, expected, atol=1e-5)
    assert float(jnp.abs(refined - logits).max()) > 0.01


def cross_entropy(M, masks, spans) -> jax.Array:
    """Of a sigmoid map with the masks, summed over heads, tokens and cells."""
    total = jnp.zeros(())
    for b, j in np.argwhere(np.asarray(spans).any(-1)):
        columns, target = M[b][:, :, np.flatnonzero(spans[b, j])], cells_by_hand(masks)[b, j]
        target = target[None, :, None]
        total -= (target * jnp.log(columns) + (1 - target) * jnp.log1p(-columns)).sum()
    return total


@pytest.mark.parametrize("objective", ["inside", "algorithm_1"])
def test_the_summed_objective_by_the_logits_or_by_their_sigmoid(case, objective: str) -> None:
    logits, masks, spans = case
    by_hand = np.asarray(masks), np.asarray(spans)
    if objective == "inside":
        gradient = jax.grad(lambda x: cross_entropy(jax.nn.sigmoid(x), *by_hand))(logits)
    else:
        gradient = jax.grad(lambda M: cross_entropy(M, *by_hand))(jax.nn.sigmoid(logits))
    refined = guidance.refine_logits(logits, masks, spans, 0.5, objective)
    np.testing.assert_allclose(refined, logits - 0.5 * gradient, rtol=1e-4, atol=1e-4)
    certain = guidance.refine_logits(100.0 * logits, masks, spans, 0.5, objective)
    assert np.isfinite(jax.nn.softmax(certain)).all()


def test_a_step_means_the_same_on_maps_of_every_size() -> None:
    """A logit of 0 moves by half the step size, whatever heads, tokens and pixels there are."""
    for heads, cells, tokens in ((1, 4, 1), (8, 1024, 3)):
        spans = np.zeros((1, 1, 77), bool)
        spans[:, :, 5 : 5 + tokens] = True
        masks = np.zeros((1, 1, 32, 32), np.float32)
        masks[..., :16] = 1.0
        zeros = jnp.zeros((1, heads, cells, 77))
        refined = guidance.refine_logits(zeros, masks, spans, 20.0)
        assert set(np.unique(refined)) == {-10.0, 0.0, 10.0}


def test_other_tokens_stay(case) -> None:
    logits, masks, spans = case
    refined = guidance.refine_logits(logits, masks, spans, 100.0)
    nobody = ~np.asarray(spans).any(1)[0]
    np.testing.assert_array_equal(refined[..., nobody], logits[..., nobody])


def test_mistakes_are_told(case) -> None:
    with pytest.raises(
        UserError, match="^objective is 'beside'; it must be one of inside, algorithm_1, outside$"
    ):
        guidance.refine_logits(*case, 1.0, objective="beside")
    with pytest.raises(ValueError, match="no whole fraction"):
        guidance.cell_masks(case[1], 7)


def test_masks_of_attention_divide_the_picture() -> None:
    maps = jnp.zeros((1, 2, 2, 4)).at[0, 0, :, :2].set(3.0).at[0, 1, :, 3].set(0.1)
    masks = np.asarray(guidance.attention_masks(maps))
    assert masks[0, 0].tolist() == [[1, 1, 0, 0]] * 2
    assert masks[0, 1].tolist() == [[0, 0, 0, 1]] * 2


@pytest.fixture(scope="module")
def network() -> tuple:
    model = lcad.build(small.config().model.to_dict())
    params = small.random_params(model)
    spans = np.zeros((2, 2, 24), bool)
    spans[:, 0, 1:4], spans[:, 1, 5:8] = True, True
    masks = np.zeros((2, 2, 32, 64), np.float32)
    masks[:, 0, :, :32], masks[:, 1, :, 32:] = 1.0, 1.0
    inputs = lcad.Inputs(
        luminance=0.3 * normal(2, 2, 32, 64, 1),
        input_ids=jax.random.randint(jax.random.key(3), (2, 24), 0, 1000),
        uncond_input_ids=jnp.zeros((2, 24), jnp.int32),
        guidance_scale=3.0,
        initial_latents=normal(4, 2, 8, 16, 4),
        masks=masks,
        spans=spans,
    )
    return model, params, inputs


@pytest.fixture(scope="module")
def colorize(network):
    model, params, inputs = network
    run = jax.jit(functools.partial(lcad.colorize, model), static_argnums=2)
    return lambda inputs=inputs, **options: run(params, inputs, lcad.Options(2, "even", **options))


def plain(network) -> lcad.Inputs:
    """Without masks."""
    return network[-1]._replace(masks=None, spans=None)


@pytest.mark.proof
@pytest.mark.parametrize("replay", ["cross", "all"])
def test_replaying_unchanged_logits_changes_nothing(network, colorize, replay: str) -> None:
    aware = colorize(refine_step_size=0.0, replay=replay)
    np.testing.assert_allclose(aware, colorize(plain(network)), atol=2e-4)


@pytest.mark.proof
def test_refinement_moves_attention_into_the_masks_and_the_picture(network, colorize) -> None:
    model, params, inputs = network

    @jax.jit
    def capture(params):
        features = lcad.encode_luminance(model, params, inputs.luminance)
        context = lcad.encode_text(model, params, inputs.input_ids)
        given = inputs.initial_latents, jnp.full(2, 500), context, features
        return lcad.predict_and_capture(model, params, *given)

    _, captured = capture(params)
    logits = jax.tree.leaves(captured["capture"])
    assert (
        len(logits) == 4
    )  # one transformer down, one in the middle, two up; none in self-attention

    @jax.jit
    def inside(logits, step_size: float) -> jax.Array:
        shares = []
        for layer in logits:
            refined = guidance.refine_logits(layer, inputs.masks, inputs.spans, step_size)
            attention = jax.nn.softmax(refined, axis=-1).mean(1)
            phrases = jnp.einsum("bqn,bkn->bkq", attention, inputs.spans.astype(jnp.float32))
            cells = guidance.cell_masks(inputs.masks, layer.shape[2])
            shares.append((phrases * cells).sum() / phrases.sum())
        return jnp.mean(jnp.array(shares))

    default = lcad.Options().refine_step_size
    shares = [float(inside(logits, step_size)) for step_size in (0.0, 1.0, default)]
    assert shares[0] < shares[1] < shares[2] and shares[2] > 0.9
    without = colorize(plain(network))
    assert float(jnp.abs(colorize() - without).max()) > 0.01


@pytest.mark.proof
def test_the_released_step_hardly_moves_the_picture(network, colorize) -> None:
    released, without = colorize(refine_step_size="released"), colorize(plain(network))
    assert 0.0 < float(jnp.abs(released - without).max()) < 0.01


@pytest.mark.proof
def test_without_masks_attention_makes_them(network, colorize) -> None:
    _, _, inputs = network
    image, given = colorize(inputs._replace(masks=None)), colorize()
    assert image.shape == given.shape and np.isfinite(image).all()
    assert float(jnp.abs(image - given).max()) > 1e-3


@pytest.mark.parametrize("cells", [64, 256, 1024])
@pytest.mark.parametrize("share", [0.5, 0.125])
def test_the_default_step_binds_maps_of_every_size(cells: int, share: float) -> None:
    """Logits as random weights give them at full size: 8 heads, a deviation of 0.5."""
    side = 32
    masks = np.zeros((1, 2, side, side), np.float32)
    masks[:, 0, :, : int(share * side)] = masks[:, 1, :, -int(share * side) :] = 1.0
    spans = np.zeros((1, 2, 77), bool)
    spans[:, 0, 1:3], spans[:, 1, 4:6] = True, True
    logits = 0.5 * normal(5, 1, 8, cells, 77)
    refined = guidance.refine_logits(logits, masks, spans, lcad.Options().refine_step_size)
    inside = np.asarray(guidance.cell_masks(masks, cells))

    def share_inside(logits: jax.Array) -> float:
        attention = np.asarray(jax.nn.softmax(logits, axis=-1).mean(1))
        seen = np.einsum("bqn,bkn->bkq", attention, spans.astype(np.float32))
        return float((seen * inside).sum() / seen.sum())

    assert share_inside(refined) > 0.9 > 0.6 > share_inside(logits)
    released = guidance.refine_logits(logits, masks, spans, 1.0, "inside", side * side)
    assert abs(share_inside(released) - share_inside(logits)) < 0.01
