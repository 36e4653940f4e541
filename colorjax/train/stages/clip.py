"""Contrastive training of the small text and image towers (Radford et al. 2021).

A stand-in for OpenAI's weights at sizes where none exist.
"""

import jax.numpy as jnp
from ml_collections import ConfigDict

from colorjax import release
from colorjax.maths import losses
from colorjax.models.clip import CLIP, CLIPTextModel, CLIPVisionModel
from colorjax.models.layers import apply
from colorjax.train.stages.stage import Stage, image_and_luminance, plain
from colorjax.types import Params

NEEDS: tuple[str, ...] = ()
STARTS_FROM: dict[str, tuple[str, ...]] = {
    "text_encoder": ("text_encoder",),
    "image_encoder": ("image_encoder",),
}
MUST_START = False


def build(
    config: ConfigDict, options: ConfigDict, parts: Params, start: Params, total_steps: int
) -> Stage:
    model = CLIP(
        CLIPTextModel(**config.model.text_encoder),
        CLIPVisionModel(**config.model.image_encoder),
        config.model.projection_dim,
    )
    size, length = config.model.image_size, config.model.text_encoder.max_position_embeddings

    def init(key, start):
        image, tokens = jnp.zeros((1, size, size, 3)), jnp.zeros((1, length), jnp.int32)
        fresh = model.init(key, image, tokens)["params"]
        if set(start) < set(STARTS_FROM):
            return fresh
        given = {"text_model": start["text_encoder"], **start["image_encoder"]}
        return release.fit(fresh, given, "the model to continue from")

    def loss(params, frozen, batch, key):
        image, _ = image_and_luminance(batch["image"])
        logits = apply(model, params, image, batch["input_ids"])
        same = (batch["input_ids"][:, None] == batch["input_ids"][None]).all(-1)
        hits = jnp.take_along_axis(same, logits.argmax(axis=1)[:, None], axis=1)
        value = losses.contrastive(logits, same.astype(jnp.float32))
        return value, {"top1": hits.mean()}

    def finish(params, frozen, batch):
        tower = params["text_model"]
        rest = {k: v for k, v in params.items() if k != "text_model"}
        return {"text_encoder": tower, "image_encoder": rest}, {}

    return plain(
        init,
        loss,
        start,
        {},
        options,
        total_steps,
        predict=lambda params, frozen, batch, key: {},
        finish=finish,
    )
