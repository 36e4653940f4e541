"""Runs in pieces are the run, for pictures that begin at different times, too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from colorjax.maths import cold_diffusion, integrators, samplers
from colorjax.maths.schedule import scaled_linear

SCHEDULE = scaled_linear()
START = jax.random.normal(jax.random.key(0), (3, 2, 2, 4))
STEPS = 7


def wavy(z_t, t):
    """An estimate that is different at every point and time."""
    return jnp.sin(3.0 * z_t) + jnp.cos(t / 400.0)[:, None, None, None]


def integrator(name: str) -> integrators.Integrator:
    if name in samplers.SAMPLERS:
        return samplers.SAMPLERS[name](wavy, SCHEDULE, STEPS, "even")
    more = {"noise": 0.1 * START, "vividness": 0.9, "solver": name}
    return cold_diffusion.integrator(wavy, 0.5 * START, STEPS, **more)


NAMES = [*samplers.SAMPLERS, *cold_diffusion.SOLVERS]


@pytest.mark.parametrize("name", NAMES)
def test_pieces_are_the_run(name) -> None:
    """The second picture begins three steps after the first, the third one after that."""
    walked = integrator(name)
    whole = jax.jit(lambda start: integrators.run(walked, start))(START)
    advance = jax.jit(lambda *state: integrators.advance(walked, *state), static_argnums=2)
    carry = walked.start(START)
    places = jnp.array([0, STEPS, STEPS])
    for count, enters in ((3, 1), (1, 2), (2, None), (STEPS, None)):
        carry, places = advance(carry, places, count)
        if enters is not None:
            which = jnp.arange(3) == enters
            carry = integrators.chosen(which, walked.start(START), carry)
            places = jnp.where(which, 0, places)
    assert places.tolist() == [STEPS] * 3
    if name == "heun":  # where pictures are not all at the last step, it is another program
        np.testing.assert_allclose(walked.latents(carry), whole, atol=2e-6)
    else:
        np.testing.assert_array_equal(walked.latents(carry), whole)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_at_its_end_stays_there(name) -> None:
    walked = integrator(name)
    carry, places = integrators.advance(walked, walked.start(START), jnp.array([0, 5, 7]), 2)
    assert places.tolist() == [2, 7, 7]
    np.testing.assert_array_equal(walked.latents(carry)[2], START[2])
    assert (walked.latents(carry)[:2] != START[:2]).any((1, 2, 3)).all()


@pytest.mark.parametrize("name", NAMES)
def test_of_one_known_picture_every_piece_shows_the_end(name) -> None:
    """With the exact estimate for one z_0 the way is a line, so its continuation is z_0."""
    z_0, z_gray = jnp.flip(START, 0), 0.5 * START
    alphas = jnp.asarray(SCHEDULE.alphas_cumprod)

    def exact(z_t, t):
        if name in cold_diffusion.SOLVERS:
            return z_0 - z_gray
        alpha = alphas[t][:, None, None, None]
        return (z_t - jnp.sqrt(alpha) * z_0) / jnp.sqrt(1 - alpha)

    if name in samplers.SAMPLERS:
        start, walked = START, samplers.SAMPLERS[name](exact, SCHEDULE, STEPS, "even")
    else:
        start, walked = z_gray, cold_diffusion.integrator(exact, z_gray, STEPS, solver=name)
    places = jnp.array([0, 0, 0])
    carry, reached = integrators.advance(walked, walked.start(start), places, 2)
    before, after = start, walked.latents(carry)
    assert np.abs(after - z_0).max() > 0.1, "it is not there yet"
    seen = integrators.extrapolated(walked, before, after, places, reached)
    np.testing.assert_allclose(seen, z_0, atol=2e-3)
    ended = jnp.full(3, STEPS)
    still = integrators.extrapolated(walked, after, after, ended, ended)
    np.testing.assert_array_equal(still, after)
