"""Trajectory distillation: its target on walks whose end is known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from colorjax.maths import cold_diffusion, trajectory

SHAPE = (3, 2, 2, 4)
SOURCE, END = jax.random.normal(jax.random.key(0), (2, *SHAPE))
RATE = 1.3


def decaying(z, t):
    """dz/dt = -r goes exponentially towards END as t falls: z(t) - END = (s - END) e^-a(1-t)."""
    return RATE * (END - z)


def mean_slope(source, t):
    """R(s, t) of `decaying`: the way from 1 to t over its length."""
    left = 1.0 - cold_diffusion.per_picture(t)
    return (source - END) * (jnp.exp(-RATE * left) - 1.0) / left


def test_the_true_mean_is_kept_up_to_the_third_power_of_the_step() -> None:
    t = jnp.array([0.9, 0.6, 0.3])
    errors = []
    for size in (0.2, 0.1, 0.05):
        wanted, later = trajectory.target(mean_slope, decaying, SOURCE, t, size)
        np.testing.assert_allclose(later, t - size, rtol=1e-6)
        way = cold_diffusion.per_picture(1.0 - later)
        errors.append(float(jnp.abs(way * (wanted - mean_slope(SOURCE, later))).max()))
    assert errors[2] > 1e-5  # float32 still sees it
    np.testing.assert_allclose(np.divide(errors[:2], errors[1:]), 8.0, rtol=0.15)


def test_targets_one_after_the_other_are_the_midpoint_rule() -> None:
    """A student that has learned each target is as far as a walk by that rule, for any teacher."""

    def teacher(z, t):
        return jnp.sin(3.0 * z) + cold_diffusion.per_picture(t) * jnp.cos(z)

    size, known = 0.125, jnp.zeros(SHAPE)  # at t = 1 no way lies behind: any R will do
    z = np.asarray(SOURCE, np.float64)
    for k in range(8):
        t = 1.0 - k * size
        known, _ = trajectory.target(
            lambda source, t, known=known: known, teacher, SOURCE, jnp.full(3, t), size
        )
        half = z + size / 2 * (np.sin(3 * z) + t * np.cos(z))
        z = z + size * (np.sin(3 * half) + (t - size / 2) * np.cos(half))
    np.testing.assert_allclose(SOURCE + known, z, atol=1e-5)


def test_no_gradient_goes_through_the_target() -> None:
    def loss(scale):
        student = lambda source, t: scale * mean_slope(source, t)  # noqa: E731
        return trajectory.target(student, decaying, SOURCE, jnp.full(3, 0.5), 0.1)[0].sum()

    assert loss(1.0) != pytest.approx(loss(2.0)) and jax.grad(loss)(1.0) == 0.0
