"""Consistency distillation, on trajectories whose ends are known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from colorjax.maths import consistency, guidance, integrators, samplers
from colorjax.maths.schedule import scaled_linear

SCHEDULE = scaled_linear()
SHAPE = (4, 2, 2, 3)
LATENTS = jax.random.normal(jax.random.key(0), SHAPE)
DEVIATION = 0.6  # of normal data, whose best denoiser is linear


def alpha(timesteps):
    """alpha-bar in double precision, 1 where there is no noise."""
    levels = np.append(SCHEDULE.alphas_cumprod.astype(np.float64), 1.0)
    return levels[np.asarray(timesteps)][:, None, None, None]


def linear(z_t, timesteps):
    """The noise that is to be expected in z_t of data N(0, DEVIATION^2)."""
    a = consistency.level(SCHEDULE, timesteps)
    return jnp.sqrt(1 - a) * z_t / (a * DEVIATION**2 + 1 - a)


def known_end(z_t, timesteps):
    """Its trajectory keeps z over its standard deviation: it ends at that times DEVIATION."""
    a = alpha(timesteps)
    return np.asarray(z_t, np.float64) * DEVIATION / np.sqrt(a * DEVIATION**2 + 1 - a)


def exact(z_t, timesteps):
    """The noise estimate whose word of the end is the known one."""
    a = alpha(timesteps)
    return jnp.asarray((z_t - np.sqrt(a) * known_end(z_t, timesteps)) / np.sqrt(1 - a), jnp.float32)


def test_a_student_says_of_what_has_no_noise_that_it_is_its_own_end() -> None:
    wild = lambda z_t, timesteps: 100.0 * jnp.ones_like(z_t)  # noqa: E731
    ends = consistency.end(wild, LATENTS, jnp.array([-1, -20, 0, 500]), SCHEDULE)
    np.testing.assert_array_equal(ends[:2], LATENTS[:2])
    assert jnp.abs(ends[2:] - LATENTS[2:]).min() > 1.0


def test_the_known_end_is_what_is_learned_up_to_the_square_of_the_step() -> None:
    timesteps = jnp.array([300, 500, 700, 900])
    errors = []
    for skip in (160, 80, 40):
        wanted = consistency.target(exact, linear, LATENTS, timesteps, SCHEDULE, skip)
        errors.append(np.abs(wanted - known_end(LATENTS, timesteps)).max())
    assert errors[0] < 0.1 and errors[2] > 1e-4  # float32 still sees it
    ratios = np.divide(errors[:2], errors[1:])
    assert (ratios > 3.0).all() and (ratios < 5.0).all()


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_targets_one_after_the_other_are_a_walk_of_ddim(scale: float) -> None:
    """A student that has learned each target, from the least noise on, for any guided teacher."""

    def teacher(z_t, timesteps):
        both = lambda z, t: jnp.concatenate([0.1 * jnp.sin(z[:4]), linear(z[4:], t[4:])])  # noqa: E731
        return guidance.classifier_free(both, scale)(z_t, timesteps)

    def learned(z_t, timesteps, left: int):
        """The end that a student knows after `left` targets, by asking the one before."""
        if left == 0:
            return z_t
        average = lambda z, t: exact_of(learned(z, t, left - 1), z, t)  # noqa: E731
        return consistency.target(average, teacher, z_t, timesteps, SCHEDULE, 200)

    def exact_of(z_0, z_t, timesteps):
        a = consistency.level(SCHEDULE, timesteps)
        return (z_t - jnp.sqrt(a) * z_0) / jnp.sqrt(1 - a)

    walked = samplers.sample("ddim", teacher, LATENTS, SCHEDULE, 5, "even")
    ends = learned(LATENTS, jnp.full(4, 999), 5)
    np.testing.assert_allclose(ends, walked, rtol=1e-3, atol=1e-4)


def test_one_step_ends_the_trajectory_and_more_keep_the_distribution() -> None:
    """With the exact student each step's end has the data's standard deviation, whatever t."""
    many = jax.random.normal(jax.random.key(1), (64, 8, 8, 4))
    noises = jax.random.normal(jax.random.key(2), (4, *many.shape))

    def student(z_t, timesteps):  # `exact`, of traced timesteps
        a = consistency.level(SCHEDULE, timesteps)
        z_0 = z_t * DEVIATION / jnp.sqrt(a * DEVIATION**2 + 1 - a)
        return (z_t - jnp.sqrt(a) * z_0) / jnp.sqrt(1 - a)

    def sampled(num_steps, noises):
        drawn = jnp.moveaxis(noises, 0, 1)
        sampler = samplers.consistency(student, SCHEDULE, num_steps, "even", drawn)
        return integrators.run(sampler, many)

    one = sampled(1, noises[:1])
    np.testing.assert_allclose(one, known_end(many, [999] * 64), rtol=1e-3, atol=1e-4)
    four = sampled(4, noises)
    assert float(four.std()) == pytest.approx(DEVIATION, rel=0.02)
    again = sampled(4, noises.at[0].set(7.0))
    np.testing.assert_array_equal(again, four)  # the first noise is the latents themselves
    other = sampled(4, 2 * noises)
    assert float(jnp.abs(other - four).max()) > 0.1


def test_no_gradient_goes_through_the_target_and_the_distance_has_two_ends() -> None:
    def asked(scale):
        student = lambda z, t: scale * linear(z, t)  # noqa: E731
        return consistency.target(student, linear, LATENTS, jnp.full(4, 500), SCHEDULE, 20).sum()

    assert asked(1.0) != pytest.approx(asked(2.0)) and jax.grad(asked)(1.0) == 0.0
    small, large = 1e-3 * jnp.ones(SHAPE), 100.0 * jnp.ones(SHAPE)
    zero = jnp.zeros(SHAPE)
    assert float(consistency.distance(small, zero, 1.0)) == pytest.approx(5e-7, rel=0.2)
    assert float(consistency.distance(large, zero, 1e-3)) == pytest.approx(100.0, rel=1e-3)
