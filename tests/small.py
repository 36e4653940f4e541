"""A model of the production classes small enough for tests, with random weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from colorjax import release
from colorjax.configs import diffusing_colors as cold_lib
from colorjax.configs import lcad as lcad_config
from colorjax.devices import sharding
from colorjax.methods import diffusing_colors, lcad

DATA = Path(__file__).parent / "assets"


def config() -> ConfigDict:
    made = _shrink(lcad_config.get_config("tiny"))
    made.tokenizer = str(DATA / "tokenizer")
    made.luminance.perceptual_weight = 0.0  # its pretrained weights are no part of the package
    return made


def cold_config(argument: str = "tiny") -> ConfigDict:
    """Diffusing Colors, to be begun from a release of `write_release`."""
    made = _shrink(cold_lib.get_config(argument))
    made.model.cold_colorize.update(num_steps=2, batch_size=4)
    made.model.ranker.hidden_size = 16
    return made


def _shrink(made: ConfigDict) -> ConfigDict:
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
    made.log_every = 2
    for stage in made.stages:
        made[stage].update(batch_size=8, total_steps=2, warmup_steps=1)
    return made


def smallest() -> ConfigDict:
    """One level of everything, all of the UNet trained, attention and CEC included."""
    made = config()
    made.model.vae.update(block_out_channels=(8, 16))
    made.model.unet.update(
        block_out_channels=(16,), attention_levels=(True,), num_attention_heads=(2,)
    )
    return made


def random_params(model: lcad.LCAD) -> dict:
    """Weights of all of L-CAD's networks; every call returns arrays of its own."""
    key = repr(model._replace(schedule=None))  # its arrays have no hash, and shape no weight
    if key not in _DRAWN:  # tracing the networks takes a second
        _DRAWN[key] = drawn(lambda key: lcad.init(model, key))
    return jax.tree.map(np.copy, _DRAWN[key])


_DRAWN: dict[str, dict] = {}


def drawn(init: Callable[[Any], dict]) -> dict:
    """Random weights of the shapes that `init` makes, which is not run: that would take long."""

    def start(path: Any, leaf: Any) -> np.ndarray:
        return np.full(leaf.shape, float(sharding.path_name(path).endswith("scale")), np.float32)

    shapes = jax.eval_shape(init, jax.random.key(0))
    return randomised(jax.tree_util.tree_map_with_path(start, shapes))


def randomised(params: dict) -> dict:
    """Every leaf random, so that no zero initialisation hides anything."""
    rng = np.random.default_rng(0)

    def fill(leaf):
        fan_in = np.prod(leaf.shape[:-1]) if leaf.ndim > 1 else 100
        return np.asarray(leaf) * 0.5 + rng.normal(size=leaf.shape).astype(np.float32) / fan_in**0.5

    return jax.tree.map(fill, params)


def jitted(function: Callable, model: Any, params: dict, *inputs: Any) -> Any:
    """A function of a model as one program: eagerly, each of its operations would be compiled."""
    return jax.jit(lambda params, *inputs: function(model, params, *inputs))(params, *inputs)


def write_cold_release(
    directory: Path, *, distilled: dict[str, Any] | None = None, **cold: Any
) -> Path:
    """A release with L-CAD's parts and those of Diffusing Colors."""
    sizes = cold_config().model.to_dict()
    sizes["cold"] |= {"colourfulness": 30.0} | cold
    model = diffusing_colors.build(sizes)
    parts = {
        "cold_unet": drawn(lambda key: diffusing_colors.init_unet(model, key)),
        "ranker": drawn(lambda key: diffusing_colors.init_ranker(model, key)),
    }
    if distilled:
        sizes["distilled"] = distilled
        # Other numbers than the cold UNet's.
        parts["distilled_unet"] = jax.tree.map(lambda leaf: 0.9 * leaf, parts["cold_unet"])
    parts["image_encoder"] = {"vision_model": parts["ranker"]["vision_model"]}
    params = random_params(lcad.build(sizes)) | parts
    release.write(directory, sizes | {"method": "lcad"}, params, DATA / "tokenizer")
    return directory


def write_release(directory: Path) -> Path:
    sizes = config().model.to_dict()
    params = random_params(lcad.build(sizes))
    release.write(directory, sizes | {"method": "lcad"}, params, DATA / "tokenizer")
    return directory
