"""The loss of L-CAD's second stage, by its formulas."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from colorjax import release
from colorjax.devices import sharding
from colorjax.maths.schedule import sample_posterior
from colorjax.methods import lcad, lora
from colorjax.train import run
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


@pytest.mark.proof
@pytest.mark.parametrize("prediction_type", ["v", "eps"])
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


@pytest.mark.proof
def test_adapters_are_all_that_is_trained_and_are_merged_in_the_release(
    small_release, tmp_path
) -> None:
    """The base with the run's LoRA is the run's own UNet, to the last bit of float32 but one."""
    config = small.config()
    config.init_from, config.stages = str(small_release), ("latent",)
    config.latent.update(lora_rank=2, lora_alpha=3.0, learning_rate=0.05)
    config.sample_every = 0
    mesh = sharding.make_mesh(config.mesh.data, config.mesh.fsdp)
    with jax.set_mesh(mesh):
        run.run_stage("latent", config, tmp_path, mesh)
    made = tmp_path / "release"
    adapters = release.read_part(made, "lora")
    assert float(adapters["scale"]) == 1.5
    changed = flatten_dict(lcad.load(made)[1]["unet"], sep="/")
    base = lcad.load(small_release)[1]
    before = flatten_dict(base["unet"], sep="/")
    other = {path for path in before if np.abs(changed[path] - before[path]).max() > 0}
    assert other and all(re.search("attn[12]/to_(q|k|v|out_0)/kernel$", path) for path in other)
    with_lora = flatten_dict(lora.with_adapters(base, str(made))["unet"], sep="/")
    for path in before:
        np.testing.assert_allclose(with_lora[path], changed[path], rtol=1e-6, atol=1e-7)
