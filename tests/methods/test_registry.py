"""Which method a release is for, and what guidance costs."""

import argparse
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from colorjax.colorize import options
from colorjax.colorize.colorizer import Colorizer
from colorjax.errors import UserError
from colorjax.methods import lcad, registry
from colorjax.methods.method import Pictures


def test_the_release_says_the_method() -> None:
    assert registry.of_release({"method": "diffusing_colors"}) == "diffusing_colors"
    assert registry.of_release({}) == "lcad"
    with pytest.raises(UserError, match="the release's method is 'palette'"):
        registry.of_release({"method": "palette"})


def test_a_command_takes_the_releases_method_unless_told(
    small_release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {"method": "diffusing_colors"}
    monkeypatch.setattr(options.release, "read_config", lambda directory: said)
    untold = argparse.Namespace(method=None)
    assert options.method_of(untold, small_release) == "diffusing_colors"
    assert options.method_of(argparse.Namespace(method="lcad"), small_release) == "lcad"


def pictures(colorizer: Colorizer) -> Pictures:
    light = np.linspace(0, 100, 32 * 32, dtype=np.float32).reshape(1, 32, 32)
    return Pictures(light, colorizer.tokenize(["a red car"]), np.zeros(1, np.uint32))


def flops(lowered: Any) -> float:
    return float(lowered.cost_analysis()["flops"])


def of_unet(colorizer: Colorizer) -> float:
    """One estimate of the noise for one picture."""
    model, params = colorizer.model, colorizer.params
    light = jnp.zeros((1, 32, 32, 1))
    z_t, context = jnp.zeros((1, 8, 8, 4)), jnp.zeros((1, 24, 16))

    def estimate(params: Any) -> Any:
        features = lcad.encode_luminance(model, params, light)
        return lcad.predict_eps(model, params, z_t, jnp.zeros(1, jnp.int32), context, features)

    def luminance(params: Any) -> Any:
        return lcad.encode_luminance(model, params, light)

    return flops(jax.jit(estimate).lower(params)) - flops(jax.jit(luminance).lower(params))


@pytest.mark.proof
def test_guidance_of_exactly_1_leaves_the_other_half_out(small_release: Path) -> None:
    """The same picture without a UNet's estimate a step; every other scale is one program."""
    alone = Colorizer(small_release, "lcad", guidance_scale=1.0, num_steps=8)
    guided = alone.changed(guidance_scale=1.0 + 1e-6)
    np.testing.assert_allclose(alone(pictures(alone)), guided(pictures(guided)), atol=2e-3)
    both, one = (flops(each.lower(pictures(each))) for each in (guided, alone))
    assert both - one > 0.9 * of_unet(alone)
    assert alone.compilations == 2
    other = alone.changed(guidance_scale=30.0)
    assert np.abs(other(pictures(other)) - guided(pictures(guided))).max() > 0.01
    assert alone.compilations == 2
