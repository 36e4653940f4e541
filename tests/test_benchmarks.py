"""What the benchmarks compute by themselves: CIC's classes, blocks of pixels, places in pages."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage import color as skcolor

from benchmarks import gpu_stages, pages
from benchmarks.reproduction import bins, trained
from colorjax import release
from colorjax.errors import UserError
from colorjax.train import optim


def test_classes_are_squares_that_screens_can_show() -> None:
    """Of sRGB itself, by scikit-image; Zhang et al. count 313 with those at its hull's border."""
    middles = bins.centres()
    np.testing.assert_array_equal(middles, np.round(middles / 10.0) * 10.0)
    axis = np.linspace(0, 1, 24)
    rgb = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(-1, 1, 3)
    ab = skcolor.rgb2lab(rgb)[:, 0, 1:]
    nearest = np.linalg.norm(ab[:, None] - middles, axis=-1).min(axis=1)
    assert nearest.max() < 5.0 * np.sqrt(2) + 0.1
    assert 200 < len(middles) < 313


def test_targets_are_the_five_nearest_by_a_gaussian() -> None:
    ab = np.array([[3.0, -2.0], [42.5, 17.0]], np.float32)
    places, weights = (np.asarray(part) for part in bins.soft_targets(jnp.asarray(ab)))
    distance = np.linalg.norm(ab[:, None] - bins.centres(), axis=-1)
    for row in range(2):
        order = np.argsort(distance[row])[:5]
        np.testing.assert_array_equal(np.sort(places[row]), np.sort(order))
        expected = np.exp(-0.5 * (distance[row][places[row]] / 5.0) ** 2)
        np.testing.assert_allclose(weights[row], expected / expected.sum(), rtol=1e-4)


def test_rare_classes_weigh_more_and_colours_weigh_one_on_average() -> None:
    rng = np.random.default_rng(0)
    share = bins.frequencies(rng.normal(0.0, 15.0, (5000, 2)).astype(np.float32))
    assert share.sum() == pytest.approx(1.0, abs=1e-5) and (share >= 0).all()
    weights = bins.rebalancing(share)
    assert (share * weights).sum() == pytest.approx(1.0, abs=1e-5)
    gray = int(np.linalg.norm(bins.centres(), axis=1).argmin())
    assert weights.argmin() in np.argsort(share)[-3:] and weights[gray] < weights.max() / 3
    # Equation 4, up to the factor that makes the mean 1.
    rule = 1.0 / (0.5 * share + 0.5 / len(share))
    np.testing.assert_allclose(weights / weights[gray], rule / rule[gray], rtol=1e-5)


def test_the_annealed_mean_lies_between_the_mean_and_the_most_likely() -> None:
    logits = np.full(len(bins.centres()), -50.0, np.float32)
    logits[3], logits[40] = np.log(0.7), np.log(0.3)
    share = 0.7 ** (1 / 0.38) / (0.7 ** (1 / 0.38) + 0.3 ** (1 / 0.38))
    expected = share * bins.centres()[3] + (1 - share) * bins.centres()[40]
    np.testing.assert_allclose(bins.annealed_mean(jnp.asarray(logits)), expected, atol=1e-3)


def test_the_loss_is_the_weighted_cross_entropy() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(6, len(bins.centres()))).astype(np.float32)
    ab = rng.uniform(-40, 40, (6, 2)).astype(np.float32)
    weights = rng.uniform(0.5, 2.0, len(bins.centres())).astype(np.float32)
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    expected = []
    for row, colour in zip(logs, ab):
        distance = np.linalg.norm(bins.centres() - colour, axis=1)
        near = np.argsort(distance)[:5]
        soft = np.exp(-0.5 * (distance[near] / 5.0) ** 2)
        expected.append(-weights[near[0]] * (soft / soft.sum() * row[near]).sum())
    got = float(bins.loss(jnp.asarray(logits), jnp.asarray(ab), jnp.asarray(weights)))
    assert got == pytest.approx(np.mean(expected), rel=1e-4)


def test_blocks_become_pixels_again() -> None:
    image = np.arange(2 * 8 * 12 * 2, dtype=np.float32).reshape(2, 8, 12, 2)
    maps = np.asarray(trained.blocks(jnp.asarray(image)))
    assert maps.shape == (2, 2, 3, 32)
    np.testing.assert_array_equal(maps[0, 1, 2].reshape(4, 4, 2), image[0, 4:8, 8:12])
    np.testing.assert_array_equal(trained.pixels(jnp.asarray(maps)), image)


def test_figures_go_where_the_page_says(tmp_path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- rows -->\nold\n<!-- end -->\n<!-- more -->\nstays\n<!-- end -->\nb\n")
    pages.fill(page, "rows", pages.table(["", "x"], [["one", r"\1"]]))
    table = "|  | x |\n| --- | ---: |\n| one | \\1 |\n"
    rest = "<!-- end -->\n<!-- more -->\nstays\n<!-- end -->\nb\n"
    assert page.read_text() == f"a\n<!-- rows -->\n{table}{rest}"
    with pytest.raises(UserError, match="0 places marked <!-- none -->"):
        pages.fill(page, "none", "")


@pytest.mark.parametrize("kind", trained.KINDS.values(), ids=lambda kind: kind.name)
def test_a_trained_baseline_gives_chroma_for_every_pixel(kind) -> None:
    """The shapes of its weights, its output, its loss and its colours; nothing is computed."""
    networks = trained.Networks.of(kind)
    start = release.read_part(release.BUNDLED, "text_to_image_unet")
    params = jax.eval_shape(networks.init, jax.random.key(0), start)
    assert params["conv_in"]["kernel"].shape == (3, 3, 16, 64)
    assert params["conv_out"]["kernel"].shape[-1] == kind.channels
    frozen = {"text_encoder": release.read_part(release.BUNDLED, "text_encoder")}
    shape = jax.ShapeDtypeStruct
    inputs = shape((2, 32, 32, 1), np.float32), shape((2, 24), np.int32)
    output = jax.eval_shape(networks, params, frozen, *inputs)
    assert output.shape == (2, 8, 8, kind.channels)
    assert jax.eval_shape(kind.chroma, output).shape == (2, 32, 32, 2)
    weights = bins.rebalancing(np.full(len(bins.centres()), 1 / len(bins.centres()), np.float32))
    loss = jax.eval_shape(kind.loss, output, shape((2, 32, 32, 2), np.float32), weights)
    assert loss.shape == ()


def test_a_step_goes_a_share_of_its_way() -> None:
    """And so does the average: w + pace * (-1), then e + (1 - decay) * (w - e)."""

    def step(state, frozen, batch, key):
        return state._replace(step=state.step + 1, params={"w": state.params["w"] - 1.0}), {}

    before = optim.TrainState(jnp.int32(0), {"w": jnp.float32(3.0)}, (), {"w": jnp.float32(3.0)})
    after, _ = gpu_stages.paced(step, jnp.float32(0.25), 0.9)(before, {}, {}, jax.random.key(0))
    assert float(after.params["w"]) == 2.75 and int(after.step) == 1
    # The first decay is (1 + 0) / (10 + 0).
    assert float(after.ema["w"]) == pytest.approx(3.0 + 0.9 * (2.75 - 3.0))
