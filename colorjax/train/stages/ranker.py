"""Diffusing Colors' ranker: which vividness suits a picture. Data, labels and loss are ours.

Versions of real photographs with their colour residual scaled and their lightness kept: 1 is
right, and on either side nearer to 1 is better. In a share of the steps the versions are those of
the colorizer's own result, and right is the scale whose colourfulness is nearest to the truth's.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float
from ml_collections import ConfigDict

from colorjax import release
from colorjax.errors import UserError
from colorjax.maths import losses, metrics
from colorjax.methods import diffusing_colors, vividness
from colorjax.train import optim
from colorjax.train.stages.stage import Stage, image_and_luminance, plain
from colorjax.types import Array, Image, Luminance, Params, PRNGKey

NEEDS: tuple[str, ...] = ("text_encoder", "vae", "image_encoder", "cold_unet")
MAY_USE: tuple[str, ...] = ("luminance_encoder",)
STARTS_FROM: dict[str, tuple[str, ...]] = {"ranker": ("ranker",)}
MUST_START = False

SCALES = (0.0, 0.3, 0.5, 0.7, 0.85, 1.0, 1.2, 1.4, 1.7)
JITTER = 0.05
CHOICE_WEIGHT = 0.5
Versions = Float[Array, "b k H W 3"]


def draw_scales(key: PRNGKey, count: int) -> Float[Array, "b k"]:
    """The nine scales, each but 1 moved by up to 5 %, so that none can be learned by heart."""
    scales = jnp.broadcast_to(jnp.asarray(SCALES), (count, len(SCALES)))
    moved = scales * jax.random.uniform(key, scales.shape, minval=1 - JITTER, maxval=1 + JITTER)
    return jnp.where(scales == 1.0, scales, moved)


def nearest_scale(
    versions: Versions, scales: Float[Array, "b k"], truth: Image
) -> Float[Array, " b"]:
    """The scale at which a colouring is about as colourful as the true picture."""
    flat = versions.reshape(-1, *versions.shape[2:])
    colourful = metrics.colourfulness((flat + 1.0) / 2.0).reshape(scales.shape)
    target = metrics.colourfulness((truth + 1.0) / 2.0)
    nearest = jnp.abs(colourful - target[:, None]).argmin(axis=1)
    return jnp.take_along_axis(scales, nearest[:, None], axis=1)[:, 0]


def loss(
    scores: Float[Array, "b k"], scales: Float[Array, "b k"], best: Float[Array, " b"]
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Bradley-Terry over pairs plus half the cross-entropy over all versions."""
    pairs, right = losses.bradley_terry(scores, scales, best)
    chosen = jnp.take_along_axis(scales, scores.argmax(axis=1)[:, None], axis=1)[:, 0]
    value = pairs + CHOICE_WEIGHT * losses.soft_choice(scores, scales, best)
    near = jnp.abs(chosen - best) <= 0.16  # of 0.85 moved by its jitter
    return value, {"pairs_right": right, "near_best": near.mean()}


def build(
    config: ConfigDict, options: ConfigDict, parts: Params, start: Params, total_steps: int
) -> Stage:
    model = diffusing_colors.build(config.model.to_dict(), jnp.dtype(config.dtype))
    if model.cold.decoder == "guided" and "luminance_encoder" not in parts:
        raise UserError(
            "cold.decoder is 'guided', which needs the part 'luminance_encoder': give a release "
            "that has it by --config.init_from=DIR"
        )

    def whole(key, start):
        fresh = diffusing_colors.init_ranker(model, key)
        trained = start.get("ranker", {"head": fresh["head"]})
        given = vividness.complete_ranker(trained, start["image_encoder"])
        return release.fit(fresh, given, "the ranker to start from")

    start = start | {"image_encoder": parts["image_encoder"]}
    share = jax.jit(lambda key, start: optim.split(whole(key, start), options.trainable)[1])
    frozen = {part: tree for part, tree in parts.items() if part != "image_encoder"}
    frozen["ranker"] = share(jax.random.key(config.seed), start)

    def decoder(params: Params) -> vividness.Decode:
        return functools.partial(diffusing_colors.decode, model, params)

    def scored(params: Params, frozen: Params, versions: Versions, key: PRNGKey) -> Any:
        tree = optim.merge(params, frozen["ranker"])
        flat = versions.reshape(-1, *versions.shape[2:])
        scores: Any = model.ranker.apply({"params": tree}, flat, train=True, rngs={"dropout": key})
        return scores.reshape(versions.shape[:2])

    def batch_loss(params, frozen, batch, key):
        kind_key, scale_key, noise_key, dropout_key = jax.random.split(key, 4)
        image, luminance = image_and_luminance(batch["image"])
        scales = draw_scales(scale_key, len(image))

        def of_truth(_):
            z_color = diffusing_colors.encode(model, frozen, image)
            z_gray = diffusing_colors.encode(model, frozen, vividness.gray_image(luminance))
            made = vividness.versions(decoder(frozen), z_color, z_gray, luminance, scales)
            return made, jnp.ones(len(image))

        def of_output(_):
            made = coloured(frozen, batch["input_ids"], luminance, scales, noise_key)
            return made, nearest_scale(made, scales, image)

        from_output = jax.random.uniform(kind_key) < options.output_share
        versions, best = jax.lax.cond(from_output, of_output, of_truth, None)
        versions = jax.lax.stop_gradient(versions)
        return loss(scored(params, frozen, versions, dropout_key), scales, best)

    def coloured(
        frozen: Params, input_ids: Array, luminance: Luminance, scales: Array, key: PRNGKey
    ) -> Versions:
        sampling = config.model.cold_colorize
        inputs = diffusing_colors.Inputs(
            luminance,
            input_ids,
            uncond_input_ids=None,
            keys=jax.random.split(key, len(luminance)),
        )
        how = diffusing_colors.Options(sampling.num_steps, sampling.solver)
        z_0, z_gray = diffusing_colors.walk(model, frozen, inputs, how)
        return vividness.versions(decoder(frozen), z_0, z_gray, luminance, scales)

    def predict(params, frozen, batch, key):
        image, luminance = image_and_luminance(batch["image"])
        z_color = diffusing_colors.encode(model, frozen, image)
        z_gray = diffusing_colors.encode(model, frozen, vividness.gray_image(luminance))
        candidates = jnp.asarray(vividness.CANDIDATES)
        scales = jnp.broadcast_to(candidates, (len(image), len(candidates)))
        made = vividness.versions(decoder(frozen), z_color, z_gray, luminance, scales)
        trees = frozen | {"ranker": optim.merge(params, frozen["ranker"])}
        index = vividness.choose(vividness.rank(model.ranker, trees["ranker"], made), candidates)
        return {"chosen": made[jnp.arange(len(image)), index]}

    return plain(
        lambda key, start: optim.split(whole(key, start), options.trainable)[0],
        batch_loss,
        start,
        frozen,
        options,
        total_steps,
        predict=predict,
        finish=lambda params, frozen, batch: ({"ranker": params}, {}),
    )
