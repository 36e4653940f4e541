"""The walk in one evaluation: what it is for any weights, and what the settings say of it."""

import functools
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from colorjax import release
from colorjax.errors import UserError
from colorjax.maths import cold_diffusion
from colorjax.methods import (
    cold_estimates,
    conditioning,
    diffusing_colors,
    stable_diffusion,
)
from colorjax.train.stages import distill
from tests import small

DISTILLED = {"guidance_scale": 1.5, "negative_prompt": "gray", "step": 0.125}
COUNT = 2
LUMINANCE = np.random.default_rng(0).uniform(-1, 0, (COUNT, 32, 32, 1)).astype(np.float32)
IDS = np.arange(COUNT * 24, dtype=np.int32).reshape(COUNT, 24)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return small.write_cold_release(tmp_path_factory.mktemp("own") / "made", distilled=DISTILLED)


@pytest.fixture(scope="module")
def loaded(directory):
    return diffusing_colors.load(directory)


def walked(model, params, num_steps, **more) -> np.ndarray:
    """What is added to the gray latents."""
    inputs = diffusing_colors.Inputs(LUMINANCE, IDS, None, **more)
    options = diffusing_colors.Options(num_steps)
    walk = jax.jit(lambda params: diffusing_colors.walk(model, params, inputs, options))
    z_0, z_gray = walk(params)
    return np.asarray(z_0 - z_gray)


@pytest.mark.proof
def test_with_the_teachers_weights_at_the_gray_end_it_is_the_first_step(loaded) -> None:
    """R(s, 1) is the teacher's own estimate, so equal weights walk equally far."""
    model, params = loaded
    same = params | {"distilled_unet": params["cold_unet"]}
    first = walked(model, same, 1, vividness=0.8)
    at_gray = walked(model, same, "distilled", vividness=0.8, fidelity=1.0)
    np.testing.assert_allclose(at_gray, first, atol=1e-5)
    own = walked(model, params, "distilled", vividness=0.8, fidelity=1.0)
    assert np.abs(own - first).max() > 1e-2


@pytest.mark.parametrize("fidelity", [0.0, 0.3, None])
def test_fidelity_is_the_time_that_the_network_hears(loaded, fidelity, monkeypatch) -> None:
    def hears(model, params, latents, beside, timesteps, context, **_):
        time = cold_diffusion.per_picture(cold_diffusion.to_times(timesteps))
        return jnp.broadcast_to(time, latents.shape), {}

    monkeypatch.setattr(cold_estimates, "predict_and_capture", hears)
    expected = diffusing_colors.FIDELITY.default if fidelity is None else fidelity
    added = walked(*loaded, "distilled", fidelity=fidelity)
    np.testing.assert_allclose(added, expected, atol=1e-5)


@pytest.mark.proof
def test_faded_colours_are_walked_on_with(loaded) -> None:
    faded = dict(faded=np.repeat(LUMINANCE, 3, axis=-1), t_start=0.5)
    by_steps = walked(*loaded, diffusing_colors.FADED_STEPS, **faded)
    np.testing.assert_array_equal(walked(*loaded, "distilled", **faded), by_steps)


def test_guidance_is_inside_it_unless_more_is_asked_for() -> None:
    resolve = functools.partial(
        diffusing_colors.METHOD.resolve,
        {"cold_colorize": {"num_steps": "distilled", "guidance_scale": 1.6}},
    )
    assert resolve({})["guidance_scale"] == 1.0
    assert resolve({"guidance_scale": 2})["guidance_scale"] == 2.0
    assert resolve({"num_steps": 4})["guidance_scale"] == 1.6
    for wrong, words in (
        ({"num_steps": "fast"}, "must be a whole number, 1 or more or 'distilled'"),
        ({"fidelity": 1.5}, "fidelity is 1.5; it must be a number from 0 to 1"),
    ):
        with pytest.raises(UserError, match=words):
            resolve(wrong)


def test_a_model_that_is_not_distilled_says_so() -> None:
    model = diffusing_colors.build(small.cold_config().model.to_dict())
    values = diffusing_colors.METHOD.resolve({}, {"num_steps": "distilled", "temperature": 1})
    with pytest.raises(UserError, match="has no distilled UNet: give a number, or train one"):
        diffusing_colors.METHOD.validate(model, values)


def test_a_release_that_lacks_what_it_names_is_refused(directory, tmp_path) -> None:
    lacking = shutil.copytree(directory, tmp_path / "lacking")
    (lacking / "distilled_unet.safetensors").unlink()
    with pytest.raises(UserError, match="has no part 'distilled_unet'"):
        diffusing_colors.load(lacking)
    config = release.read_config(lacking)
    del config["format"]
    release.write(lacking, config | {"distilled": DISTILLED | {"steps": 1}}, {})
    with pytest.raises(UserError, match="'steps' was unexpected"):
        release.read_config(lacking)


def test_the_losses_are_distances_to_a_guided_teacher(loaded, monkeypatch) -> None:
    """A teacher that says the same everywhere, but of each text something of its own."""
    model, params = loaded

    def told(model, params, latents, beside, timesteps, context, **_):
        value = params["cold_unet"]["gain"] * context[:, :1, :1, None]
        return jnp.broadcast_to(value, latents.shape), {}

    monkeypatch.setattr(cold_estimates, "predict_and_capture", told)
    text = conditioning.Text(IDS, IDS[::-1], model.distilled.guidance_scale)
    first = stable_diffusion.encode_text(model.base, params, IDS)[:, 0, 0]
    guided = first[::-1] + 1.5 * (first - first[::-1])
    t, size = jnp.array([0.25, 1.0]), 0.125
    later = 1.0 - (t - size)
    noise = jnp.zeros((COUNT, 8, 8, 4))
    losses = jax.jit(lambda trees: distill.losses(model, trees, LUMINANCE, text, t, noise))
    for gain in (0.0, 1.0):
        trees = params | {"cold_unet": {"gain": 1.0}, "distilled_unet": {"gain": gain}}
        own = gain * first
        wanted = ((1.0 - t) * own + size * guided) / later
        way, begin = losses(trees)
        np.testing.assert_allclose(way, jnp.abs(own - wanted).mean(), rtol=1e-4)
        np.testing.assert_allclose(begin, jnp.abs(own - guided).mean(), rtol=1e-4)
