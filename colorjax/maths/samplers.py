"""Samplers: short functions of a denoiser, each one an `Integrator` that can be run in pieces."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from colorjax.errors import UserError, one_of
from colorjax.maths import integrators
from colorjax.maths.integrators import Integrator, Levels, along_batch
from colorjax.maths.schedule import Schedule
from colorjax.maths.types import Array, Latents, Timesteps

Denoise = Callable[[Latents, Timesteps], Latents]  # (latents, timesteps) -> eps_pred
Pair = tuple[Latents, Latents]
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


def _levels(grid: Grid) -> Levels:
    alphas = np.append(grid.alphas, grid.alphas_prev[-1]).astype(np.float64)
    scale, sigma = np.sqrt(alphas), np.sqrt((1.0 - alphas) / alphas)
    return Levels(scale.astype(np.float32), sigma.astype(np.float32))


def ddim(
    denoise: Denoise, schedule: Schedule, num_steps: int, spacing: Spacing = "released"
) -> Integrator:
    """Deterministic DDIM (Song et al. 2021, Eq. 12 with sigma = 0), without clipping.

    Args:
        denoise: the guided noise estimate.
        schedule: what the denoiser was trained with.
        num_steps: calls of `denoise`.
        spacing: see `time_grid`.
    """
    grid = time_grid(schedule, num_steps, spacing)

    def step(z_t: Latents, at: Grid) -> Latents:
        eps = denoise(z_t, at.timesteps)
        return ddim_step(z_t, eps, along_batch(at.alphas), along_batch(at.alphas_prev))

    return Integrator(grid, _levels(grid), lambda latents: latents, step, lambda z_t: z_t)


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
    return clean(z_t, denoise(z_t, at.timesteps), along_batch(at.alphas))


def dpmpp_2m(
    denoise: Denoise, schedule: Schedule, num_steps: int, spacing: Spacing = "released"
) -> Integrator:
    """DPM-Solver++(2M) (Lu et al. 2022, Algorithm 2). Arguments as `ddim`."""
    grid = time_grid(schedule, num_steps, spacing)

    def step(carry: Pair, at: Steps) -> Pair:
        z_t, last = carry
        z_0 = _clean(denoise, z_t, at)
        ratio, gain, slope = map(along_batch, (at.ratio, at.gain, at.slope))
        return ratio * z_t + gain * (z_0 + slope * (z_0 - last)), z_0

    def start(latents: Latents) -> Pair:
        return latents, jnp.zeros_like(latents)

    steps = exponential_steps(grid)
    return Integrator(steps, _levels(grid), start, step, lambda carry: carry[0])


def unipc(
    denoise: Denoise, schedule: Schedule, num_steps: int, spacing: Spacing = "released"
) -> Integrator:
    """UniPC of second order (Zhao et al. 2023). Arguments as `ddim`.

    It is DPM-Solver++(2M) whose every step is corrected by the estimate that the next one makes
    anyway, so it costs no further call of `denoise`.
    """
    grid = time_grid(schedule, num_steps, spacing)
    steps = exponential_steps(grid)
    # Each step sees itself and the one before it, whose end it corrects.
    before = jax.tree.map(lambda column: np.concatenate([column[:1], column[:-1]]), steps)
    first = np.arange(num_steps) == 0

    def step(carry: Carry, at: tuple[Steps, Steps, Array]) -> Carry:
        now, previous, is_first = at
        predicted, base, z_1, z_2 = carry  # z_1, z_2: the last two estimates
        z_0 = _clean(denoise, predicted, now)
        now, previous = jax.tree.map(along_batch, (now, previous))
        change = previous.bend * (z_1 - z_2) + previous.correct * (z_0 - z_1)
        corrected = previous.ratio * base + previous.gain * (z_1 + change)
        z_t = jnp.where(along_batch(is_first), predicted, corrected)
        ahead = now.ratio * z_t + now.gain * (z_0 + now.slope * (z_0 - z_1))
        return ahead, z_t, z_0, z_1

    def start(latents: Latents) -> Carry:
        # What the first step reads of the last estimates is multiplied by 0 or not chosen.
        zeros = jnp.zeros_like(latents)
        return latents, latents, zeros, zeros

    rows = (steps, before, first)
    return Integrator(rows, _levels(grid), start, step, lambda carry: carry[0])


def consistency(
    denoise: Denoise,
    schedule: Schedule,
    num_steps: int,
    spacing: Spacing,
    noises: Float[Array, "b n h w c"],
) -> Integrator:
    """Multistep consistency sampling (Song et al. 2023, Algorithm 1) by a noise estimate.

    Each step goes to the end of the trajectory at once, and takes it back to the next level by
    noise of its own. Arguments as `ddim`, but:

    Args:
        denoise: of a network that was distilled, see `colorjax.maths.consistency`.
        noises: standard normal, one for each step; the first one, where the latents that a run
            begins with are the noise, is not looked at.
    """
    grid = time_grid(schedule, num_steps, spacing)
    # The first step starts from the noise alone, as all samplers here do.
    places = np.arange(num_steps)
    signal = np.where(places > 0, np.sqrt(grid.alphas), 0.0).astype(np.float32)
    sigma = np.where(places > 0, np.sqrt(1.0 - grid.alphas), 1.0).astype(np.float32)

    def step(carry: Pair, at: tuple[Grid, Array, Array, Array]) -> Pair:
        z_0, first = carry
        level, signal, sigma, place = at
        noise = jnp.where(along_batch(place == 0), first, noises[jnp.arange(len(first)), place])
        z_t = along_batch(signal) * z_0 + along_batch(sigma) * noise
        return clean(z_t, denoise(z_t, level.timesteps), along_batch(level.alphas)), first

    # Every step's latents are an end already.
    ends = Levels(np.ones(num_steps + 1, np.float32), np.zeros(num_steps + 1, np.float32))
    rows = (grid, signal, sigma, places)
    return Integrator(
        rows, ends, lambda latents: (jnp.zeros_like(latents), latents), step, lambda carry: carry[0]
    )


SAMPLERS = {"ddim": ddim, "dpmpp_2m": dpmpp_2m, "unipc": unipc}


def sample(
    name: str,
    denoise: Denoise,
    latents: Latents,
    schedule: Schedule,
    num_steps: int,
    spacing: Spacing = "released",
) -> Latents:
    """A whole run of the sampler of a name, from standard normal noise to the scaled latents z_0.

    Raises:
        UserError: a count that the spacing cannot take, or an unknown spacing.
    """
    integrator = SAMPLERS[name](denoise, schedule, num_steps, spacing)
    return integrators.run(integrator, latents)
