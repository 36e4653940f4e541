"""The stage that distils L-CAD's UNet to few steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from colorjax import release
from colorjax.colorize.colorizer import Colorizer
from colorjax.devices import sharding
from colorjax.errors import UserError
from colorjax.maths import color
from colorjax.maths.schedule import sample_posterior
from colorjax.methods import consistency, lcad
from colorjax.methods.method import Pictures, noise_keys
from colorjax.train import run
from colorjax.train.stages import consistency as stage
from tests import small


def distilled_model():
    sizes = small.smallest().model.to_dict() | {
        "consistency": {"least_guidance": 1.0} | dict(most_guidance=4.0)
    }
    return lcad.build(sizes)


@pytest.mark.proof
def test_the_loss_is_that_of_one_step_of_the_guided_teacher() -> None:
    """By the formulas, from the networks' own outputs."""
    model = distilled_model()
    params = small.random_params(lcad.build(small.smallest().model.to_dict()))
    student = small.drawn(lambda key: consistency.init(model, key))
    average = jax.tree.map(lambda leaf: 0.9 * leaf, student)
    parts = params | {"consistency_unet": student, "average": average}
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    ids, negative = rng.integers(1, 1000, (2, 2, 24)).astype(np.int32)
    negative = negative[:1]
    latents = (2, 16, 16, 4)
    eps, posterior = rng.normal(size=(2, *latents)).astype(np.float32)
    t, scale = np.array([700, 12], np.int32), np.array([3.0, 1.5], np.float32)
    draws = stage.Draws(t, eps, posterior, scale)
    options = {"skip": 20, "width": 0.01}
    value = jax.jit(
        lambda parts: stage.loss(model, parts, pixels, (ids, negative), draws, options)
    )(parts)

    image, luminance = stage.image_and_luminance(jnp.asarray(pixels))
    moments = small.jitted(lcad.encode_image, model, params, image)
    features = small.jitted(lcad.encode_luminance, model, params, luminance)
    texts = [small.jitted(lcad.encode_text, model, params, jnp.asarray(i)) for i in (ids, negative)]
    z_0 = np.asarray(sample_posterior(moments, posterior)) * model.scaling_factor
    alpha = model.schedule.alphas_cumprod.astype(np.float64)[t][:, None, None, None]
    z_t = (np.sqrt(alpha) * z_0 + np.sqrt(1 - alpha) * eps).astype(np.float32)
    teacher = jax.jit(model.unet.apply)
    cond, uncond = (
        np.asarray(teacher({"params": params["unet"]}, z_t, t, text, features[-1]))
        for text in (texts[0], jnp.repeat(texts[1], 2, axis=0))
    )
    guided = uncond + scale[:, None, None, None] * (cond - uncond)
    before = np.array([model.schedule.alphas_cumprod[680], 1.0])[:, None, None, None]
    known = (z_t - np.sqrt(1 - alpha) * guided) / np.sqrt(alpha)
    neighbour = (np.sqrt(before) * known + np.sqrt(1 - before) * guided).astype(np.float32)
    unet = jax.jit(consistency.unet(model).apply)

    def end(of, latents, t, alpha):
        said = unet({"params": of}, latents, np.maximum(t, 0), texts[0], features[-1], scale)
        return (latents - np.sqrt(1 - alpha) * np.asarray(said)) / np.sqrt(alpha)

    wanted = end(average, neighbour, t - 20, before)
    np.testing.assert_allclose(wanted[1], neighbour[1])  # without noise there is nothing to say
    difference = end(student, z_t, t, alpha) - wanted
    expected = (np.sqrt(difference**2 + 1e-4) - 0.01).mean()
    assert float(value) == pytest.approx(expected, rel=1e-3)


def test_settings_by_which_nothing_is_learned_are_refused() -> None:
    options = small.config().consistency
    stage.check(small.config(), options, ())
    options.ema_decay = 0.0
    with pytest.raises(UserError, match="learns from its moving average"):
        stage.check(small.config(), options, ())
    options.update(ema_decay=0.9, least_guidance=5.0)
    with pytest.raises(UserError, match="it must be at most most_guidance, 4.0"):
        stage.check(small.config(), options, ())


@pytest.mark.proof
def test_a_release_that_was_distilled_colours_in_one_step(tmp_path) -> None:
    config = small.smallest()
    base = tmp_path / "base"
    sizes = config.model.to_dict()
    params = small.random_params(lcad.build(sizes))
    release.write(base, sizes | {"method": "lcad"}, params, small.DATA / "tokenizer")
    config.init_from, config.stages, config.sample_every = str(base), ("consistency",), 0
    config.consistency.update(batch_size=8, total_steps=2, warmup_steps=1)
    mesh = sharding.make_mesh(config.mesh.data, config.mesh.fsdp)
    with jax.set_mesh(mesh):
        run.run_stage("consistency", config, tmp_path / "run", mesh)
    made = tmp_path / "run" / "release"
    assert release.read_config(made)["consistency"]["most_guidance"] == 4.0
    student = release.read_part(made, "consistency_unet")
    assert np.abs(student["time_embedding"]["cond_proj"]["kernel"]).max() > 0  # it began at zero

    size = config.model.image_size
    light = np.random.default_rng(0).uniform(0, 100, (2, size, size)).astype(np.float32)

    def colorizer(**settings):
        return Colorizer(made, "lcad", spacing="even", batch_size=2, num_steps=1, **settings)

    one = colorizer(sampler="consistency", guidance_scale=2.0)
    coloured = np.asarray(one(Pictures(light, one.tokenize(["a red car"] * 2), np.arange(2))))
    assert np.isfinite(coloured).all()
    expected = _in_one_step(made, light, one)
    np.testing.assert_allclose(coloured, expected, atol=2e-3)
    for settings, said in (
        (dict(guidance_scale=9.0), "must be from 1 to 4, which was learned"),
        (dict(guidance_scale=2.0, negative_prompt="gray"), "is the one that was learned, ''"),
    ):
        with pytest.raises(UserError, match=said):
            colorizer(sampler="consistency", **settings)
    with pytest.raises(UserError, match="the model has no UNet that was distilled for it"):
        Colorizer(base, "lcad", sampler="consistency")


def _in_one_step(made, light, colorizer) -> np.ndarray:
    """By the networks: where the trajectory through the noise ends, decoded."""
    model, params = lcad.load(made)
    luminance = jnp.asarray(color.luminance_from_lightness(light))[..., None]
    features = small.jitted(lcad.encode_luminance, model, params, luminance)
    ids = colorizer.tokenize(["a red car"] * 2)
    context = small.jitted(lcad.encode_text, model, params, jnp.asarray(ids))
    keys = noise_keys(jnp.arange(2, dtype=jnp.uint32))
    noise = jax.vmap(lambda key: jax.random.normal(key, (16, 16, 4)))(keys)
    noise *= colorizer.settings["temperature"]
    t, scale = jnp.array([999, 999]), jnp.array([2.0, 2.0])
    unet = jax.jit(consistency.unet(model).apply)
    eps = unet({"params": params["consistency_unet"]}, noise, t, context, features[-1], scale)
    alpha = float(model.schedule.alphas_cumprod[999])
    z_0 = (noise - np.sqrt(1 - alpha) * eps) / np.sqrt(alpha)
    return np.asarray(jax.jit(lambda p: lcad.decode(model, p, z_0, features))(params))
