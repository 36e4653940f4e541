"""LPIPS with its published weights, which a loss, a measure and a benchmark take."""

import jax.numpy as jnp

from colorjax import release
from colorjax.maths.types import Params, PRNGKey
from colorjax.models.perceptual import Lpips
from colorjax.release import shapes


def init_lpips(backbone: str, key: PRNGKey) -> Params:
    """Random weights."""
    params: Params = Lpips(backbone).init(key, *[jnp.zeros((1, 64, 64, 3))] * 2)["params"]
    return params


def read_lpips(backbone: str, directory: str = "") -> Params:
    """LPIPS's weights, from where `convert` put them: by default ~/.cache/colorjax/weights.

    Raises:
        UserError: they are not there, are damaged, or are of another network.
    """
    path, part = release.find_lpips(backbone, directory), f"lpips_{backbone}"
    expected = shapes.kept(part, {}, lambda key: init_lpips(backbone, key))
    return release.read_model(path, [part], expected, f"part {part!r} of '{path}'")
