"""Convolutions as products are convolutions, and only where they are chosen."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from colorjax.models import convolution
from colorjax.models.layers import conv3x3

ONE = ((1, 1), (1, 1))


def _by_hand(maps: np.ndarray, kernel: np.ndarray, strides: tuple[int, int], padding: Any) -> Any:
    """The definition, pixel by pixel, in float64."""
    maps = np.pad(maps.astype(np.float64), ((0, 0), *padding, (0, 0)))
    height, width = kernel.shape[:2]
    rows = (maps.shape[1] - height) // strides[0] + 1
    columns = (maps.shape[2] - width) // strides[1] + 1
    out = np.zeros((len(maps), rows, columns, kernel.shape[3]))
    for i in range(rows):
        for j in range(columns):
            top, left = i * strides[0], j * strides[1]
            window = maps[:, top : top + height, left : left + width]
            out[:, i, j] = np.einsum("bhwc,hwco->bo", window, kernel)
    return out


@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (2, 1)])
@pytest.mark.parametrize("padding", [ONE, ((0, 1), (0, 1)), ((0, 0), (2, 1))])
def test_the_product_is_the_convolution(strides: tuple[int, int], padding: Any) -> None:
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(2, 6, 5, 3)).astype(np.float32)
    kernel = rng.normal(size=(3, 3, 3, 4)).astype(np.float32)
    out = convolution.as_product(jnp.asarray(maps), jnp.asarray(kernel), strides, padding)
    np.testing.assert_allclose(out, _by_hand(maps, kernel, strides, padding), atol=1e-5)


def _lowered(side: int, channels: int, count: int = 1, platform: str = "cpu") -> str:
    layer = conv3x3(channels, jnp.float32, "conv")
    maps = jax.ShapeDtypeStruct((count, side, side, channels), jnp.float32)
    kernel = {
        "kernel": jax.ShapeDtypeStruct((3, 3, channels, channels), jnp.float32),
        "bias": jax.ShapeDtypeStruct((channels,), jnp.float32),
    }
    traced = jax.jit(layer.apply).trace({"params": kernel}, maps)
    return traced.lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize("side, channels, count", [(8, 512, 1), (4, 1280, 8), (16, 1280, 1)])
def test_kernels_larger_than_the_maps_are_products_on_a_cpu(
    side: int, channels: int, count: int
) -> None:
    text = _lowered(side, channels, count)
    assert "stablehlo.dot_general" in text and "stablehlo.convolution" not in text
    for platform in ("tpu", "cuda"):
        text = _lowered(side, channels, count, platform)
        assert "stablehlo.convolution" in text and "stablehlo.dot_general" not in text


@pytest.mark.parametrize("side, channels, count", [(16, 640, 1), (2, 256, 1), (8, 512, 2)])
def test_all_else_is_a_convolution(side: int, channels: int, count: int) -> None:
    text = _lowered(side, channels, count)
    assert "stablehlo.convolution" in text and "stablehlo.dot_general" not in text


def test_gradients_are_those_of_a_convolution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolution, "LEAST_CHANNELS", 1)
    monkeypatch.setattr(convolution, "LEAST_PER_PIXEL", 0)
    rng = np.random.default_rng(1)
    maps, kernel = rng.normal(size=(2, 4, 4, 3)), rng.normal(size=(3, 3, 3, 2))
    numbers = jax.lax.conv_dimension_numbers(maps.shape, kernel.shape, ("NHWC", "HWIO", "NHWC"))

    def loss(run: Any) -> Any:
        def value(maps: Any, kernel: Any) -> Any:
            return jnp.sum(jnp.sin(run(maps, kernel, (1, 1), ONE, dimension_numbers=numbers)))

        return jax.jit(jax.grad(value, (0, 1)))(maps, kernel)

    for ours, theirs in zip(
        loss(convolution.convolve), loss(jax.lax.conv_general_dilated), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
