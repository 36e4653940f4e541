"""The multistep samplers against diffusers' schedulers."""

import jax.numpy as jnp
import numpy as np
import pytest

from colorjax.maths import samplers
from colorjax.maths.schedule import scaled_linear

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

# The schedulers mix tensors and arrays of NumPy 2, which torch does not copy as it asks.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SCHEDULE = scaled_linear()
REFERENCES = {
    "dpmpp_2m": lambda **sizes: diffusers.DPMSolverMultistepScheduler(
        algorithm_type="dpmsolver++", lower_order_final=True, **sizes
    ),
    "unipc": lambda **sizes: diffusers.UniPCMultistepScheduler(**sizes),
}


def estimate(z_t, alpha, cos):
    """A noise estimate that bends a little, so that the order of a method shows."""
    return (1 - alpha) ** 0.5 * (z_t - 0.7 * alpha**0.5) / (1 - 0.9 * alpha) * (1 + 0.1 * cos(z_t))


@pytest.mark.parametrize("count", [3, 10, 25])
@pytest.mark.parametrize("name", REFERENCES)
def test_trajectories_end_together(name: str, count: int) -> None:
    scheduler = REFERENCES[name](
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        timestep_spacing="trailing",
        solver_order=2,
        final_sigmas_type="zero",
    )
    scheduler.set_timesteps(count)
    noise = np.random.default_rng(0).normal(size=(2, 4, 4, 1)).astype(np.float32)
    z_t = torch.from_numpy(noise)
    for t in scheduler.timesteps:
        eps = estimate(z_t, float(SCHEDULE.alphas_cumprod[int(t)]), torch.cos)
        z_t = scheduler.step(eps, t, z_t).prev_sample

    def denoise(latents, timesteps):
        alpha = jnp.asarray(SCHEDULE.alphas_cumprod)[timesteps][:, None, None, None]
        return estimate(latents, alpha, jnp.cos)

    ours = samplers.sample(name, denoise, jnp.asarray(noise), SCHEDULE, count, "even")
    assert np.abs(np.asarray(ours) - z_t.numpy()).max() <= 1e-5
