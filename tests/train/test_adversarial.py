"""The finish of a distilled UNet: its loss by its formula, and that it trains what it says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from colorjax.errors import UserError
from colorjax.methods import consistency, lcad
from colorjax.models.discriminator import PatchDiscriminator
from colorjax.models.layers import apply
from colorjax.plan import lowering
from colorjax.train.stages import adversarial, luminance
from colorjax.train.stages import consistency as stage
from colorjax.train.stages.stage import Weights
from tests import small

SIZES = dict(features=4, layers=2)
OPTIONS = dict(
    adversarial_weight=0.5, perceptual_weight=0.0, perceptual_size=48, discriminator=SIZES
)


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(0)
    decoded, truth = jnp.asarray(rng.uniform(-1, 1, (2, 2, 32, 32, 3)), jnp.float32)
    network = PatchDiscriminator(**SIZES)
    critic = small.drawn(lambda key: network.init(key, decoded)["params"])
    return decoded, truth, {"discriminator": critic}


def test_the_loss_is_its_formula(case) -> None:
    decoded, truth, params = case
    value, metrics = adversarial.loss(params, decoded, truth, OPTIONS)
    network = PatchDiscriminator(**SIZES)
    real, fake = (
        np.asarray(apply(network, params["discriminator"], of), np.float64)
        for of in (truth, decoded)
    )
    mse = np.square(np.asarray(decoded, np.float64) - truth).mean()
    hinge = 0.5 * (np.maximum(0, 1 - real).mean() + np.maximum(0, 1 + fake).mean())
    assert float(value) == pytest.approx(mse - 0.5 * fake.mean() + hinge, rel=1e-5)
    assert float(metrics["mse"]) == pytest.approx(mse, rel=1e-5)


def test_lpips_counts_five_times(case, monkeypatch) -> None:
    decoded, truth, params = case
    without = adversarial.loss(params, decoded, truth, OPTIONS)[0]
    seen = []
    monkeypatch.setattr(luminance, "lpips", lambda *of: seen.append(of[3]) or jnp.float32(0.3))
    params = params | {luminance.LPIPS_PART: {}}
    options = OPTIONS | {"perceptual_weight": 5.0}
    value, metrics = adversarial.loss(params, decoded, truth, options)
    assert float(value - without) == pytest.approx(1.5, rel=1e-5) and seen == [48]
    assert float(metrics["lpips"]) == pytest.approx(0.3)


def test_student_and_critic_see_each_other_as_constants(case) -> None:
    """The picture's gradient has no hinge in it, and the critic's nothing else."""
    decoded, truth, params = case
    network = PatchDiscriminator(**SIZES)
    of_picture = jax.grad(lambda d: adversarial.loss(params, d, truth, OPTIONS)[0])(decoded)
    alone = jax.grad(
        lambda d: (
            ((d - truth) ** 2).mean() - 0.5 * apply(network, params["discriminator"], d).mean()
        )
    )(decoded)
    np.testing.assert_allclose(of_picture, alone, rtol=1e-5, atol=1e-8)
    halved = OPTIONS | {"adversarial_weight": 0.25}
    grads = [
        jax.grad(lambda p, options=options: adversarial.loss(p, decoded, truth, options)[0])(params)
        for options in (OPTIONS, halved)
    ]
    jax.tree.map(lambda *of: np.testing.assert_allclose(*of, rtol=1e-5), *grads)


@pytest.mark.proof
def test_most_of_the_student_is_frozen() -> None:
    """Of both methods' stages, from shapes: no weight is computed."""
    for config, name, part in (
        (small.cold_config(), "distill", "distilled_unet"),
        (small.config(), "consistency", "consistency_unet"),
    ):
        options = config[name]
        options.update(adversarial_weight=0.5, perceptual_weight=0.0, ema_decay=0.9)
        config.start_part = part
        if name == "distill":
            made = lowering.stage_of(name, config)
        else:
            made = _consistency(config, options)
        state = jax.eval_shape(made.init, jax.random.key(0), made.start)
        assert set(state.params) == {part, "discriminator"}
        trained = flatten_dict(state.params[part], sep="/")
        frozen = flatten_dict(made.frozen[part], sep="/")
        assert trained and all(path.startswith(("up_blocks_", "conv_")) for path in trained)
        assert not any(path.startswith("up_blocks_") for path in frozen) and frozen
        size, length = config.model.image_size, config.model.text_encoder.max_position_embeddings
        batch = {
            "image": jax.ShapeDtypeStruct((2, size, size, 3), np.uint8),
            "input_ids": jax.ShapeDtypeStruct((2, length), np.int32),
        }
        after, metrics = jax.eval_shape(made.step, state, made.frozen, batch, jax.random.key(0))
        assert jax.tree.structure(after) == jax.tree.structure(state)
        assert {"mse", "critic", "adversary", "loss"} <= set(metrics)


def _consistency(config, options):
    sizes = config.model.to_dict() | {"consistency": dict(least_guidance=1.0, most_guidance=4.0)}
    model = lcad.build(sizes)
    kept = []

    def weights():
        student = consistency.init(model, jax.random.key(0))
        tokenize = lambda texts: np.zeros((len(texts), 24), np.int32)  # noqa: E731
        begun = Weights(
            lcad.init(model, jax.random.key(0)), {"consistency_unet": student}, {}, {}, tokenize
        )
        kept.append(stage.build(config, options, begun, 10))
        return kept[0].frozen, kept[0].start

    frozen, start = jax.eval_shape(weights)
    return kept[0]._replace(frozen=frozen, start=start)


def test_what_cannot_be_finished_is_told() -> None:
    config = small.cold_config()
    config.distill.adversarial_weight = 0.5
    with pytest.raises(UserError, match="set --config.start_part=distilled_unet and give a"):
        adversarial.check(config, config.distill, "distilled_unet")
    config.start_part, config.distill.perceptual_weight = "distilled_unet", 0.0
    adversarial.check(config, config.distill, "distilled_unet")
