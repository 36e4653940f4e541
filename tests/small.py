"""A model of the production classes small enough for tests, with random weights."""

from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from colorjax import release
from colorjax.methods import lcad
from configs import lcad as lcad_config

DATA = Path(__file__).parent / "data"


def config() -> ConfigDict:
    made = lcad_config.get_config("tiny")
    made.model.text_encoder.update(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    made.model.image_encoder.update(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        patch_size=8,
    )
    made.model.projection_dim = 16
    made.model.vae.update(block_out_channels=(8, 8, 16), norm_num_groups=4)
    made.model.unet.update(
        block_out_channels=(8, 16), num_attention_heads=(1, 2), norm_num_groups=4
    )
    made.model.colorize.update(num_steps=2, batch_size=4)
    made.data.update(directory=str(DATA / "cifar10"), train_split="test")
    made.tokenizer = str(DATA / "tokenizer")
    made.log_every = 2
    made.luminance.perceptual_weight = 0.0  # its pretrained weights are no part of the package
    for stage in made.stages:
        made[stage].update(batch_size=8, total_steps=2, warmup_steps=1)
    return made


def random_params(model: lcad.LCAD) -> dict:
    """Every leaf random, so that no zero initialisation hides anything."""
    rng = np.random.default_rng(0)

    def fill(leaf):
        fan_in = np.prod(leaf.shape[:-1]) if leaf.ndim > 1 else 100
        return np.asarray(leaf) * 0.5 + rng.normal(size=leaf.shape).astype(np.float32) / fan_in**0.5

    return jax.tree.map(fill, lcad.init(model, jax.random.key(0)))


def write_release(directory: Path) -> Path:
    sizes = config().model.to_dict()
    params = random_params(lcad.build(sizes))
    release.write(directory, sizes | {"method": "lcad"}, params, DATA / "tokenizer")
    return directory
