"""The loss of L-CAD's second stage, by its formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from colorjax.maths.schedule import sample_posterior
from colorjax.methods import lcad
from colorjax.train.stages import latent
from tests import small


@pytest.fixture(scope="module")
def case():
    model = lcad.build(small.config().model.to_dict())
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    eps, posterior = rng.normal(size=(2, 2, 8, 8, 4)).astype(np.float32)
    ids = rng.integers(1, 1000, (2, 24)).astype(np.int32)
    timesteps = np.array([40, 990], np.int32)
    return model, small.random_params(model), (pixels, ids, timesteps, eps, posterior)


@pytest.mark.parametrize("prediction_type", ["v", pytest.param("eps", marks=pytest.mark.proof)])
def test_loss_is_the_error_of_what_the_unet_estimates(case, prediction_type) -> None:
    model, params, inputs = case
    model = model._replace(prediction_type=prediction_type)
    pixels, ids, timesteps, eps, posterior = inputs
    random = {"timesteps": timesteps, "eps": eps, "posterior_noise": posterior}
    run = jax.jit(lambda params, random: latent.loss(model, params, pixels, ids, **random))
    got = run(params, random)

    image, luminance = latent.image_and_luminance(jnp.asarray(pixels))
    moments = small.jitted(lcad.encode_image, model, params, image)
    z_0 = np.asarray(sample_posterior(moments, posterior)) * model.scaling_factor
    alpha = model.schedule.alphas_cumprod.astype(np.float64)[timesteps][:, None, None, None]
    signal, noise = np.sqrt(alpha), np.sqrt(1 - alpha)
    z_t = (signal * z_0 + noise * eps).astype(np.float32)
    feature = small.jitted(lcad.encode_luminance, model, params, luminance)[-1]
    context = small.jitted(lcad.encode_text, model, params, ids)
    unet = jax.jit(model.unet.apply)
    output = unet({"params": params["unet"]}, z_t, timesteps, context, feature)
    target = {"eps": eps, "v": signal * eps - noise * z_0}[prediction_type]
    assert float(got) == pytest.approx(((np.asarray(output) - target) ** 2).mean(), rel=1e-4)
