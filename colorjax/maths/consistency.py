"""Consistency distillation: a denoiser's whole walk in one evaluation (Song et al. 2023).

Along the trajectory that a teacher's noise estimate defines, every z_t leads to one end z_0. A
student that knows it, f(z_t, t, s), says the same along the whole trajectory, and of z_0 itself it
says z_0. Written with a noise estimate, f = (z_t - sqrt(1 - a) eps) / sqrt(a) with a = alpha-bar_t,
the second holds by construction: at a = 1 it is z_t, whatever eps. So the student is a UNet of the
teacher's shape and starts from its weights.

The first is learned as latent consistency models do (Luo et al. 2023): one step of DDIM by the
guided teacher, over k timesteps at once, takes z_t to a neighbour on the trajectory, where a moving
average of the student is asked for its end; the student is to say the same of z_t. The guidance
scale s is drawn anew for every picture and told to the student, which so has all of them inside.
Below timestep k the neighbour is z_0 itself. Chained from there on, the targets are a DDIM walk
with steps of k: that is what the student can learn at best.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from colorjax.maths.samplers import Denoise, clean, ddim_step
from colorjax.maths.schedule import Schedule
from colorjax.maths.types import Array, Latents, Timesteps


def level(schedule: Schedule, timesteps: Timesteps) -> Float[Array, "b 1 1 1"]:
    """alpha-bar at timesteps; 1 below 0, where there is no noise."""
    alphas = jnp.asarray(schedule.alphas_cumprod)[jnp.maximum(timesteps, 0)]
    return jnp.where(timesteps < 0, 1.0, alphas)[:, None, None, None]


def end(denoise: Denoise, z_t: Latents, timesteps: Timesteps, schedule: Schedule) -> Latents:
    """f: where the trajectory through z_t ends, by a noise estimate; z_t itself below 0."""
    eps = denoise(z_t, jnp.maximum(timesteps, 0))
    return clean(z_t, eps, level(schedule, timesteps))


def target(
    average: Denoise,
    teacher: Denoise,
    z_t: Latents,
    timesteps: Timesteps,
    schedule: Schedule,
    skip: int,
) -> Latents:
    """What the student is to say of z_t: the average's word of a neighbour; without a gradient.

    Args:
        average: noise estimate of the student's moving average, with the guidance inside.
        teacher: the guided noise estimate.
        skip: k, how many timesteps lie between the two.
    """
    before = timesteps - skip
    eps = teacher(z_t, timesteps)
    neighbour = ddim_step(z_t, eps, level(schedule, timesteps), level(schedule, before))
    return jax.lax.stop_gradient(end(average, neighbour, before, schedule))


def distance(one: Latents, other: Latents, width: float) -> Float[Array, ""]:
    """The pseudo-Huber distance, sqrt(d^2 + width^2) - width, meaned over everything.

    A square where d is small beside `width`, an absolute difference beyond it, which forgives the
    ends that a student cannot know.
    """
    return (jnp.sqrt((one - other) ** 2 + width**2) - width).mean()
