"""LPIPS, the FID Inception network, and the distance of their features."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from colorjax.models.inception import Inception
from colorjax.models.layers import apply
from colorjax.models.perceptual import BACKBONES, Lpips, unit_length

PHOTO = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
# torchvision's counts of the convolutions alone, and one weight for each compared channel.
SIZES = {"vgg16": 14_714_688 + 1_472, "alexnet": 2_469_696 + 1_152}


def shapes(model: Any, *inputs: Any) -> dict[str, tuple[int, ...]]:
    tree = jax.eval_shape(model.init, jax.random.key(0), *inputs)["params"]
    return {path: leaf.shape for path, leaf in flatten_dict(tree, sep="/").items()}


def lpips_shapes(backbone: str) -> dict[str, tuple[int, ...]]:
    return shapes(Lpips(backbone), PHOTO, PHOTO)


def random_flat(of: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, np.ndarray]:
    """Weights that keep the size of what passes through, and heads above 0."""
    rng = np.random.default_rng(seed)
    flat = {}
    for path, shape in of.items():
        scale = 0.1 if len(shape) == 1 else (2 / np.prod(shape[:-1])) ** 0.5
        flat[path] = (scale * rng.standard_normal(shape)).astype(np.float32)
        if path.startswith("lin_"):
            flat[path] = np.abs(flat[path])
    return flat


def photo(seed: int, side: int = 64, batch: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (batch, side, side, 3)).astype(np.float32)


@pytest.fixture(scope="module", params=["alexnet", pytest.param("vgg16", marks=pytest.mark.proof)])
def network(request: pytest.FixtureRequest) -> tuple[Lpips, dict]:
    flat = random_flat(lpips_shapes(request.param))
    return Lpips(request.param), unflatten_dict(flat, sep="/")


@pytest.mark.parametrize("backbone", BACKBONES)
def test_lpips_has_the_published_size(backbone: str) -> None:
    assert sum(np.prod(shape) for shape in lpips_shapes(backbone).values()) == SIZES[backbone]


def test_inception_has_the_published_size() -> None:
    sizes = shapes(Inception(), PHOTO)
    # Keras's InceptionV3 without its top: 94 convolutions, one offset a channel, no scales.
    assert len(sizes) == 2 * 94
    assert sum(np.prod(shape) for shape in sizes.values()) == 21_768_352


def test_distance_is_a_symmetric_premetric(network: tuple[Lpips, dict]) -> None:
    model, params = network
    a, b = photo(1), photo(2)
    distance = jax.jit(lambda *pair: apply(model, params, *pair))
    # Compiled, the two equal networks may add in a different order.
    np.testing.assert_allclose(distance(a, a), np.zeros(2), atol=1e-12)
    assert np.all(distance(a, b) > 0)
    np.testing.assert_allclose(distance(a, b), distance(b, a), rtol=1e-6)
    np.testing.assert_allclose(distance(a[1:], b[1:]), distance(a, b)[1:], rtol=1e-5)


def test_features(network: tuple[Lpips, dict]) -> None:
    model, params = network
    taps = apply(model, params, photo(1), method="taps")
    sides = {"vgg16": [64, 32, 16, 8, 4], "alexnet": [15, 7, 3, 3, 3]}[model.backbone]
    assert [tap.shape[1] for tap in taps] == sides
    pooled = apply(model, params, photo(1), method="pooled")
    np.testing.assert_allclose(pooled, np.mean(taps[-1], axis=(1, 2)), rtol=1e-5)


def test_half_precision_stays_close(network: tuple[Lpips, dict]) -> None:
    model, params = network
    exact = apply(model, params, photo(1), photo(2))
    half = apply(Lpips(model.backbone, jnp.bfloat16), params, photo(1), photo(2))
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, exact, rtol=0.02)


@pytest.mark.parametrize("backbone, side", [("vgg16", 16), ("alexnet", 31)])
def test_smallest_images(backbone: str, side: int) -> None:
    taps = jax.eval_shape(
        lambda image: Lpips(backbone).init_with_output(jax.random.key(0), image, method="taps"),
        jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32),
    )[0]
    assert taps[-1].shape[1] == 1
    with pytest.raises(ValueError, match="sides of at least"):
        Lpips(backbone).init(jax.random.key(0), photo(0, side - 1), method="taps")


def test_dead_pixels_have_a_gradient() -> None:
    maps = jnp.zeros((1, 1, 2, 3)).at[0, 0, 1].set(jnp.array([3.0, 0.0, 4.0]))
    np.testing.assert_allclose(
        unit_length(maps)[0, 0], [[0.0, 0.0, 0.0], [0.6, 0.0, 0.8]], rtol=1e-6
    )
    gradient = jax.grad(lambda m: unit_length(m).sum())(maps)
    assert np.all(np.isfinite(gradient))


@pytest.mark.proof
def test_inception_features() -> None:
    params = unflatten_dict(random_flat(shapes(Inception(), PHOTO)), sep="/")
    features = jax.jit(lambda image: apply(Inception(), params, image))(photo(1, 32))
    assert features.shape == (2, 2048) and features.dtype == jnp.float32
    assert np.all(np.isfinite(features)) and np.std(features[0] - features[1]) > 0
