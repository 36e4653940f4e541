"""The contrastive stage: which share of the towers learns, from pictures with or without colour."""

import jax
import numpy as np
import pytest

from colorjax.errors import UserError
from colorjax.maths import color
from colorjax.methods import vividness
from colorjax.train import ranges
from colorjax.train.stages import clip
from colorjax.train.stages.stage import Weights
from tests import small

IMAGE_TOWER = ("vision_model/.*", "visual_projection/.*")


@pytest.fixture(scope="module")
def batch() -> dict[str, np.ndarray]:
    """Four coloured pictures with captions of their own."""
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(0, 256, (4, 32, 32, 3)).astype(np.uint8),
        "input_ids": rng.integers(1, 500, (4, 24)).astype(np.int32),
    }


def step(batch: dict[str, np.ndarray], **changes: object) -> tuple:
    """The state before, the state after and the metrics of a first step."""
    config = small.smallest()
    config.clip.update(changes)
    stage = clip.build(config, config.clip, Weights({}, {}, {}, {}), 2)
    state = jax.jit(stage.init)(jax.random.key(0), stage.start)
    after, metrics = jax.jit(stage.step)(state, stage.frozen, batch, jax.random.key(1))
    return stage, state, after, {name: float(value) for name, value in metrics.items()}


@pytest.mark.proof
def test_uncoloured_pictures_are_the_gray_ones(batch) -> None:
    _, luminance = clip.image_and_luminance(batch["image"])
    gray = np.asarray(color.to_bytes(np.asarray(vividness.gray_image(luminance))))
    (*_, coloured), (*_, uncoloured), (*_, of_gray) = (
        step(batch),
        step(batch, uncoloured_share=1.0),
        step(batch | {"image": gray}),
    )
    # Bytes round the gray pictures.
    assert uncoloured["loss"] == pytest.approx(of_gray["loss"], rel=1e-3)
    assert abs(coloured["loss"] - of_gray["loss"]) > 10 * abs(uncoloured["loss"] - of_gray["loss"])


@pytest.mark.proof
def test_the_image_tower_learns_alone(batch) -> None:
    """A text encoder that denoisers were trained beside may not move."""
    config = small.smallest()
    stage, before, after, _ = step(batch, trainable=IMAGE_TOWER, warmup_steps=0)
    assert set(before.params) == {"vision_model", "visual_projection"}
    moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), before.params, after.params)
    assert moved["visual_projection"]["kernel"]
    parts, sections = stage.finish(after.params, stage.frozen, batch)
    assert set(parts) == {"text_encoder", "image_encoder"} and sections == {}
    jax.tree.map(
        np.testing.assert_array_equal, parts["text_encoder"], stage.frozen["clip"]["text_model"]
    )
    assert set(parts["image_encoder"]) == {
        "vision_model",
        "visual_projection",
        "text_projection",
        "logit_scale",
    }
    config.clip.uncoloured_share = 1.5
    with pytest.raises(UserError, match="uncoloured_share is 1.5; it must be a number from 0 to 1"):
        ranges.check(config, "clip")
