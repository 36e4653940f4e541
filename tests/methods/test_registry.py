"""Which method a release is for, and what guidance costs."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from colorjax.colorize import options
from colorjax.colorize.colorizer import Colorizer
from colorjax.colorize.command import flags
from colorjax.errors import UserError
from colorjax.methods import lcad, registry
from colorjax.methods.method import Pictures


def test_the_release_says_the_method() -> None:
    assert registry.of_release({"method": "diffusing_colors"}) == "diffusing_colors"
    assert registry.of_release({}) == "lcad"
    with pytest.raises(UserError, match="the release's method is 'palette'"):
        registry.of_release({"method": "palette"})


RELEASE = {"without_prompt": {"method": "diffusing_colors", "num_steps": 4, "temperature": 0.5}}
OWN, OTHER = ("lcad", {}), ("diffusing_colors", {"num_steps": 4, "temperature": 0.5})


@pytest.mark.parametrize(
    ("method", "chosen", "is_prompted", "choice"),
    [
        (None, {}, True, OWN),
        (None, {}, False, OTHER),
        ("lcad", {}, False, OWN),
        ("diffusing_colors", {}, False, ("diffusing_colors", {})),
        (None, {"temperature": "0.9"}, False, (OTHER[0], {"num_steps": 4, "temperature": "0.9"})),
        (None, {"sampler": "dpm"}, False, ("lcad", {"sampler": "dpm"})),
        (None, {"lora": "mine"}, False, ("lcad", {"lora": "mine"})),
        (None, {"negative_prompt": "a frog"}, False, ("lcad", {"negative_prompt": "a frog"})),
        (None, {"temperature": None, "sampler": None}, False, OTHER),
    ],
)
def test_a_release_may_have_a_method_for_photographs_without_a_prompt(
    method: str | None, chosen: dict[str, Any], is_prompted: bool, choice: Any
) -> None:
    got = registry.choose(RELEASE, method, chosen, is_prompted=is_prompted)
    assert (got.method, dict(got.settings)) == choice
    assert got.is_unprompted == (got.settings.get("num_steps") == 4)
    untold = registry.choose({}, method, {}, is_prompted=is_prompted)
    assert (untold.method, dict(untold.settings)) == (method or "lcad", {})


def test_what_a_release_has_for_no_prompt_is_checked_like_a_persons_wish() -> None:
    def of(**section: Any) -> registry.Choice:
        return registry.choose({"without_prompt": section}, None, {}, is_prompted=False)

    for section, message in (
        ({"method": "palette"}, "method is 'palette'"),
        (
            {"method": "diffusing_colors", "sampler": "ddim"},
            "sampler is a setting of --method=lcad",
        ),
        ({"method": "diffusing_colors", "num_steps": 0}, "num_steps is 0"),
        ({"method": "diffusing_colors", "mask_steps": 2}, "mask_steps is about masks"),
    ):
        with pytest.raises(UserError, match=f"{message}.*name a method, or say what"):
            of(**section)
        chosen = registry.choose({"without_prompt": section}, None, {}, is_prompted=True)
        assert chosen == (*OWN, False)
    assert "lora" not in of(method="diffusing_colors", lora="/etc/passwd").settings


@pytest.mark.parametrize(
    ("words", "method"),
    [
        ("", "diffusing_colors"),
        ("--prompt auto", "diffusing_colors"),
        ("--prompt=", "lcad"),
        ("--prompt car", "lcad"),
        ("--negative_prompt frogs", "lcad"),
        ("--masks attention", "lcad"),
        ("--prompts beside", "lcad"),
        ("--enhance", "lcad"),
        ("--guidance_scale 2", "diffusing_colors"),
        ("--sampler dpm", "lcad"),
        ("--method lcad", "lcad"),
    ],
)
def test_a_command_that_says_nothing_of_the_photographs_leaves_the_method_to_the_release(
    small_release: Path, monkeypatch: pytest.MonkeyPatch, words: str, method: str
) -> None:
    monkeypatch.setattr(options.release, "read_config", lambda directory: RELEASE)
    args = flags.parse(["photo.jpg", *words.split()])
    assert options.choice_of(args, small_release).method == method


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
