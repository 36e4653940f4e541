"""The method put together: what holds for any weights, and what an oracle UNet does."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from colorjax import release
from colorjax.data import records, transforms
from colorjax.devices import sharding
from colorjax.errors import UserError
from colorjax.maths import cold_diffusion, color, metrics
from colorjax.methods import cold_estimates, diffusing_colors, lcad, stable_diffusion, vividness
from colorjax.train import run
from colorjax.train.stages import cold_diffusion as cold_stage
from tests import small

COUNT = 4


@pytest.fixture(scope="module")
def cold_release(tmp_path_factory) -> Path:
    return small.write_cold_release(tmp_path_factory.mktemp("cold") / "release")


@pytest.fixture(scope="module")
def loaded(cold_release):
    return diffusing_colors.load(cold_release)


@pytest.fixture(scope="module")
def pixels(cifar) -> np.ndarray:
    rows = records.open_split(cifar, "test").__getitems__(list(range(COUNT)))
    return np.stack([transforms.decode(records.Record.unpack(row).image) for row in rows])


def inputs(pixels: np.ndarray, **more) -> diffusing_colors.Inputs:
    luminance = color.luminance(pixels.astype(np.float32) / 127.5 - 1.0)
    ids = np.arange(COUNT * 24, dtype=np.int32).reshape(COUNT, 24)
    given = dict(
        luminance=luminance,
        input_ids=ids,
        uncond_input_ids=ids[::-1],
        guidance_scale=1.6,
        keys=jax.random.split(jax.random.key(0), COUNT),
    )
    return diffusing_colors.Inputs(**given | more)


@pytest.fixture(scope="module")
def encode(loaded):
    """Pictures to latents, compiled once."""
    return functools.partial(
        jax.jit(functools.partial(diffusing_colors.encode, loaded[0])), loaded[1]
    )


@pytest.fixture(scope="module")
def tint(loaded):
    """The colour that the plain decoder puts on gray pictures, compiled once."""
    model, params = loaded

    @jax.jit
    def reconstruct(params, gray):
        return stable_diffusion.reconstruct(model.base, params, gray) - gray

    return functools.partial(reconstruct, params)


def with_options(function, model, **options):
    """`walk` or `colorize` as one program."""
    chosen = diffusing_colors.Options(**options)
    return jax.jit(lambda params, given: function(model, params, given, chosen))


def test_bundled_sizes_put_gray_beside_the_latent_only_where_asked() -> None:
    sizes = small.cold_config().model.to_dict()
    for gray_channels, channels in ((False, 4), (True, 8)):
        sizes["cold"]["gray_channels"] = gray_channels
        model = diffusing_colors.build(sizes)
        shapes = jax.eval_shape(
            lambda key: diffusing_colors.init_unet(model, key), jax.random.key(0)
        )
        assert shapes["conv_in"]["kernel"].shape[2] == channels
        assert not any(name.startswith("cec") for name in shapes)


@pytest.mark.proof
def test_an_oracle_gives_the_true_latents(loaded, pixels, encode, tint, monkeypatch) -> None:
    """With the true residual in the UNet's place, any scale decodes to z_gray + s d."""
    model, params = loaded
    z_color = encode(pixels.astype(np.float32) / 127.5 - 1.0)
    gray = vividness.gray_image(inputs(pixels).luminance)
    z_gray = encode(gray)
    residual = jnp.concatenate([z_color - z_gray] * 2)
    monkeypatch.setattr(cold_estimates, "predict_and_capture", lambda *_, **__: (residual, {}))
    walks = [with_options(diffusing_colors.walk, model, num_steps=steps) for steps in (1, 3)]
    colorize = with_options(diffusing_colors.colorize, model, num_steps=2)
    decode = jax.jit(lambda p, z: stable_diffusion.decode(model.base, p, z, None))
    for scale in (0.0, 0.7, 1.0, 1.4):
        given = inputs(pixels, vividness=scale)
        expected = z_gray + scale * (z_color - z_gray)
        for walk in walks:
            np.testing.assert_allclose(walk(params, given)[0], expected, atol=1e-4)
        wanted = decode(params, expected) - max(0, 1 - scale) * tint(gray)
        np.testing.assert_allclose(colorize(params, given), wanted, atol=1e-3)


@pytest.mark.proof
def test_no_vividness_is_gray(loaded, pixels, tint) -> None:
    """Whatever the weights are, and although the decoder has a tint of its own."""
    model, params = loaded
    colorize = with_options(diffusing_colors.colorize, model, num_steps=4)
    given = inputs(pixels, vividness=0.0)
    gray = vividness.gray_image(given.luminance)
    np.testing.assert_allclose(colorize(params, given), gray, atol=1e-4)
    assert np.ptp(np.asarray(tint(gray)), axis=-1).max() > 0.05
    coloured = colorize(params, given._replace(vividness=1.0))
    assert np.abs(coloured - gray).max() > 0.01


def test_one_gray_for_the_encoder_and_for_what_is_put_back(pixels) -> None:
    luminance = color.luminance(pixels.astype(np.float32) / 127.5 - 1.0)
    gray = (vividness.gray_image(luminance) + 1.0) / 2.0
    assert np.ptp(np.asarray(gray), axis=-1).max() < 1e-3
    lightness = color.lightness(pixels.astype(np.float32) / 255.0)
    np.testing.assert_allclose(color.lightness(gray), lightness, atol=0.02)
    put_back = color.with_lightness(np.zeros_like(gray), lightness)
    np.testing.assert_allclose(gray, put_back, atol=1e-4)
    assert float(metrics.colourfulness(gray).max()) < 0.3


@pytest.mark.proof
def test_versions_keep_the_lightness(loaded, pixels) -> None:
    model, params = loaded
    given = inputs(pixels)
    scales = jnp.broadcast_to(jnp.asarray([0.0, 0.6, 1.4]), (COUNT, 3))

    @jax.jit
    def versions(params, given):
        walked = diffusing_colors.walk(model, params, given, diffusing_colors.Options(2))
        decode = diffusing_colors.decoder_of(model, params, given.luminance)
        images = vividness.versions(decode, *walked, given.luminance, scales)
        return images, vividness.rank(model.ranker, params["ranker"], images)

    made, scores = versions(params, given)
    assert made.shape == (COUNT, 3, 32, 32, 3)
    kept = color.lightness((np.asarray(made) + 1.0) / 2.0)
    wanted = color.lightness(pixels.astype(np.float32) / 255.0)[:, None]
    assert np.abs(kept - wanted).max() < 100 / 255
    assert scores.shape == (COUNT, 3) and np.ptp(np.asarray(scores), axis=1).min() > 0


def test_the_remaining_residual_is_divided_by_what_remains(loaded, pixels) -> None:
    model, params = loaded
    remaining = model._replace(cold=model.cold._replace(prediction="remaining"))
    z = jax.random.normal(jax.random.key(0), (2, 8, 8, 4))
    context = jnp.ones((2, 24, 16))
    timesteps = cold_diffusion.to_timesteps(jnp.array([0.25, 1.0]))
    predict = jax.jit(functools.partial(diffusing_colors.predict, model))
    output = predict(params, z, z, timesteps, context)
    full = diffusing_colors.full_residual(model, output, timesteps)
    np.testing.assert_array_equal(full, output)
    part = diffusing_colors.full_residual(remaining, output, timesteps)
    np.testing.assert_allclose(part[0], 4.0 * output[0], rtol=1e-5)
    np.testing.assert_allclose(part[1], output[1], rtol=1e-5)


def test_noise_depends_on_the_pictures_own_key(loaded, pixels) -> None:
    model, params = loaded
    noisy = model._replace(cold=model.cold._replace(sigma=0.3))
    keys = jax.random.split(jax.random.key(0), COUNT)
    noise = diffusing_colors.source_noise(noisy, keys, jnp.zeros((COUNT, 32, 32, 4)))
    assert float(noise.std()) == pytest.approx(0.3, rel=0.02)
    alone = diffusing_colors.source_noise(noisy, keys[2:3], jnp.zeros((1, 32, 32, 4)))
    np.testing.assert_array_equal(alone[0], noise[2])
    assert not diffusing_colors.source_noise(model, None, noise).any()


def test_a_faded_start_at_time_zero_is_the_photograph(loaded, pixels, encode) -> None:
    """Nothing is left to walk: the latents are those of the faded picture."""
    model, params = loaded
    image = pixels.astype(np.float32) / 127.5 - 1.0
    given = inputs(pixels, faded=image, t_start=jnp.full(COUNT, 1e-7))
    latents, _ = with_options(diffusing_colors.walk, model, num_steps=3)(params, given)
    np.testing.assert_allclose(latents, encode(image), atol=1e-4)


@pytest.mark.parametrize("prediction", diffusing_colors.PREDICTIONS)
@pytest.mark.parametrize("sigma", [0.0, 0.3])
def test_the_loss_is_the_distance_to_the_residual(
    loaded, pixels, encode, prediction, sigma, monkeypatch
) -> None:
    """A UNet that says zero is off by the residual's own size; one that knows it, by nothing."""
    model, params = loaded
    model = model._replace(cold=model.cold._replace(prediction=prediction, sigma=sigma))
    image = pixels.astype(np.float32) / 127.5 - 1.0
    gray = vividness.gray_image(color.luminance(image))
    z_color, z_gray = encode(image), encode(gray)
    eps = jax.random.normal(jax.random.key(3), z_color.shape)
    t = jnp.linspace(0.2, 1.0, COUNT)
    target = z_color - z_gray - sigma * eps
    if prediction == "remaining":
        target = t[:, None, None, None] * target
    ids = inputs(pixels).input_ids

    @jax.jit
    def loss(params, output):
        monkeypatch.setattr(diffusing_colors, "predict", lambda *_: output)
        return cold_stage.loss(model, params, pixels, ids, t, eps)

    for output in (jnp.zeros_like(target), target):
        expected = float(((output - target) ** 2).mean())
        assert float(loss(params, output)) == pytest.approx(expected, rel=1e-4, abs=1e-8)


@pytest.mark.proof
def test_widening_a_unet_changes_nothing_yet(loaded) -> None:
    model, params = loaded
    wider = model._replace(cold=model.cold._replace(gray_channels=True))
    trees = params | {"cold_unet": cold_stage.widen(params["cold_unet"], 8)}
    z, z_gray = jax.random.normal(jax.random.key(0), (2, 1, 8, 8, 4))
    rest = (z, z_gray, jnp.full(1, 500.0), jnp.ones((1, 24, 16)))
    before, after = (
        jax.jit(functools.partial(diffusing_colors.predict, of))(weights, *rest)
        for of, weights in ((model, params), (wider, trees))
    )
    np.testing.assert_allclose(after, before, atol=1e-5)


@pytest.mark.parametrize(
    ("scores", "taken"),
    [
        ([0.0, 1.0, 2.0, 3.0], 1.4),  # the best one, however far from 0.9
        ([1.0, 1.0, 1.0, 1.0], 0.8),  # 0.8 and 1.0 are equally near to 0.9: the lower one
        ([0.5, 0.985, 1.0, 0.5], 0.8),  # within 0.02 of the best counts as equal to it
        ([0.5, 0.97, 1.0, 0.5], 1.0),  # 0.03 below it does not
        ([1.0, 0.5, 0.0, 1.015], 0.6),  # of 0.6 and 1.4 the nearer one
    ],
)
def test_choosing_takes_the_best_and_breaks_ties_near_nine_tenths(scores, taken) -> None:
    scales = np.array([0.6, 0.8, 1.0, 1.4], np.float32)
    # Both orders: the rule is about scales, not about places.
    for order in (slice(None), slice(None, None, -1)):
        index = vividness.choose(jnp.array([scores])[:, order], jnp.asarray(scales[order]))
        assert scales[order][int(index[0])] == np.float32(taken)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cold": {"prediction": "noise"}}, "prediction is 'noise'"),
        ({"cold": {"decoder": "best"}}, "decoder is 'best'"),
        ({"cold": {"sigma": -0.1}}, "sigma is -0.1"),
        ({"ranker": {"normalization": "mean"}}, "normalization is 'mean'"),
        ({"cold": None}, "lacks cold"),
    ],
)
def test_wrong_settings_are_told(changes, words) -> None:
    sizes = small.cold_config().model.to_dict()
    for section, values in changes.items():
        if values is None:
            del sizes[section]
        else:
            sizes[section] |= values
    with pytest.raises(UserError, match=words):
        diffusing_colors.build(sizes)


def test_a_release_without_the_model_says_what_to_do(small_release) -> None:
    with pytest.raises(UserError, match="cold_unet"):
        diffusing_colors.load(small_release)


@pytest.mark.proof
def test_all_stages_train_and_leave_a_release_that_colours(tmp_path, pixels) -> None:
    """From a release whose distilled UNet another cold UNet has made: it is not inherited."""
    config = small.cold_config("tiny,sigma=0.1,gray_channels=yes")
    outdated = {"guidance_scale": 3.0, "negative_prompt": "", "step": 0.5}
    config.init_from = str(small.write_cold_release(tmp_path / "before", distilled=outdated))
    config.stages = ("cold", "distill", "ranker")
    config.distill.update(batch_size=8, total_steps=2, warmup_steps=1)
    mesh = sharding.make_mesh(config.mesh.data, config.mesh.fsdp)
    with jax.set_mesh(mesh):
        for name in config.stages:
            run.run_stage(name, config, tmp_path / "run", mesh)
            has = "distilled_unet" in release.parts_in(tmp_path / "run" / "release")
            assert has == (name != "cold")
    model, params = diffusing_colors.load(tmp_path / "run" / "release")
    assert model.distilled == (1.2, "black and white, grayscale, monochrome", 0.1)
    assert params["distilled_unet"]["conv_in"]["kernel"].shape[2] == 8
    assert model.cold.sigma == 0.1 and model.cold.gray_channels
    assert 20 < model.cold.colourfulness < 60
    for num_steps in (2, "distilled"):
        options = diffusing_colors.Options(num_steps)
        colorize = jax.jit(functools.partial(diffusing_colors.colorize, model, options=options))
        assert np.isfinite(colorize(params, inputs(pixels))).all()
    lcad.load(tmp_path / "run" / "release")
