"""A model of the production classes small enough for tests, with random weights."""

from pathlib import Path

import jax
import jax.numpy as jnp
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
    for stage in made.stages:
        made[stage].update(batch_size=8, total_steps=2, warmup_steps=1)
    return made


def random_params(model: lcad.LCAD, image_size: int, length: int) -> dict:
    """Every leaf random, so that no zero initialisation hides anything."""
    side = image_size // model.vae.factor
    key = jax.random.key(0)
    width = model.text_encoder.hidden_size
    feature = jnp.zeros((1, side, side, model.vae.block_out_channels[-1]))
    trees = {
        "text_encoder": model.text_encoder.init(key, jnp.zeros((1, length), int)),
        "vae": model.vae.init(key, jnp.zeros((1, image_size, image_size, 3))),
        "luminance_encoder": model.luminance_encoder.init(
            key, jnp.zeros((1, image_size, image_size, 1))
        ),
        "unet": model.unet.init(
            key,
            jnp.zeros((1, side, side, 4)),
            jnp.zeros((1,), int),
            jnp.zeros((1, length, width)),
            feature,
        ),
    }
    rng = np.random.default_rng(0)

    def fill(leaf):
        fan_in = np.prod(leaf.shape[:-1]) if leaf.ndim > 1 else 100
        return np.asarray(leaf) * 0.5 + rng.normal(size=leaf.shape).astype(np.float32) / fan_in**0.5

    return {name: jax.tree.map(fill, tree["params"]) for name, tree in trees.items()}


def write_release(directory: Path) -> Path:
    sizes = config().model.to_dict()
    model = lcad.build(sizes)
    params = random_params(model, 32, sizes["text_encoder"]["max_position_embeddings"])
    release.write(directory, sizes | {"method": "lcad"}, params, DATA / "tokenizer")
    return directory
