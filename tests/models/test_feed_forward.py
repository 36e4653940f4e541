"""Gated layers in bfloat16 against SciPy's normal distribution and against float32."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from colorjax.models.feed_forward import GatedLinear, narrow_gelu


def test_narrow_gelu_is_exact_to_its_type() -> None:
    positive = np.arange(0x7F80, dtype=np.uint16)  # those that are finite
    bits = np.concatenate([positive, positive | 0x8000])
    every = np.asarray(jax.lax.bitcast_convert_type(jnp.asarray(bits), jnp.bfloat16))
    wide = every.astype(np.float64)
    chosen = (wide >= -5.5) & (wide < 1e30) & (np.abs(wide) > 1e-30)
    x = wide[chosen]
    exact = x * stats.norm.cdf(x)
    got = np.asarray(narrow_gelu(jnp.asarray(every[chosen]))).astype(np.float64)
    # Half a unit for rounding, which every result in this type has, and less than half of that.
    np.testing.assert_array_less(np.abs(got - exact), (2.0**-8 + 0.0018) * np.abs(exact))
    tanh = np.asarray(jax.nn.gelu(jnp.asarray(x, jnp.float32), approximate=True))
    assert np.abs(tanh / exact - 1).max() > 0.5  # what it is not


def test_slope_of_narrow_gelu() -> None:
    x = np.linspace(-6, 6, 241)
    got = jax.vmap(jax.grad(narrow_gelu))(jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(got, stats.norm.cdf(x) + x * stats.norm.pdf(x), atol=3e-4)


def test_gated_layer_in_bfloat16_is_that_of_float32() -> None:
    inputs = jax.random.normal(jax.random.key(0), (2, 5, 24))
    wide, narrow = GatedLinear(48), GatedLinear(48, jnp.bfloat16)
    params = wide.init(jax.random.key(1), inputs)
    params["params"]["proj"]["bias"] = jax.random.normal(jax.random.key(2), (96,))
    same = narrow.init(jax.random.key(1), inputs)
    assert jax.tree.map(jnp.shape, same) == jax.tree.map(jnp.shape, params)
    np.testing.assert_array_equal(
        same["params"]["proj"]["kernel"], params["params"]["proj"]["kernel"]
    )

    def gradient(layer: GatedLinear) -> tuple[jax.Array, dict[str, jax.Array]]:
        def total(params: dict[str, jax.Array]) -> jax.Array:
            return jnp.sin(layer.apply(params, inputs).astype(jnp.float32)).sum()

        return jax.value_and_grad(total)(params)

    (value, one), (other_value, other) = gradient(wide), gradient(narrow)
    np.testing.assert_allclose(value, other_value, rtol=0.02)
    for name in ("kernel", "bias"):
        a, b = (np.asarray(tree["params"]["proj"][name]) for tree in (one, other))
        assert np.linalg.norm(a - b) < 0.02 * np.linalg.norm(a)
