"""The finish of a distilled UNet: its pictures themselves are compared with the truth, and judged.

What is distilled learns from its teacher's latents and stays a little blurred where several colours
are likely. For a last few steps the decoded picture is held to the true one, by squared error and
LPIPS, and to a critic that tells it from photographs (L-CAD's of the luminance stage):

    MSE + `perceptual_weight` LPIPS + `adversarial_weight` hinge, by default 1, 5 and 0.5.

Most of the UNet is frozen, as `finish_trainable` says. It is ours, for both methods. Whatever was
trained on VGG16's features, as LPIPS is, must not be judged by them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float
from ml_collections import ConfigDict

from colorjax import release
from colorjax.errors import UserError
from colorjax.maths import losses
from colorjax.maths.types import Array, Image, Params, PRNGKey
from colorjax.methods.distances import read_lpips
from colorjax.models.discriminator import PatchDiscriminator
from colorjax.models.layers import apply
from colorjax.train import optim
from colorjax.train.stages import luminance
from colorjax.train.stages.stage import (
    Batch,
    Predict,
    Stage,
    Weights,
    image_and_luminance,
    single_loss_stage,
)

CRITIC = "discriminator"
Colour = Callable[[Params, Batch, PRNGKey], Image]  # parts by name, to decoded pictures
Finish = Callable[[Params, Params, Batch], tuple[Params, dict[str, Any]]]


class Student(NamedTuple):
    """A distilled UNet as its own stage knows it."""

    part: str
    unet: Callable[[PRNGKey, Params], Params]  # that of `start`
    colour: Colour  # its pictures of a batch
    predict: Predict  # as the stage's own, of all of the UNet
    finish: Finish


def is_wanted(options: ConfigDict) -> bool:
    """Whether a stage is to finish a student instead of making one."""
    return bool(options.adversarial_weight)


def check(config: ConfigDict, options: ConfigDict, part: str) -> None:
    """Checks what a finish needs.

    Raises:
        UserError: there is nothing to finish, or LPIPS's weights are needed and not there.
    """
    if not is_wanted(options):
        return
    if config.start_part != part:
        raise UserError(
            f"adversarial_weight is {options.adversarial_weight}, which finishes a distilled UNet: "
            f"set --config.start_part={part} and give a release that has one by --config.init_from"
        )
    if options.perceptual_weight:
        release.find_lpips("vgg16", config.lpips)


def loss(
    params: Params, decoded: Image, truth: Image, options: Any
) -> tuple[Float[Array, ""], optim.Metrics]:
    """The student's plus the critic's loss; each of the two sees the other as constant.

    Args:
        params: `discriminator`, and `lpips_vgg16` where it has a weight.
        options: a mapping with the weights, `perceptual_size` and `discriminator`, its sizes.
    """
    squared = ((decoded - truth) ** 2).mean()
    value, metrics = squared, {"mse": squared}
    if options["perceptual_weight"]:
        size = options["perceptual_size"]
        distance = luminance.lpips(params[luminance.LPIPS_PART], truth, decoded, size)
        value += options["perceptual_weight"] * distance
        metrics["lpips"] = distance
    network, critic = PatchDiscriminator(**options["discriminator"]), params[CRITIC]
    fooled = -apply(network, jax.lax.stop_gradient(critic), decoded).mean()
    fake = jax.lax.stop_gradient(decoded)
    hinge = losses.hinge(*(apply(network, critic, of) for of in (truth, fake)))
    metrics |= {"adversary": fooled, "critic": hinge}
    return value + options["adversarial_weight"] * fooled + hinge, metrics


def build(
    config: ConfigDict, options: ConfigDict, weights: Weights, total_steps: int, student: Student
) -> Stage:
    """The finish of a student: the share of its UNet that is trained, and the critic."""
    size, part = config.model.image_size, student.part
    frozen = dict(weights.parts)
    if options.perceptual_weight:
        frozen[luminance.LPIPS_PART] = read_lpips("vgg16", config.lpips)
    split = optim.split
    share = jax.jit(lambda key, start: split(student.unet(key, start), options.finish_trainable)[1])
    frozen[part] = share(jax.random.key(config.seed), weights.start)

    def init(key: PRNGKey, start: Params) -> Params:
        critic = PatchDiscriminator(**options.discriminator)
        return {
            part: split(student.unet(key, start), options.finish_trainable)[0],
            CRITIC: critic.init(key, jnp.zeros((1, size, size, 3)))["params"],
        }

    def whole(params: Params, frozen: Params) -> Params:
        return frozen | {part: optim.merge(params[part], frozen[part])}

    def batch_loss(
        params: Params, frozen: Params, batch: Batch, key: PRNGKey
    ) -> tuple[Array, optim.Metrics]:
        decoded = student.colour(whole(params, frozen), batch, key)
        truth, _ = image_and_luminance(batch["image"])
        return loss(frozen | {CRITIC: params[CRITIC]}, decoded, truth, options)

    def predict(params: Params, frozen: Params, batch: Batch, key: PRNGKey) -> dict[str, Image]:
        parts = whole(params, frozen)
        return student.predict(parts[part], parts, batch, key)

    def finish(params: Params, frozen: Params, batch: Batch) -> tuple[Params, dict[str, Any]]:
        return student.finish(whole(params, frozen)[part], frozen, batch)

    tx = optim.separately({name: optim.optimizer(options, total_steps) for name in (part, CRITIC)})
    return single_loss_stage(
        init=init,
        loss=batch_loss,
        start=weights.start,
        frozen=frozen,
        options=options,
        total_steps=total_steps,
        tx=tx,
        predict=predict,
        finish=finish,
        dtype=config.dtype,
    )
