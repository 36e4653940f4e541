"""What networks compute in: by name, by device, and how far bfloat16 is from float32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import colorjax
from colorjax.colorize.colorizer import Colorizer
from colorjax.devices import precision
from colorjax.errors import UserError
from colorjax.methods.method import Pictures


def test_auto_is_what_the_device_is_good_at(monkeypatch) -> None:
    for backend, kind in (("cpu", "float32"), ("gpu", "bfloat16"), ("tpu", "bfloat16")):
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        assert precision.compute_type("auto") == jnp.dtype(kind)
        assert precision.compute_type("float32") == jnp.float32
    with pytest.raises(UserError, match="dtype is 'float16'; it must be one of auto, float32, bfl"):
        colorjax.load("bundled", dtype="float16")


@pytest.mark.proof
def test_bfloat16_colours_nearly_as_float32(small_release) -> None:
    """Matrices are narrow, vectors are not, and what comes out is float32."""
    light = np.linspace(10, 90, 1024, dtype=np.float32).reshape(1, 32, 32)
    images = []
    for dtype in (jnp.float32, jnp.bfloat16):
        colorizer = Colorizer(small_release, dtype=dtype, temperature=0.5)
        pictures = Pictures(light, colorizer.tokenize(["a red car"]), seed=1)
        images.append(colorizer(pictures))
    assert {leaf.dtype for leaf in jax.tree.leaves(colorizer.params) if leaf.ndim > 1} == {
        jnp.dtype(dtype)
    }
    vectors = [leaf for leaf in jax.tree.leaves(colorizer.params) if leaf.ndim == 1]
    assert vectors and all(leaf.dtype == jnp.float32 for leaf in vectors)
    exact, rough = images
    assert rough.dtype == np.float32 and np.isfinite(rough).all()
    assert 1e-4 < np.abs(rough - exact).mean() < 0.05 * np.abs(exact).mean() + 0.01
