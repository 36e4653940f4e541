"""Contrastive training of the small text and image towers (Radford et al. 2021).

A stand-in for OpenAI's weights at sizes where none exist. Pictures shown without their colours
teach the image tower to name what a gray photograph shows, which `--prompt auto` asks of it.
"""

from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from colorjax import release
from colorjax.maths import losses
from colorjax.maths.types import Array, Image, Params, PRNGKey
from colorjax.methods import vividness
from colorjax.models.clip import CLIP, CLIPTextModel, CLIPVisionModel
from colorjax.models.layers import apply
from colorjax.train import optim
from colorjax.train.stages.stage import (
    Batch,
    Stage,
    Weights,
    image_and_luminance,
    single_loss_stage,
)


def build(config: ConfigDict, options: ConfigDict, weights: Weights, total_steps: int) -> Stage:
    """The trainable share of both towers, to tell the pictures of a batch apart by captions.

    `options.uncoloured_share` is how many of them are shown gray; their captions stay.
    """
    model = CLIP(
        CLIPTextModel(**config.model.text_encoder),
        CLIPVisionModel(**config.model.image_encoder),
        config.model.projection_dim,
    )
    size, length = config.model.image_size, config.model.text_encoder.max_position_embeddings

    def whole(key: PRNGKey, start: Params) -> Params:
        image, tokens = jnp.zeros((1, size, size, 3)), jnp.zeros((1, length), jnp.int32)
        fresh = model.init(key, image, tokens)["params"]
        if not {"text_encoder", "image_encoder"} <= start.keys():
            return fresh  # one tower without the other is worth nothing
        both = {"text_model": start["text_encoder"], **start["image_encoder"]}
        return release.conform(fresh, both, "the model to continue from")

    def init(key: PRNGKey, start: Params) -> Params:
        return optim.split(whole(key, start), options.trainable)[0]

    share = jax.jit(lambda key, start: optim.split(whole(key, start), options.trainable)[1])
    frozen = {"clip": share(jax.random.key(config.seed), weights.start)}

    def loss(
        params: Params, frozen: Params, batch: Batch, key: PRNGKey
    ) -> tuple[Array, optim.Metrics]:
        image, luminance = image_and_luminance(batch["image"])
        gray = jax.random.bernoulli(key, options.uncoloured_share, (len(image), 1, 1, 1))
        image = jnp.where(gray, vividness.gray_image(luminance), image)
        logits = apply(model, optim.merge(params, frozen["clip"]), image, batch["input_ids"])
        # Pictures with one caption are each other's, not to be told apart.
        same = (batch["input_ids"][:, None] == batch["input_ids"][None]).all(-1)
        hits = jnp.take_along_axis(same, logits.argmax(axis=1)[:, None], axis=1)
        value = losses.contrastive(logits, same.astype(jnp.float32))
        return value, {"top1": hits.mean()}

    def predict(params: Params, frozen: Params, batch: Batch, key: PRNGKey) -> dict[str, Image]:
        return {}

    def finish(params: Params, frozen: Params, batch: Batch) -> tuple[Params, dict[str, Any]]:
        both = optim.merge(params, frozen["clip"])
        tower = both.pop("text_model")
        return {"text_encoder": tower, "image_encoder": both}, {}

    return single_loss_stage(
        init=init,
        loss=loss,
        start=weights.start,
        frozen=frozen,
        options=options,
        total_steps=total_steps,
        predict=predict,
        finish=finish,
    )
