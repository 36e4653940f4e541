"""What a stage learns of its networks, and what of it goes into a release."""

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from colorjax import release
from colorjax.errors import UserError
from colorjax.methods import lora
from colorjax.train import places
from colorjax.train.stages import learned
from colorjax.train.stages.stage import Weights
from tests import small

RNG = np.random.default_rng(0)
UNET = {"attn1": {"to_q": {"kernel": RNG.normal(size=(6, 4)).astype(np.float32)}}}
TEXT = {"layers_0": {"q_proj": {"kernel": RNG.normal(size=(5, 5)).astype(np.float32)}}}
BOTH = ("cold_unet/.*/to_q/kernel", "text_encoder/.*/q_proj/kernel")


def of_targets(targets: tuple[str, ...], **more):
    options = ConfigDict(dict(lora_rank=2, lora_alpha=3.0, lora_targets=targets, lora_name=""))
    options.update(more)
    weights = Weights({"text_encoder": TEXT}, {"cold_unet": UNET}, {}, {})
    return learned.of_unet("cold_unet", lambda key, start: start["cold_unet"], options, weights, 0)


def trained(own: learned.Learned):
    fresh = own.init(jax.random.key(0), {})
    return jax.tree.map(lambda leaf: RNG.normal(size=leaf.shape).astype(np.float32), fresh)


def test_adapters_of_both_networks_are_merged_where_they_belong() -> None:
    """W + (alpha / rank) A B in each; fresh ones change nothing."""
    own = of_targets(BOTH)
    fresh = own.whole(own.init(jax.random.key(1), {}), own.frozen)
    jax.tree.map(np.testing.assert_array_equal, fresh, own.frozen)
    params = trained(own)
    merged = own.parts(params, own.frozen)
    assert set(merged) == {"cold_unet", "text_encoder", "lora"}
    assert float(merged["lora"]["scale"]) == 1.5
    for part, tree, path in (
        ("cold_unet", UNET, ("attn1", "to_q", "kernel")),
        ("text_encoder", TEXT, ("layers_0", "q_proj", "kernel")),
    ):
        changed, before, adapter = merged[part], tree, params[part]
        for name in path:
            changed, before, adapter = changed[name], before[name], adapter[name]
        np.testing.assert_allclose(
            changed, before + 1.5 * adapter["down"] @ adapter["up"], rtol=1e-5, atol=1e-5
        )


def test_a_text_encoder_without_adapters_is_not_made_anew() -> None:
    for targets in (BOTH[:1], (".*/kernel",)):  # a target says what it is for by its first word
        own = of_targets(targets, lora_name="garden")
        params = trained(own)
        assert set(params) == {"cold_unet"}
        assert set(own.parts(params, own.frozen)) == {"cold_unet", "lora_garden"}
    with pytest.raises(UserError, match="lora_name is 'my garden'; it must be of letters"):
        learned.name_of({"lora_name": "my garden"})


def test_a_release_carries_several_and_each_is_taken_by_its_file(tmp_path) -> None:
    own = {name: of_targets(BOTH, lora_name=name) for name in ("garden", "winter")}
    params = {name: trained(one) for name, one in own.items()}
    for name, one in own.items():
        parts = one.parts(params[name], one.frozen)
        release.write(tmp_path, {}, {f"lora_{name}": parts[f"lora_{name}"]})
    base = {"cold_unet": UNET, "text_encoder": TEXT}
    for name in own:
        file = tmp_path / f"lora_{name}.safetensors"
        changed = lora.with_adapters(base, f"{file}:0.5")
        expected = lora.applied(base, params[name], 0.75)
        jax.tree.map(lambda *of: np.testing.assert_allclose(*of, rtol=1e-6), changed, expected)
    with pytest.raises(UserError, match="has several, lora_garden, lora_winter: give one of"):
        lora.with_adapters(base, str(tmp_path))


def test_the_text_encoder_to_adapt_is_the_one_before(small_release, tmp_path) -> None:
    """After the stage the run's own release has the adapted one, and the same command goes on."""
    config = small.config()
    config.init_from = str(small_release)
    own = tmp_path / "release"
    release.write(own, {"method": "lcad"}, {"text_encoder": TEXT})
    assert places.find("latent", config, tmp_path).parts["text_encoder"] == own
    config.latent.update(lora_rank=2, lora_targets=("text_encoder/.*/q_proj/kernel",))
    assert places.find("latent", config, tmp_path).parts["text_encoder"] == small_release
