"""Latent cold diffusion: the way from a gray latent to its colours, and samplers that walk it.

Symbols: z_color and z_gray are the latents of a picture and of its gray version, d = z_color -
z_gray is the colour residual, t in [0,1] is 1 at gray and 0 at full colour. Diffusing Colors
(Zabari et al. 2023) weights the gray latent by t and the colour latent by 1 - t and predicts d.

Noise at the gray end is our option: the walk then starts at the source z_gray + sigma eps instead
of z_gray, and what is predicted is z_color minus the source, d - sigma eps. sigma = 0 is the paper.
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from colorjax.errors import UserError, one_of
from colorjax.maths import integrators
from colorjax.maths.integrators import Integrator, Levels, along_batch
from colorjax.maths.samplers import Denoise
from colorjax.maths.types import Array, Latents, PRNGKey, Timesteps

Solver = Literal["algorithm_2", "euler", "heun"]
SOLVERS = ("algorithm_2", "euler", "heun")
Times = Float[Array, "b"]
Strength = Float[Array, "b"] | Float[Array, ""] | float

MOST_STEPS = 1000  # as many as the pretrained network has times
LAST_TIMESTEP = 999.0  # of the pretrained network that cold diffusion starts from
_SMALLEST_TIME = 1e-3


def per_picture(times: Strength) -> Array:
    """Shapes one number per picture, or one for all, so that it multiplies latents."""
    return along_batch(jnp.asarray(times, jnp.float32))


def degrade(z_color: Latents, source: Latents, t: Times) -> Latents:
    """The point z_t = (1 - t) z_color + t source of the way: without colour at t = 1."""
    return (1.0 - per_picture(t)) * z_color + per_picture(t) * source


def to_timesteps(t: Times) -> Timesteps:
    """What the network's time embedding reads: 999 t spans the range it was trained on (ours)."""
    return LAST_TIMESTEP * t


def to_times(timesteps: Timesteps) -> Times:
    """The inverse of `to_timesteps`."""
    return timesteps / LAST_TIMESTEP


def draw_times(key: PRNGKey, count: int, certain_share: float) -> Times:
    """Draws times of training: uniform on (0, 1], with a share at exactly 1.

    Sampling's first step only ever sees t = 1, which a uniform draw never hits (ours).
    """
    # Two keys, so that the share does not move the other times.
    uniform_key, certain_key = jax.random.split(key)
    t = jax.random.uniform(uniform_key, (count,), minval=_SMALLEST_TIME, maxval=1.0)
    return jnp.where(jax.random.uniform(certain_key, (count,)) < certain_share, 1.0, t)


def check(num_steps: int, solver: str) -> None:
    """Refuses options that no sampler takes.

    Raises:
        UserError: no step, or an unknown solver.
    """
    if not 1 <= num_steps <= MOST_STEPS:
        raise UserError(f"num_steps is {num_steps}; it must be in 1..{MOST_STEPS}")
    one_of("solver", solver, SOLVERS)


def sample(
    denoise: Denoise,
    z_gray: Latents,
    num_steps: int,
    *,
    noise: Latents | None = None,
    start: Latents | None = None,
    t_start: Strength = 1.0,
    vividness: Strength = 1.0,
    solver: Solver = "algorithm_2",
) -> Latents:
    """Walks from gray, or from faded colours, to colours in steps of t_start / num_steps.

    Args:
        start: the latent at `t_start`; the source if none is given. The rest as `integrator`.

    Returns:
        The scaled latents at t = 0.

    Raises:
        UserError: no step, or an unknown solver.
    """
    walked = integrator(
        denoise,
        z_gray,
        num_steps,
        noise=noise,
        t_start=t_start,
        vividness=vividness,
        solver=solver,
    )
    if start is None:
        start = z_gray if noise is None else z_gray + noise
    return integrators.run(walked, start)


def integrator(
    denoise: Denoise,
    z_gray: Latents,
    num_steps: int,
    *,
    noise: Latents | None = None,
    t_start: Strength = 1.0,
    vividness: Strength = 1.0,
    solver: Solver = "algorithm_2",
) -> Integrator:
    """The walk of `sample` as a value.

    Args:
        denoise: (z_t, 999 t) -> estimate of z_color minus the source, guided or not.
        z_gray: the gray latent.
        num_steps: calls of `denoise`; "heun" makes 2 num_steps - 1.
        noise: sigma eps, what the source has beyond z_gray.
        t_start: 1, or less for a start that has colour (ours, after the paper's application).
        vividness: multiplies the colour of every step, as the paper; the noise it leaves alone
            (ours), so that an exact estimate ends at z_gray + s d for any sigma.
        solver: "algorithm_2" is Cold Diffusion's (Bansal et al. 2022): z + D(z_0', t - 1/T) -
            D(z_0', t) with D = `degrade` and z_0' the estimated end. "euler" is the same in exact
            arithmetic, for D is linear in t. "heun" averages two slopes; its last step is Euler's,
            for t = 0 is outside of what is trained.

    Raises:
        UserError: no step, or an unknown solver.
    """
    check(num_steps, solver)
    noise = jnp.zeros_like(z_gray) if noise is None else noise
    source = z_gray + noise
    t_start = jnp.broadcast_to(jnp.asarray(t_start, jnp.float32), (len(z_gray),))
    size = t_start / num_steps

    def slope(z_t: Latents, t: Times) -> Latents:
        estimate = denoise(z_t, to_timesteps(t))
        return per_picture(vividness) * (estimate + noise) - noise

    def step_by(solver: Solver) -> Callable[[Latents, Times], Latents]:
        advance = _advance(solver, slope, source, size)
        return lambda z_t, fraction: advance(z_t, fraction * t_start)

    # Counted down from the whole: t of the first step is exactly t_start, which a running
    # difference of float32 would miss.
    fractions = np.arange(num_steps, -1, -1, dtype=np.float32) / np.float32(num_steps)
    return Integrator(
        fractions[:-1],
        Levels(np.ones_like(fractions), fractions),
        start=lambda latents: latents,
        step=step_by(solver),
        latents=lambda z_t: z_t,
        last=step_by("euler") if solver == "heun" else None,
    )


def _advance(
    solver: Solver, slope: Callable[[Latents, Times], Latents], source: Latents, size: Times
) -> Callable[[Latents, Times], Latents]:
    """One step of length `size` towards the colours; the solvers are described at `sample`."""

    def algorithm_2(z_t: Latents, t: Times) -> Latents:
        end = source + slope(z_t, t)
        return z_t - degrade(end, source, t) + degrade(end, source, t - size)

    def euler(z_t: Latents, t: Times) -> Latents:
        return z_t + per_picture(size) * slope(z_t, t)

    def heun(z_t: Latents, t: Times) -> Latents:
        first = slope(z_t, t)
        second = slope(z_t + per_picture(size) * first, t - size)
        return z_t + 0.5 * per_picture(size) * (first + second)

    return {"algorithm_2": algorithm_2, "euler": euler, "heun": heun}[solver]


def rescale(z_0: Latents, z_gray: Latents, vividness: Strength) -> Latents:
    """Applies the vividness after the walk: z_gray + s (z_0 - z_gray).

    One walk serves all scales. For an exact estimate it equals vividness in every step (ours).
    """
    return z_gray + per_picture(vividness) * (z_0 - z_gray)
