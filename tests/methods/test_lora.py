"""Low-rank adapters: what they do to a network, and to whom they do not belong."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict

from colorjax import release
from colorjax.errors import UserError
from colorjax.methods import lora
from tests import hollow

RNG = np.random.default_rng(0)
DENSE, CONV = RNG.normal(size=(6, 4)), RNG.normal(size=(3, 3, 5, 4))
PARAMS = {
    "unet": {
        "to_q": {"kernel": DENSE.astype(np.float32), "bias": np.ones(4, np.float32)},
        "conv1": {"kernel": CONV.astype(np.float32)},
    },
    "vae": {"conv1": {"kernel": CONV.astype(np.float32)}},
}


def trained(targets: tuple[str, ...] = ("unet/.*",)) -> dict:
    fresh = lora.init(jax.random.key(0), PARAMS, 2, targets)
    return jax.tree.map(lambda leaf: RNG.normal(size=leaf.shape).astype(np.float32), fresh)


def test_fresh_adapters_change_nothing_and_targets_choose() -> None:
    fresh = lora.init(jax.random.key(0), PARAMS, 2, ("unet/.*",))
    jax.tree.map(np.testing.assert_array_equal, lora.applied(PARAMS, fresh, 1.5), PARAMS)
    assert set(fresh) == {"unet"} and set(fresh["unet"]) == {"to_q", "conv1"}
    sizes = [leaf.size for leaf in jax.tree.leaves(fresh)]
    assert sum(sizes) == 2 * (6 + 4) + 2 * (45 + 4)
    only = lora.init(jax.random.key(0), PARAMS, 2, (".*/to_q/kernel",))
    assert set(only["unet"]) == {"to_q"}
    with pytest.raises(UserError, match="target 'vae/.*' matches no kernel; paths look like 'unet"):
        lora.init(jax.random.key(0), PARAMS, 2, ("vae/.*",))


def test_a_dense_layer_gets_the_product_and_a_convolution_two_of_them() -> None:
    """x W + (alpha / rank) x A B, and a convolution by A followed by one of a pixel by B."""
    adapters = trained()
    changed = lora.applied(PARAMS, adapters, 0.75)["unet"]
    a, b = (
        np.asarray(adapters["unet"]["to_q"]["kernel"][name], np.float64) for name in ("down", "up")
    )
    np.testing.assert_allclose(changed["to_q"]["kernel"], DENSE + 0.75 * a @ b, atol=1e-5)
    np.testing.assert_array_equal(changed["to_q"]["bias"], 1.0)

    maps = jnp.asarray(RNG.normal(size=(1, 8, 8, 5)), jnp.float32)

    def convolved(kernel, maps):
        layer = nn.Conv(kernel.shape[-1], kernel.shape[:2], use_bias=False)
        return layer.apply({"params": {"kernel": kernel}}, maps)

    own = adapters["unet"]["conv1"]["kernel"]
    low = convolved(own["up"][None, None], convolved(own["down"], maps))
    expected = convolved(PARAMS["unet"]["conv1"]["kernel"], maps) + 0.75 * low
    np.testing.assert_allclose(convolved(changed["conv1"]["kernel"], maps), expected, atol=1e-4)


def test_weights_add_up_and_can_be_taken_back() -> None:
    adapters = trained()
    twice = lora.applied(lora.applied(PARAMS, adapters, 0.3), adapters, -0.3)
    jax.tree.map(lambda *of: np.testing.assert_allclose(*of, atol=1e-5), twice, PARAMS)
    without = {"vae": PARAMS["vae"]}
    jax.tree.map(np.testing.assert_array_equal, lora.applied(without, adapters, 1.0), without)


def test_adapters_of_another_model_are_refused() -> None:
    other = {"unet": {"to_q": {"kernel": np.zeros((7, 4), np.float32)}}}
    with pytest.raises(UserError, match=r"changes 'unet/conv1/kernel' of shape .* has none"):
        lora.applied(other, trained(), 1.0)
    with pytest.raises(UserError, match=r"of shape \(6, 4\), and this model has \(7, 4\)"):
        lora.applied(other, trained(("unet/to_q/kernel",)), 1.0)


def test_what_a_command_line_names(tmp_path) -> None:
    adapters = trained()
    one = tmp_path / "one"
    release.write(one, {}, {"lora": adapters | {"scale": np.float32(1.5)}})
    for text, weight in (
        (str(one), 1.0),
        (f"{one}:0.8", 0.8),
        (f"{one / 'lora.safetensors'}:2", 2),
    ):
        changed = lora.with_adapters(PARAMS, text)
        expected = lora.applied(PARAMS, adapters, 1.5 * weight)
        jax.tree.map(np.testing.assert_array_equal, changed, expected)
    both = lora.with_adapters(PARAMS, f"{one}:0.5,{one}:-0.5")
    jax.tree.map(lambda *of: np.testing.assert_allclose(*of, atol=1e-5), both, PARAMS)
    assert lora.with_adapters(PARAMS, "") is PARAMS
    release.write(one, {}, {"lora_blue": adapters})
    for text, words in (
        (str(one), "has several, lora, lora_blue: give one of their files"),
        (f"{one / 'lora_blue.safetensors'}", "holds no LoRA: it lacks the leaf 'scale'"),
        ("nowhere:1", "'nowhere' does not exist; give a release that has a LoRA"),
    ):
        with pytest.raises(UserError, match=words):
            lora.with_adapters(PARAMS, text)


def test_what_is_no_adapter_is_told_before_it_is_read(tmp_path) -> None:
    path = next(path for path in sorted(flatten_dict(trained(), sep="/")) if path.endswith("/up"))
    whole, other = path.removesuffix("/up"), f"{path.removesuffix('/up')}/middle"
    for leaves, message in (
        ({path: (2, 4)}, f"'{whole}' of a LoRA is no adapter; get the release again"),
        ({path: (2, 4), f"{whole}/down": (4, 3)}, f"'{whole}' of a LoRA is no adapter"),
        ({other: (2, 4)}, f"'{whole}' of a LoRA is no adapter"),
        ({path: hollow.WHOLE, f"{whole}/down": (4, 100_000)}, "is of another model: it changes"),
        ({"absent/kernel/up": hollow.WHOLE}, r"has 40,000 MB, and such a model at most 1\d\d MB"),
    ):
        one = tmp_path / "one"
        shutil.rmtree(one, ignore_errors=True)
        release.write(one, {}, {})
        small = max(map(max, leaves.values())) < 10
        hollow.write(one, "lora", leaves | {"scale": ()}, is_sound=small)
        with pytest.raises(UserError, match=message):
            lora.with_adapters(PARAMS, str(one))
