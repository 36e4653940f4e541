"""The forward process and the samplers against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from colorjax.errors import UserError
from colorjax.maths import guidance, samplers
from colorjax.maths.schedule import Schedule, add_noise, sample_posterior, scaled_linear

SCHEDULE = scaled_linear()


def test_schedule_is_stable_diffusions() -> None:
    # Published figures of the schedule: first beta 0.00085, last alpha-bar 0.0046601.
    assert SCHEDULE.alphas_cumprod[0] == np.float32(1 - 0.00085)
    assert SCHEDULE.alphas_cumprod[-1] == pytest.approx(0.0046601, abs=1e-7)


def test_released_steps() -> None:
    grid = samplers.time_grid(SCHEDULE, 50, "released")
    assert grid.timesteps.tolist() == list(range(981, 0, -20))
    assert grid.alphas_prev[-1] == SCHEDULE.alphas_cumprod[0]
    np.testing.assert_array_equal(grid.alphas_prev[:-1], grid.alphas[1:])


def test_even_steps_take_any_count() -> None:
    for count in (1, 3, 7, 20, 1000):
        grid = samplers.time_grid(SCHEDULE, count, "even")
        assert len(grid.timesteps) == count
        assert grid.timesteps[0] == 999 and grid.alphas_prev[-1] == 1.0
        assert (np.diff(grid.timesteps) < 0).all()


@pytest.mark.parametrize(
    ("count", "spacing"),
    [(3, "released"), (0, "released"), (1000, "released"), (0, "even"), (1001, "even"), (5, "x")],
)
def test_impossible_steps_are_told(count: int, spacing) -> None:
    with pytest.raises(UserError):
        samplers.time_grid(SCHEDULE, count, spacing)


@pytest.mark.parametrize(("count", "spacing"), [(1, "even"), (7, "even"), (50, "released")])
def test_ddim_recovers_a_known_picture(count: int, spacing) -> None:
    """With the exact noise of one z_0, every step is exact (Song et al. 2021, Eq. 12)."""
    target = jax.random.normal(jax.random.key(1), (2, 4, 4, 3))
    alphas = jnp.asarray(SCHEDULE.alphas_cumprod)

    def exact(z_t, timesteps):
        alpha = alphas[timesteps][:, None, None, None]
        return (z_t - jnp.sqrt(alpha) * target) / jnp.sqrt(1 - alpha)

    noise = jax.random.normal(jax.random.key(2), target.shape)
    result = samplers.sample("ddim", exact, noise, SCHEDULE, count, spacing)
    if spacing == "released":  # stops at alpha-bar[0]: what is left of the first noise estimate
        first = samplers.time_grid(SCHEDULE, count, spacing)
        eps = (noise - np.sqrt(first.alphas[0]) * target) / np.sqrt(1 - first.alphas[0])
        last = SCHEDULE.alphas_cumprod[0]
        target = np.sqrt(last) * target + np.sqrt(1 - last) * eps
    np.testing.assert_allclose(result, target, atol=2e-4)


def test_ddim_of_a_gaussian_approaches_its_ode() -> None:
    """For data N(0, s^2) the noise estimate is linear; the flow scales x_T by a known factor."""
    deviation = 0.5
    alphas = jnp.asarray(SCHEDULE.alphas_cumprod)

    def estimate(z_t, timesteps):
        alpha = alphas[timesteps][:, None, None, None]
        return jnp.sqrt(1 - alpha) * z_t / (alpha * deviation**2 + 1 - alpha)

    noise = jax.random.normal(jax.random.key(2), (1, 4, 4, 3))
    result = samplers.sample("ddim", estimate, noise, SCHEDULE, 1000, "even")
    last = SCHEDULE.alphas_cumprod[-1]
    factor = deviation / np.sqrt(last * deviation**2 + 1 - last)
    np.testing.assert_allclose(result, noise * factor, rtol=0.02)


def test_guidance_is_the_formula_with_the_unconditional_half_first() -> None:
    def denoise(latents, timesteps):
        assert latents.shape == (4, 1, 1, 1) and timesteps.shape == (4,)
        return jnp.array([1.0, 2.0, 10.0, 20.0]).reshape(4, 1, 1, 1)

    guided = guidance.classifier_free(denoise, 3.0)(jnp.zeros((2, 1, 1, 1)), jnp.zeros(2, int))
    assert guided.ravel().tolist() == [1 + 3 * 9, 2 + 3 * 18]


def test_noising_keeps_variance() -> None:
    z_0, eps = jax.random.normal(jax.random.key(0), (2, 64, 16, 16, 1))
    for t in (0, 500, 999):
        z_t = add_noise(z_0, eps, jnp.full(64, t), SCHEDULE)
        assert float(z_t.var()) == pytest.approx(1.0, abs=0.03)


def test_posterior_sample_and_clamp() -> None:
    moments = jnp.stack([jnp.full((1, 2, 2), 0.5), jnp.full((1, 2, 2), 100.0)], axis=-1)
    sample = sample_posterior(moments, jnp.ones((1, 2, 2, 1)))
    np.testing.assert_allclose(sample, 0.5 + np.exp(10.0), rtol=1e-6)


def test_higher_orders_converge_faster() -> None:
    """Errors against the closed flow of a Gaussian, on a schedule even in log signal to noise."""
    lambdas = np.linspace(3, -3, 1000)
    schedule = Schedule((1 / (1 + np.exp(-2 * lambdas))).astype(np.float32))
    alphas, mean, deviation = jnp.asarray(schedule.alphas_cumprod), 0.7, 0.4

    def estimate(z_t, timesteps):
        alpha = alphas[timesteps][:, None, None, None]
        centred = z_t - jnp.sqrt(alpha) * mean
        return jnp.sqrt(1 - alpha) * centred / (alpha * deviation**2 + 1 - alpha)

    noise = jax.random.normal(jax.random.key(2), (1, 4, 4, 3))

    def error(name: str, count: int) -> float:
        given = (name, estimate, noise, schedule, count, "released")
        first = samplers.time_grid(schedule, count, "released").alphas[0]
        start, end = (np.sqrt(a * deviation**2 + 1 - a) for a in (first, alphas[0]))
        exact = np.sqrt(alphas[0]) * mean + (noise - np.sqrt(first) * mean) * end / start
        return float(jnp.abs(samplers.sample(*given) - exact).max())

    orders = {}
    for name in samplers.SAMPLERS:
        orders[name] = np.log2(error(name, 20) / error(name, 40))
    assert 0.7 < orders["ddim"] < 1.3
    assert orders["dpmpp_2m"] > 1.5
    assert orders["unipc"] > 2.0
