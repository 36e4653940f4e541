"""Diffusing Colors' ranker: which vividness suits a picture. Data, labels and loss are ours.

Versions of real photographs with their colour residual scaled and their lightness kept: 1 is
right, and on either side nearer to 1 is better. In a share of the steps the versions are those of
the colorizer's own result, guided as results are, and right is the scale whose colourfulness is
nearest to the truth's. In another share photographs have faded, and right is the gain that brings
their chroma back.
"""

from collections.abc import Collection, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float
from ml_collections import ConfigDict

from colorjax import release
from colorjax.errors import UserError
from colorjax.maths import losses, metrics
from colorjax.maths.types import Array, Image, Luminance, Params, PRNGKey
from colorjax.methods import diffusing_colors, fading, vividness
from colorjax.train import optim
from colorjax.train.stages.cold_diffusion import check_decoder
from colorjax.train.stages.stage import (
    Batch,
    Stage,
    Weights,
    image_and_luminance,
    single_loss_stage,
)

SCALES = (0.0, 0.3, 0.5, 0.7, 0.85, 1.0, 1.2, 1.4, 1.7)
FADED_SCALES = (0.15, 0.35, 0.6, 0.8, 1.0, 1.25, 1.7, 2.6, 6.0)  # of the true chroma
LEAST_SHARE = 0.15  # of its chroma that a photograph still has
JITTER = 0.05
CHOICE_WEIGHT = 0.5
Versions = Float[Array, "b k H W 3"]
Labelled = tuple[Versions, Float[Array, "b k"], Float[Array, " b"]]  # scales, and the right one


def draw_scales(key: PRNGKey, count: int, around: Sequence[float] = SCALES) -> Float[Array, "b k"]:
    """The nine scales, each but 1 moved by up to 5 %, so that none can be learned by heart."""
    scales = jnp.broadcast_to(jnp.asarray(around), (count, len(around)))
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
    preferred = jnp.take_along_axis(scales, scores.argmax(axis=1)[:, None], axis=1)[:, 0]
    value = pairs + CHOICE_WEIGHT * losses.soft_choice(scores, scales, best)
    near = jnp.abs(preferred - best) <= 0.16  # 0.85 moved by its jitter counts too
    return value, {"pairs_right": right, "near_best": near.mean()}


def versions_of_truth(
    model: diffusing_colors.DiffusingColors,
    frozen: Params,
    image: Image,
    luminance: Luminance,
    scales: Float[Array, "b k"],
) -> Versions:
    """The photographs themselves with their colour residual scaled."""
    z_color = diffusing_colors.encode(model, frozen, image)
    z_gray = diffusing_colors.encode(model, frozen, vividness.gray_image(luminance))
    decode = diffusing_colors.decoder_of(model, frozen, luminance)
    return vividness.versions(decode, z_color, z_gray, luminance, scales)


def versions_of_output(
    model: diffusing_colors.DiffusingColors,
    frozen: Params,
    inputs: diffusing_colors.Inputs,
    options: diffusing_colors.Options,
    scales: Float[Array, "b k"],
) -> Versions:
    """What the colorizer makes of the gray photographs, with its colour residual scaled."""
    z_0, z_gray = diffusing_colors.walk(model, frozen, inputs, options)
    decode = diffusing_colors.decoder_of(model, frozen, inputs.luminance)
    return vividness.versions(decode, z_0, z_gray, inputs.luminance, scales)


def drawn_guidance(
    key: PRNGKey, inputs: diffusing_colors.Inputs, guidance_scales: Sequence[float]
) -> diffusing_colors.Inputs:
    """Inputs with one of the guidance scales, a fidelity, from vivid to what comes nearest to the
    truth, and noise for each picture."""
    scale_key, fidelity_key, noise_key = jax.random.split(key, 3)
    count = len(inputs.luminance)
    return inputs._replace(
        guidance_scale=jax.random.choice(scale_key, jnp.asarray(guidance_scales, jnp.float32)),
        fidelity=jax.random.uniform(fidelity_key),
        keys=jax.random.split(noise_key, count),
    )


def versions_of_faded(key: PRNGKey, image: Image) -> tuple[Versions, Float[Array, "b k"]]:
    """Photographs with a share of their chroma, brought back by gains, and the gains times the
    share: all of the chroma is 1."""
    share_key, scale_key = jax.random.split(key)
    share = jax.random.uniform(share_key, (len(image),), minval=LEAST_SHARE, maxval=1.0)
    scales = draw_scales(scale_key, len(image), FADED_SCALES)
    return fading.scaled(fading.faded(image, share), scales / share[:, None]), scales


def chosen(
    model: diffusing_colors.DiffusingColors, params: Params, image: Image, luminance: Luminance
) -> Image:
    """The version of each photograph that the ranker prefers."""
    candidates = jnp.asarray(vividness.CANDIDATES)
    scales = jnp.broadcast_to(candidates, (len(image), len(candidates)))
    versions = versions_of_truth(model, params, image, luminance, scales)
    scores = vividness.rank(model.ranker, params["ranker"], versions)
    index = vividness.choose(scores, candidates)
    return versions[jnp.arange(len(image)), index]


def initial_ranker(model: diffusing_colors.DiffusingColors, key: PRNGKey, start: Params) -> Params:
    """The ranker of `start`, or a fresh head, on the image tower of `start`."""
    fresh = diffusing_colors.init_ranker(model, key)
    trained = start.get("ranker", {"head": fresh["head"]})
    complete = vividness.complete_ranker(trained, start["image_encoder"])
    return release.conform(fresh, complete, "the ranker to start from")


def num_steps(output_steps: str, sampling: ConfigDict) -> int | str:
    """Steps of the colourings that are judged: a number, `DISTILLED`, or, if empty, the sampler's.

    Raises:
        UserError: it is something else.
    """
    value = str(output_steps or sampling.num_steps)
    if value != diffusing_colors.DISTILLED and not (value.isdecimal() and int(value) > 0):
        raise UserError(
            f"ranker.output_steps is {value!r}; it must be a number, {diffusing_colors.DISTILLED}, "
            "or empty for the sampler's own"
        )
    return value if value == diffusing_colors.DISTILLED else int(value)


def check(config: ConfigDict, options: ConfigDict, parts: Collection[str]) -> None:
    """Raises `UserError` if a guided decoder has nothing that guides it, or the shares are more
    than all."""
    check_decoder(config.model.cold.decoder, parts)
    if options.output_share + options.faded_share > 1.0:
        raise UserError(
            f"ranker.output_share is {options.output_share} and ranker.faded_share "
            f"{options.faded_share}; they must be at most 1 together"
        )


def build(config: ConfigDict, options: ConfigDict, weights: Weights, total_steps: int) -> Stage:
    """The trainable share of the ranker, on versions made while it trains."""
    model = diffusing_colors.build(config.model.to_dict(), jnp.dtype(config.dtype))
    how = config.model.cold_colorize
    steps = diffusing_colors.Options(num_steps(options.output_steps, how), how.solver)
    diffusing_colors.check(model, steps)
    assert weights.tokenize is not None  # whoever trains has captions
    negative = weights.tokenize([how.negative_prompt])

    def trees(key: PRNGKey, start: Params) -> tuple[Params, Params]:
        return optim.split(initial_ranker(model, key, start), options.trainable)

    start = weights.start | {"image_encoder": weights.parts["image_encoder"]}
    frozen = {part: tree for part, tree in weights.parts.items() if part != "image_encoder"}
    frozen["ranker"] = jax.jit(lambda *of: trees(*of)[1])(jax.random.key(config.seed), start)

    def scores(params: Params, frozen: Params, versions: Versions, key: PRNGKey) -> Array:
        tree = optim.merge(params, frozen["ranker"])
        flat = versions.reshape(-1, *versions.shape[2:])
        output: Any = model.ranker.apply({"params": tree}, flat, train=True, rngs={"dropout": key})
        return output.reshape(versions.shape[:2])

    def batch_loss(
        params: Params, frozen: Params, batch: Batch, key: PRNGKey
    ) -> tuple[Array, optim.Metrics]:
        kind_key, draw_key, dropout_key = jax.random.split(key, 3)
        image, luminance = image_and_luminance(batch["image"])

        def of_truth() -> Labelled:
            scales = draw_scales(draw_key, len(image))
            versions = versions_of_truth(model, frozen, image, luminance, scales)
            return versions, scales, jnp.ones(len(image))

        def of_output() -> Labelled:
            scale_key, guidance_key = jax.random.split(draw_key)
            scales = draw_scales(scale_key, len(image))
            uncond = jnp.broadcast_to(negative, (len(image), negative.shape[1]))
            inputs = diffusing_colors.Inputs(luminance, batch["input_ids"], uncond)
            inputs = drawn_guidance(guidance_key, inputs, options.guidance_scales)
            versions = versions_of_output(model, frozen, inputs, steps, scales)
            return versions, scales, nearest_scale(versions, scales, image)

        def of_faded() -> Labelled:
            return *versions_of_faded(draw_key, image), jnp.ones(len(image))

        place = jax.random.uniform(kind_key)
        ends = jnp.cumsum(jnp.array([options.output_share, options.faded_share]))
        kinds = (of_output, of_faded, of_truth)
        versions, scales, best = jax.lax.switch((place >= ends).sum(), kinds)
        fixed = jax.lax.stop_gradient(versions)
        return loss(scores(params, frozen, fixed, dropout_key), scales, best)

    def predict(params: Params, frozen: Params, batch: Batch, key: PRNGKey) -> dict[str, Image]:
        whole = frozen | {"ranker": optim.merge(params, frozen["ranker"])}
        return {"chosen": chosen(model, whole, *image_and_luminance(batch["image"]))}

    return single_loss_stage(
        init=lambda key, start: trees(key, start)[0],
        loss=batch_loss,
        start=start,
        frozen=frozen,
        options=options,
        total_steps=total_steps,
        predict=predict,
        finish=lambda params, frozen, batch: (
            {"ranker": params},
            {fading.SECTION: {"by_ranker": options.faded_share > 0.0}},
        ),
    )
