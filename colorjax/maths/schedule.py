"""The forward process of Stable Diffusion: schedule and noising (Ho et al. 2020, Eq. 4)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from colorjax.maths.types import Array, Latents, Moments, PRNGKey, Timesteps

PREDICTION_TYPES = ("eps", "v")


class Schedule(NamedTuple):
    """A variance-preserving noise schedule; index t is the timestep."""

    alphas_cumprod: np.ndarray  # float32 [num_timesteps], the paper's alpha-bar

    @property
    def num_timesteps(self) -> int:
        return len(self.alphas_cumprod)


def scaled_linear(
    num_timesteps: int = 1000, beta_start: float = 0.00085, beta_end: float = 0.012
) -> Schedule:
    """Stable Diffusion's schedule: the square roots of beta are linear."""
    # In double precision, as the original buffers: a thousand factors near 1 are multiplied.
    betas = np.linspace(beta_start**0.5, beta_end**0.5, num_timesteps, dtype=np.float64) ** 2
    return Schedule(np.cumprod(1.0 - betas).astype(np.float32))


def add_noise(z_0: Latents, eps: Latents, timesteps: Timesteps, schedule: Schedule) -> Latents:
    """Noises latents: z_t = sqrt(alpha-bar_t) z_0 + sqrt(1 - alpha-bar_t) eps."""
    alpha = jnp.asarray(schedule.alphas_cumprod)[timesteps][:, None, None, None]
    return jnp.sqrt(alpha) * z_0 + jnp.sqrt(1.0 - alpha) * eps


def eps_from_v(z_t: Latents, v: Latents, timesteps: Timesteps, schedule: Schedule) -> Latents:
    """The noise in v = sqrt(alpha-bar_t) eps - sqrt(1 - alpha-bar_t) z_0 (Salimans and Ho 2022)."""
    alpha = jnp.asarray(schedule.alphas_cumprod)[timesteps][:, None, None, None]
    return jnp.sqrt(alpha) * v + jnp.sqrt(1.0 - alpha) * z_t


def eps_weights(
    timesteps: Timesteps, schedule: Schedule, prediction_type: str, min_snr: float = 0.0
) -> Float[Array, "b"]:
    """What makes a training loss of the squared error of the noise estimate, picture by picture.

    1 for a network that estimates eps. One that estimates v is trained by the error of v, which is
    that of eps over sqrt(alpha-bar): both belong to one z_t.

    Args:
        min_snr: gamma of min-SNR weighting (Hang et al. 2023, section 3.4, which takes 5): the
            squared error of z_0 counts min(SNR, gamma) times, SNR = alpha-bar / (1 - alpha-bar).
            That of eps is SNR times as large, so its weight is min(SNR, gamma) / SNR, whatever the
            network estimates. 0 is without.
    """
    alpha = jnp.asarray(schedule.alphas_cumprod)[timesteps]
    if min_snr:
        return jnp.minimum(1.0, min_snr * (1.0 - alpha) / alpha)
    return 1.0 / alpha if prediction_type == "v" else jnp.ones_like(alpha)


def sample_timesteps(key: PRNGKey, count: int, schedule: Schedule) -> Timesteps:
    """Draws `count` timesteps, uniform over all of the schedule's."""
    return jax.random.randint(key, (count,), 0, schedule.num_timesteps)


def split_moments(moments: Moments) -> tuple[Float[Array, "b h w c"], Float[Array, "b h w c"]]:
    """Mean and log variance; the latter clamped to [-30, 20] as in Stable Diffusion."""
    # Without the clamp a network at its beginning can make the exponential infinite.
    mean, log_variance = jnp.split(moments, 2, axis=-1)
    return mean, jnp.clip(log_variance, -30.0, 20.0)


def sample_posterior(moments: Moments, noise: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Turns standard normal noise into an unscaled latent of the VAE's posterior."""
    mean, log_variance = split_moments(moments)
    return mean + jnp.exp(0.5 * log_variance) * noise
