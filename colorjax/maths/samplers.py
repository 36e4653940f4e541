"""Samplers: short functions of a denoiser, each one `lax.scan`."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from colorjax.errors import UserError, one_of
from colorjax.maths.schedule import Schedule
from colorjax.maths.types import Array, Latents, Timesteps

Denoise = Callable[[Latents, Timesteps], Latents]  # (latents, timesteps) -> eps_pred
Carry = tuple[Latents, Latents, Latents, Latents]
Level = Float[Array, ""] | Float[Array, "b 1 1 1"] | np.float32
Spacing = Literal["released", "even"]
SPACINGS = ("released", "even")


class Grid(NamedTuple):
    """The sampling steps, first to last: from timestep t at level alpha to level alpha_prev."""

    timesteps: np.ndarray  # int32 [num_steps], descending
    alphas: np.ndarray  # float32 [num_steps]
    alphas_prev: np.ndarray  # float32 [num_steps]


def time_grid(schedule: Schedule, num_steps: int, spacing: str) -> Grid:
    """The timesteps that a sampler visits.

    "released" is L-CAD's: 1, 1 + c, 1 + 2c, ... with c = 1000 / num_steps, whose last step goes to
    alpha-bar[0] rather than 1. "even" takes any count: it starts at the last timestep, where
    training is noisiest, spaces evenly and ends at 1 (Lin et al. 2024, "trailing").

    Raises:
        UserError: a count that the spacing cannot take, or an unknown spacing.
    """
    one_of("spacing", spacing, SPACINGS)
    total = schedule.num_timesteps
    if spacing == "released":
        if not 1 <= num_steps < total or total % num_steps:
            raise UserError(
                f"num_steps is {num_steps}; spacing 'released' needs a divisor of {total}, "
                "such as 10, 20, 25 or 50; or use spacing 'even'"
            )
        steps = np.arange(0, total, total // num_steps) + 1
        last = schedule.alphas_cumprod[0]
    else:
        if not 1 <= num_steps <= total:
            raise UserError(f"num_steps is {num_steps}; it must be in 1..{total}")
        steps = np.round(np.arange(1, num_steps + 1) * total / num_steps).astype(int) - 1
        last = np.float32(1.0)
    alphas = schedule.alphas_cumprod[steps]
    previous = np.concatenate([[last], alphas[:-1]])
    return Grid(
        steps[::-1].astype(np.int32).copy(),
        alphas[::-1].astype(np.float32).copy(),
        previous[::-1].astype(np.float32).copy(),
    )


def clean(z_t: Latents, eps: Latents, alpha: Level) -> Latents:
    """The estimate of z_0 from that of the noise, at a level alpha-bar; z_t itself at 1."""
    return (z_t - jnp.sqrt(1.0 - alpha) * eps) / jnp.sqrt(alpha)


def ddim_step(z_t: Latents, eps: Latents, alpha: Level, alpha_prev: Level) -> Latents:
    """Goes from one level of alpha-bar to another.

    The estimate of z_0 is not clipped: latents have no range, unlike the pixels of the paper.
    """
    z_0 = clean(z_t, eps, alpha)
    return jnp.sqrt(alpha_prev) * z_0 + jnp.sqrt(1.0 - alpha_prev) * eps


def ddim(
    denoise: Denoise,
    latents: Latents,
    schedule: Schedule,
    num_steps: int,
    spacing: Spacing = "released",
) -> Latents:
    """Deterministic DDIM (Song et al. 2021, Eq. 12 with sigma = 0), without clipping.

    Args:
        denoise: the guided noise estimate.
        latents: standard normal noise.
        schedule: what the denoiser was trained with.
        num_steps: calls of `denoise`.
        spacing: see `time_grid`.

    Returns:
        The scaled latents z_0.
    """
    grid = time_grid(schedule, num_steps, spacing)

    def step(z_t: Latents, at: Grid) -> tuple[Latents, None]:
        eps = denoise(z_t, jnp.full(len(z_t), at.timesteps, jnp.int32))
        return ddim_step(z_t, eps, at.alphas, at.alphas_prev), None

    return jax.lax.scan(step, latents, jax.tree.map(jnp.asarray, grid))[0]


class Steps(NamedTuple):
    """Exponential-integrator steps of a grid, in lambda = log(sqrt(alpha) / sqrt(1 - alpha)).

    A step of length h takes z to `ratio` z + `gain` D, with D an estimate of z_0: the current one
    plus `slope` times its change since the last step. `correct` is the weight of the change that
    the next estimate will show, `bend` that of the last change beside it.
    """

    timesteps: np.ndarray
    alphas: np.ndarray
    ratio: np.ndarray
    gain: np.ndarray
    slope: np.ndarray
    bend: np.ndarray
    correct: np.ndarray


def exponential_steps(grid: Grid) -> Steps:
    """Coefficients in double precision; the first and the last step are of first order."""
    alpha, alpha_next = grid.alphas.astype(np.float64), grid.alphas_prev.astype(np.float64)
    ratio = np.sqrt((1.0 - alpha_next) / (1.0 - alpha))
    decay = ratio * np.sqrt(alpha / alpha_next)  # e^-h, 0 where the step ends without noise
    gain = np.sqrt(alpha_next) * (1.0 - decay)
    h = -np.log(np.maximum(decay, np.finfo(np.float64).tiny))
    growth = np.concatenate([[0.0], h[1:] / h[:-1]])  # h over the last h
    slope = 0.5 * growth
    slope[-1] = 0.0
    # UniC's two conditions (Zhao et al. 2023, B(h) = e^-h - 1): with the unknown weights u of the
    # last slope and v of the next change, u + v = b_1 and -u / growth + v = b_2.
    phi = np.expm1(-h)
    b_1 = (phi / -h - 1.0) / phi
    b_2 = 2.0 * ((phi / -h - 1.0) / -h - 0.5) / phi
    u = np.where(growth > 0, (b_1 - b_2) / (1.0 + 1.0 / np.maximum(growth, 1e-12)), 0.0)
    v = np.where(growth > 0, b_1 - u, 0.5)
    columns = (ratio, gain, slope, u * growth, v)
    return Steps(grid.timesteps, grid.alphas, *(c.astype(np.float32) for c in columns))


def _clean(denoise: Denoise, z_t: Latents, at: Steps) -> Latents:
    """The estimate of z_0 at a step, from that of the noise."""
    eps = denoise(z_t, jnp.full(len(z_t), at.timesteps, jnp.int32))
    return clean(z_t, eps, at.alphas)


def dpmpp_2m(
    denoise: Denoise,
    latents: Latents,
    schedule: Schedule,
    num_steps: int,
    spacing: Spacing = "released",
) -> Latents:
    """DPM-Solver++(2M) (Lu et al. 2022, Algorithm 2). Arguments as `ddim`."""
    steps = exponential_steps(time_grid(schedule, num_steps, spacing))

    def step(carry: tuple[Latents, Latents], at: Steps) -> tuple[tuple[Latents, Latents], None]:
        z_t, last = carry
        z_0 = _clean(denoise, z_t, at)
        return (at.ratio * z_t + at.gain * (z_0 + at.slope * (z_0 - last)), z_0), None

    start = (latents, jnp.zeros_like(latents))
    return jax.lax.scan(step, start, jax.tree.map(jnp.asarray, steps))[0][0]


def unipc(
    denoise: Denoise,
    latents: Latents,
    schedule: Schedule,
    num_steps: int,
    spacing: Spacing = "released",
) -> Latents:
    """UniPC of second order (Zhao et al. 2023). Arguments as `ddim`.

    It is DPM-Solver++(2M) whose every step is corrected by the estimate that the next one makes
    anyway, so it costs no further call of `denoise`.
    """
    steps = exponential_steps(time_grid(schedule, num_steps, spacing))
    # Each step sees itself and the one before it, whose end it corrects.
    before = jax.tree.map(lambda column: np.concatenate([column[:1], column[:-1]]), steps)
    first = np.arange(num_steps) == 0

    def step(carry: Carry, at: tuple[Steps, Steps, Array]) -> tuple[Carry, None]:
        now, previous, is_first = at
        predicted, base, z_1, z_2 = carry  # z_1, z_2: the last two estimates
        z_0 = _clean(denoise, predicted, now)
        change = previous.bend * (z_1 - z_2) + previous.correct * (z_0 - z_1)
        corrected = previous.ratio * base + previous.gain * (z_1 + change)
        z_t = jnp.where(is_first, predicted, corrected)
        ahead = now.ratio * z_t + now.gain * (z_0 + now.slope * (z_0 - z_1))
        return (ahead, z_t, z_0, z_1), None

    # What the first step reads of the last estimates is multiplied by 0 or not chosen.
    zeros = jnp.zeros_like(latents)
    columns = jax.tree.map(jnp.asarray, (steps, before, first))
    return jax.lax.scan(step, (latents, latents, zeros, zeros), columns)[0][0]


def consistency(
    denoise: Denoise,
    latents: Latents,
    schedule: Schedule,
    num_steps: int,
    spacing: Spacing,
    noises: Float[Array, "n b h w c"],
) -> Latents:
    """Multistep consistency sampling (Song et al. 2023, Algorithm 1) by a noise estimate.

    Each step goes to the end of the trajectory at once, and takes it back to the next level by
    noise of its own. Arguments as `ddim`, but:

    Args:
        denoise: of a network that was distilled, see `colorjax.maths.consistency`.
        noises: standard normal, one for each step; the first one, where `latents` are the noise,
            is not looked at.
    """
    grid = time_grid(schedule, num_steps, spacing)
    # The first step starts from the noise alone, as all samplers here do.
    signal = np.where(np.arange(num_steps) > 0, np.sqrt(grid.alphas), 0.0).astype(np.float32)
    sigma = np.where(np.arange(num_steps) > 0, np.sqrt(1.0 - grid.alphas), 1.0).astype(np.float32)
    noises = jnp.concatenate([latents[None], noises[1:]])

    def step(z_0: Latents, at: tuple[Grid, Array, Array, Latents]) -> tuple[Latents, None]:
        level, signal, sigma, noise = at
        z_t = signal * z_0 + sigma * noise
        eps = denoise(z_t, jnp.full(len(z_t), level.timesteps, jnp.int32))
        return clean(z_t, eps, level.alphas), None

    columns = (*jax.tree.map(jnp.asarray, (grid, signal, sigma)), noises)
    return jax.lax.scan(step, jnp.zeros_like(latents), columns)[0]


SAMPLERS = {"ddim": ddim, "dpmpp_2m": dpmpp_2m, "unipc": unipc}
