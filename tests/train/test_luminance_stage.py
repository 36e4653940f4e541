"""The pixel-space loss: what each of the two networks learns from it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict

from colorjax.maths import losses
from colorjax.methods import lcad
from colorjax.models.discriminator import PatchDiscriminator
from colorjax.models.layers import apply
from colorjax.models.perceptual import Lpips
from colorjax.train.stages import luminance, stage
from tests import small
from tests.models.test_perceptual import lpips_shapes, random_flat

SIZES = dict(features=8, layers=2)
OPTIONS = dict(
    artifact_weights="paper",
    adversarial_weight=1.0,
    discriminator=SIZES,
    discriminator_start=5,
    perceptual_weight=0.5,
    perceptual_size=0,
    shown_weight=0.0,
)
CRITIC = PatchDiscriminator(**SIZES)


@pytest.fixture(scope="module")
def case():
    model = lcad.build(small.config().model.to_dict())
    params = small.random_params(model)
    image = jnp.zeros((1, 32, 32, 3))
    params["discriminator"] = small.drawn(lambda key: CRITIC.init(key, image)["params"])
    params["lpips_vgg16"] = unflatten_dict(random_flat(lpips_shapes("vgg16")), sep="/")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    noise = jax.random.normal(jax.random.key(3), (2, 8, 8, 4))
    return model, params, pixels, noise


def gradients(case, step: int, **changes):
    model, params, pixels, noise = case
    trained = {name: params[name] for name in ("luminance_encoder", "discriminator")}

    def value(trained, params):
        trees = params | trained
        return luminance.loss(model, trees, pixels, noise, OPTIONS | changes, step)

    run = jax.jit(jax.value_and_grad(value, has_aux=True))
    (total, metrics), grads = run(trained, params)
    return float(total), {k: float(v) for k, v in metrics.items()}, grads


def by_hand(case, kernel_or_encoder: str):
    """The two generator losses through the whole decoder, without the stage's shortcuts."""
    model, params, pixels, noise = case
    image, _ = stage.image_and_luminance(pixels)

    def decoded(leaf):
        trees = dict(params)
        if kernel_or_encoder == "encoder":
            trees["luminance_encoder"] = leaf
        else:
            decoder = params["vae"]["decoder"]
            last = decoder["conv_out"] | {"kernel": leaf}
            trees["vae"] = params["vae"] | {"decoder": decoder | {"conv_out": last}}
        return luminance.guided_sample(model, trees, pixels, noise)[0]

    def reconstruction(leaf):
        of = decoded(leaf)
        distance = apply(Lpips("vgg16"), params["lpips_vgg16"], image, of).mean()
        return losses.artifact_l1(image, of) + 0.5 * distance

    def adversarial(leaf):
        return -apply(CRITIC, params["discriminator"], decoded(leaf)).mean()

    return reconstruction, adversarial


@pytest.mark.proof
def test_generator_and_critic_each_get_their_own_gradient(case) -> None:
    model, params, pixels, noise = case
    total, metrics, grads = gradients(case, step=5)
    kernel = params["vae"]["decoder"]["conv_out"]["kernel"]
    norms = [float(jnp.linalg.norm(jax.jit(jax.grad(f))(kernel))) for f in by_hand(case, "kernel")]
    assert metrics["adversarial_weight"] == pytest.approx(norms[0] / (norms[1] + 1e-4), rel=1e-3)
    reconstruction, adversarial = by_hand(case, "encoder")
    encoder, weight = params["luminance_encoder"], metrics["adversarial_weight"]
    expected = jax.jit(jax.grad(lambda e: reconstruction(e) + weight * adversarial(e)))(encoder)
    for got, want in zip(*map(jax.tree.leaves, (grads["luminance_encoder"], expected))):
        np.testing.assert_allclose(got, want, atol=1e-3 * float(jnp.abs(want).max()) + 1e-8)

    image, _ = stage.image_and_luminance(pixels)
    fake, _ = small.jitted(luminance.guided_sample, model, params, pixels, noise)

    def hinge(critic):
        return losses.hinge(apply(CRITIC, critic, image), apply(CRITIC, critic, fake))

    expected = jax.jit(jax.grad(hinge))(params["discriminator"])
    for got, want in zip(*map(jax.tree.leaves, (grads["discriminator"], expected))):
        np.testing.assert_allclose(got, want, atol=1e-4 * float(jnp.abs(want).max()) + 1e-8)


@pytest.mark.proof
def test_the_adversary_joins_late_and_can_be_absent(case) -> None:
    total, metrics, grads = gradients(case, step=4)
    assert metrics["adversarial_weight"] == 0.0 and metrics["critic"] == 0.0
    assert total == pytest.approx(metrics["reconstruction"], rel=1e-6)
    assert not any(jnp.any(leaf) for leaf in jax.tree.leaves(grads["discriminator"]))
    alone, metrics, _ = gradients(case, step=5, adversarial_weight=0.0, perceptual_weight=0.0)
    assert "critic" not in metrics and alone == metrics["reconstruction"] < total
