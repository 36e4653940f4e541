"""Cold diffusion's algebra: what must hold for any residual, and for an exact one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from colorjax.errors import UserError
from colorjax.maths import cold_diffusion

SHAPE = (2, 4, 4, 3)
Z_COLOR, Z_GRAY, EPS = jax.random.normal(jax.random.key(0), (3, *SHAPE))


def exact(source):
    """The residual of one known picture, whatever z_t is."""
    return lambda z_t, timesteps: Z_COLOR - source


def rough(z_t, timesteps):
    """An imperfect, state- and time-dependent estimate."""
    return jnp.sin(3.0 * z_t) + (timesteps / 999.0)[:, None, None, None] * jnp.cos(z_t)


@pytest.mark.parametrize("solver", cold_diffusion.SOLVERS)
@pytest.mark.parametrize("num_steps", [1, 2, 7, 50])
@pytest.mark.parametrize("vividness", [0.0, 0.6, 1.0, 1.7])
@pytest.mark.parametrize("sigma", [0.0, 0.3])
def test_an_exact_residual_ends_at_the_scaled_colour(solver, num_steps, vividness, sigma) -> None:
    noise = sigma * EPS
    denoise = exact(Z_GRAY + noise)
    ended = cold_diffusion.sample(
        denoise, Z_GRAY, num_steps, noise=noise, vividness=vividness, solver=solver
    )
    np.testing.assert_allclose(ended, Z_GRAY + vividness * (Z_COLOR - Z_GRAY), atol=1e-5)


@pytest.mark.parametrize("num_steps", [1, 3, 20])
@pytest.mark.parametrize("vividness", [0.5, 1.0, 1.4])
def test_algorithm_2_is_an_euler_step_for_any_estimate(num_steps, vividness) -> None:
    """The derivation, checked in double precision in NumPy, from Cold Diffusion's own form."""
    ends = {
        solver: cold_diffusion.sample(rough, Z_GRAY, num_steps, vividness=vividness, solver=solver)
        for solver in ("algorithm_2", "euler")
    }
    np.testing.assert_allclose(ends["algorithm_2"], ends["euler"], atol=1e-5)

    gray = np.asarray(Z_GRAY, np.float64)
    z = gray.copy()
    for k in range(num_steps, 0, -1):
        t, later = k / num_steps, (k - 1) / num_steps
        restored = gray + vividness * (np.sin(3 * z) + t * np.cos(z))

        def degraded(at, restored=restored):
            return (1 - at) * restored + at * gray

        z = z - degraded(t) + degraded(later)
    np.testing.assert_allclose(ends["algorithm_2"], z, atol=1e-5)


def test_heun_is_of_second_order_and_euler_of_first() -> None:
    """dz/dtau = -z from tau = 0 to 1 - t: z_0 = z_gray e^-1, errors fall with h^2 and with h."""

    def decay(z_t, timesteps):
        return -z_t

    def error(solver, steps):
        ended = cold_diffusion.sample(decay, Z_GRAY, steps, solver=solver)
        return float(jnp.abs(ended - Z_GRAY * np.exp(-1.0)).max())

    assert error("euler", 16) / error("euler", 32) == pytest.approx(2.0, rel=0.1)
    # Its last step is Euler's, of local error h^2: halving the step quarters both.
    assert error("heun", 16) / error("heun", 32) == pytest.approx(4.0, rel=0.15)


def test_times_seen_by_the_network() -> None:
    seen = []

    def watch(z_t, timesteps):
        jax.debug.callback(lambda t: seen.append(np.asarray(t)), timesteps, ordered=True)
        return jnp.zeros_like(z_t)

    cold_diffusion.sample(watch, Z_GRAY, 4).block_until_ready()
    jax.effects_barrier()
    np.testing.assert_allclose(np.stack(seen)[:, 0], 999 * np.array([1, 0.75, 0.5, 0.25]))
    seen.clear()
    cold_diffusion.sample(
        watch, Z_GRAY, 3, solver="heun", t_start=jnp.array([0.6, 0.3])
    ).block_until_ready()
    jax.effects_barrier()
    assert min(t.min() for t in seen) > 0, "t = 0 was never trained"
    np.testing.assert_allclose(seen[0], [599.4, 299.7], rtol=1e-5)


def test_a_faded_start_gains_what_is_left() -> None:
    """From z at t0 the walk adds t0 s d: with s = 1 and an exact residual, all the colour."""
    t_start = jnp.array([0.3, 0.9])
    start = cold_diffusion.degrade(Z_COLOR, Z_GRAY, t_start)
    for vividness in (1.0, 1.3):
        ended = cold_diffusion.sample(
            exact(Z_GRAY), Z_GRAY, 5, start=start, t_start=t_start, vividness=vividness
        )
        share = 1 - t_start + vividness * t_start
        expected = Z_GRAY + share[:, None, None, None] * (Z_COLOR - Z_GRAY)
        np.testing.assert_allclose(ended, expected, atol=1e-5)


def test_scaling_afterwards_is_scaling_every_step_of_a_constant_estimate() -> None:
    for s in (0.0, 0.8, 1.4):
        whole = cold_diffusion.sample(exact(Z_GRAY), Z_GRAY, 6)
        every = cold_diffusion.sample(exact(Z_GRAY), Z_GRAY, 6, vividness=s)
        np.testing.assert_allclose(cold_diffusion.rescale(whole, Z_GRAY, s), every, atol=1e-5)
    per_picture = cold_diffusion.rescale(Z_COLOR, Z_GRAY, jnp.array([0.0, 2.0]))
    np.testing.assert_allclose(per_picture[0], Z_GRAY[0], atol=1e-6)
    np.testing.assert_allclose(per_picture[1], 2 * Z_COLOR[1] - Z_GRAY[1], atol=1e-5)


def test_degrading_goes_from_colour_to_gray() -> None:
    np.testing.assert_array_equal(cold_diffusion.degrade(Z_COLOR, Z_GRAY, jnp.zeros(2)), Z_COLOR)
    np.testing.assert_array_equal(cold_diffusion.degrade(Z_COLOR, Z_GRAY, jnp.ones(2)), Z_GRAY)
    quarter = cold_diffusion.degrade(Z_COLOR, Z_GRAY, jnp.full(2, 0.25))
    np.testing.assert_allclose(quarter, 0.75 * Z_COLOR + 0.25 * Z_GRAY, atol=1e-6)


def test_drawn_times_have_their_atom_at_one() -> None:
    t = np.asarray(cold_diffusion.draw_times(jax.random.key(0), 20_000, 0.1))
    assert (t > 0).all() and (t <= 1).all()
    assert (t == 1).mean() == pytest.approx(0.1, abs=0.01)
    rest = np.sort(t[t < 1])
    np.testing.assert_allclose(rest, np.linspace(0, 1, len(rest)), atol=0.02)
    assert (np.asarray(cold_diffusion.draw_times(jax.random.key(0), 100, 1.0)) == 1).all()


@pytest.mark.parametrize(
    ("steps", "solver", "words"),
    [
        (0, "euler", "num_steps is 0"),
        (10**12, "euler", "num_steps is 1000000000000"),
        (1, "ddim", "'ddim'"),
    ],
)
def test_impossible_options_are_told(steps, solver, words) -> None:
    with pytest.raises(UserError, match=words):
        cold_diffusion.check(steps, solver)
