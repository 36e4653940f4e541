"""Samplers: short functions of a denoiser, each one `lax.scan`."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from colorjax.diffusion import Schedule
from colorjax.errors import UserError
from colorjax.types import Latents, Timesteps

Denoise = Callable[[Latents, Timesteps], Latents]  # (latents, timesteps) -> eps_pred
Spacing = Literal["released", "even"]


class Grid(NamedTuple):
    """The sampling steps, first to last: from timestep t at level alpha to level alpha_prev."""

    timesteps: np.ndarray  # int32 [num_steps], descending
    alphas: np.ndarray  # float32 [num_steps]
    alphas_prev: np.ndarray  # float32 [num_steps]


def time_grid(schedule: Schedule, num_steps: int, spacing: str) -> Grid:
    """Which timesteps a sampler visits.

    "released" is L-CAD's: 1, 1 + c, 1 + 2c, ... with c = 1000 / num_steps, whose last step goes to
    alpha-bar[0] rather than 1. "even" takes any count: it starts at the last timestep, where
    training is noisiest, spaces evenly and ends at 1 (Lin et al. 2024, "trailing").

    Raises:
        UserError: a count that the spacing cannot take, or an unknown spacing.
    """
    total = schedule.num_timesteps
    if spacing == "released":
        if not 1 <= num_steps < total or total % num_steps:
            raise UserError(
                f"num_steps is {num_steps}; spacing 'released' needs a divisor of {total}, "
                "such as 10, 20, 25 or 50; or use spacing 'even'"
            )
        steps = np.arange(0, total, total // num_steps) + 1
        last = schedule.alphas_cumprod[0]
    elif spacing == "even":
        if not 1 <= num_steps <= total:
            raise UserError(f"num_steps is {num_steps}; it must be in 1..{total}")
        steps = np.round(np.arange(1, num_steps + 1) * total / num_steps).astype(int) - 1
        last = np.float32(1.0)
    else:
        raise UserError(f"spacing is {spacing!r}; it must be 'released' or 'even'")
    alphas = schedule.alphas_cumprod[steps]
    previous = np.concatenate([[last], alphas[:-1]])
    return Grid(
        steps[::-1].astype(np.int32).copy(),
        alphas[::-1].astype(np.float32).copy(),
        previous[::-1].astype(np.float32).copy(),
    )


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
        z_0 = (z_t - jnp.sqrt(1.0 - at.alphas) * eps) / jnp.sqrt(at.alphas)
        return jnp.sqrt(at.alphas_prev) * z_0 + jnp.sqrt(1.0 - at.alphas_prev) * eps, None

    return jax.lax.scan(step, latents, jax.tree.map(jnp.asarray, grid))[0]
