"""The decoder's stage: what is mixed, what it is to show, and that nothing else is trained."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from colorjax.errors import UserError
from colorjax.maths import color
from colorjax.methods import lcad
from colorjax.plan import lowering
from colorjax.train.stages import decoder
from tests import small


class Linear(nn.Module):
    """A VAE whose latents are Lab itself, or sRGB, at the picture's own size."""

    space: str
    latent_channels: int = 3

    def encode(self, image: Any) -> Any:
        latents = color.to_unit(image)
        if self.space == "lab":
            latents = color.srgb_to_lab(latents)
        return jnp.concatenate([latents, jnp.full_like(latents, -30.0)], axis=-1)

    def decode(self, latents: Any, features: Any) -> Any:
        return color.from_unit(color.lab_to_srgb(latents) if self.space == "lab" else latents)


def model(space: str) -> lcad.LCAD:
    """A model with such a VAE."""
    return lcad.build(small.config().model.to_dict())._replace(vae=Linear(space))


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    rng = np.random.default_rng(0)
    lab = np.stack([rng.uniform(55, 65, (4, 8, 8)), *rng.uniform(-18, 18, (2, 4, 8, 8))], axis=-1)
    rgb = np.asarray(color.lab_to_srgb(lab.astype(np.float32)))
    return np.round(rgb * 255.0).astype(np.uint8)


def draws(shares: list[float], angles: tuple[float, float], count: int = 4) -> decoder.Draws:
    column = np.ones((2, count), np.float32)
    return decoder.Draws(
        column * np.array(angles, np.float32)[:, None],
        column,
        np.tile(np.array(shares, np.float32), (count, 1)),
        np.ones(count, np.float32),
        np.zeros((count, 8, 8, 3), np.float32),
    )


@pytest.mark.parametrize("shares", [[1.0, 0.0, 0.0], [0.2, 0.5, 0.3]])
def test_what_is_linear_in_lab_has_nothing_to_learn(pixels, shares) -> None:
    value = decoder.loss(model("lab"), {"vae": {}}, pixels, draws(shares, (1.0, 4.0)), 1.0)
    assert float(value) < 1e-4


def test_a_mean_in_another_space_is_an_error_and_a_picture_is_none(pixels) -> None:
    other = model("srgb")
    alone = decoder.loss(other, {"vae": {}}, pixels, draws([1.0, 0.0, 0.0], (1.0, 4.0)), 1.0)
    mixed = decoder.loss(other, {"vae": {}}, pixels, draws([0.4, 0.3, 0.3], (2.1, 4.2)), 1.0)
    assert float(alone) < 1e-4 < 2e-3 < float(mixed)


def test_hues_are_turned_at_their_lightness(pixels) -> None:
    lab = np.asarray(color.srgb_to_lab(pixels.astype(np.float32) / 255.0))
    angle = np.full(4, np.pi / 2, np.float32)
    turned = np.asarray(decoder.turned(jnp.asarray(lab), angle, np.full(4, 0.5, np.float32)))
    wanted = np.stack([lab[..., 0], -0.5 * lab[..., 2], 0.5 * lab[..., 1]], axis=-1)
    np.testing.assert_allclose(turned, wanted, atol=1e-4)


def test_shares_sum_to_one_and_the_rest_are_alone() -> None:
    options = dict(versions=2, mixed_share=0.5)
    drawn = decoder.draw(jax.random.key(0), jnp.zeros((4000, 2, 2, 4)), options)
    np.testing.assert_allclose(drawn.shares.sum(axis=1), 1.0, atol=1e-5)
    alone = np.asarray((drawn.shares[:, 0] == 1.0).astype(np.float32))
    assert abs(alone.mean() - 0.5) < 4 * 0.5 / 4000**0.5
    # Of a uniform mixture of three the mean share is a third, its variance 1/18.
    mixed = np.asarray(drawn.shares)[alone == 0.0]
    np.testing.assert_allclose(mixed.mean(axis=0), 1 / 3, atol=4 * (1 / 18 / len(mixed)) ** 0.5)
    assert abs(float(drawn.guided.mean()) - 0.5) < 4 * 0.5 / 4000**0.5


def test_only_the_decoder_is_trained() -> None:
    config = small.config()
    stage = lowering.stage_of("decoder", config)
    state = jax.eval_shape(stage.init, jax.random.key(0), stage.start)
    assert set(state.params) == {"decoder", "post_quant_conv"}
    parts, changes = stage.finish(state.params, stage.frozen, {})
    assert set(parts) == {"vae"} and not changes
    assert set(parts["vae"]) == {"encoder", "quant_conv", "decoder", "post_quant_conv"}


def test_it_needs_a_vae_and_something_to_mix() -> None:
    config = small.config()
    with pytest.raises(UserError, match="init_from=DIR"):
        decoder.check(config, config.decoder, {"vae"})
    config.decoder.versions = 0
    with pytest.raises(UserError, match="versions is 0"):
        decoder.check(config, config.decoder, {"start"})
