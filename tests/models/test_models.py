"""Sizes against the published models, and what holds by algebra."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import NamedSharding

from colorjax.configs import common
from colorjax.devices import sharding
from colorjax.methods import lcad
from colorjax.models import attention, clip, layers, unet, vae
from colorjax.models.layers import area_resize
from colorjax.plan import hlo
from tests import small

KEY = jax.random.key(0)
SD15 = common.sd15().to_dict()


def drawn(module, *inputs):
    return small.drawn(lambda key: module.init(key, *inputs))


def applied(module, params, *inputs, **options):
    return jax.jit(functools.partial(module.apply, **options))(params, *inputs)


def count(module, *inputs) -> int:
    shapes = jax.eval_shape(module.init, KEY, *inputs)
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(shapes))


def normal(*shape):
    """Other numbers for other shapes."""
    return np.random.default_rng(shape).normal(size=shape).astype(np.float32)


def spec(*shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


# Stable Diffusion 1.5: diffusers' UNet2DConditionModel, AutoencoderKL, transformers' CLIPTextModel.
UNET, VAE, TEXT = 859_520_964, 83_653_863, 123_060_480


@pytest.mark.parametrize(
    ("cec", "extra"),
    [("none", 0), ("conv_in", 1_474_560), ("down_blocks", 1_474_560 + 32_440_320)],
)
def test_unet_has_the_reference_parameter_count(cec: str, extra: int) -> None:
    model = lcad.build(SD15 | {"unet": SD15["unet"] | {"cec": cec}}).unet
    inputs = spec(1, 32, 32, 4), spec(1, dtype=jnp.int32), spec(1, 77, 768), spec(1, 32, 32, 512)
    assert count(model, *inputs) == UNET + extra


def test_other_networks_have_the_reference_parameter_counts() -> None:
    model = lcad.build(SD15)
    assert count(model.vae, spec(1, 256, 256, 3)) == VAE
    assert count(model.text_encoder, spec(1, 77, dtype=jnp.int32)) == TEXT
    # The released luminance encoder, 35.90 M, holds an output norm and convolution never used.
    unused = 2 * 512 + 512 * 9 * 8 + 8
    assert count(model.luminance_encoder, spec(1, 256, 256, 1)) + unused == 35_904_136
    vision = clip.CLIPVisionModel(**SD15["image_encoder"])
    assert count(vision, spec(1, 224, 224, 3)) == 303_179_776


def small_unet(cec: str, attention: bool = True) -> unet.UNet:
    levels = (attention, attention)
    return unet.UNet((16, 32), 1, levels, (2, 4), norm_num_groups=4, cec=cec)


@pytest.mark.parametrize("cec", ["down_blocks", pytest.param("conv_in", marks=pytest.mark.proof)])
def test_cec_is_without_effect_at_first_and_then_not(cec: str) -> None:
    """Operation by operation: compiled as wholes, the two networks differ in rounding."""
    inputs = normal(2, 8, 4, 4), np.array([3, 900]), normal(2, 5, 24)
    feature = normal(2, 8, 4, 6)
    network, reference = small_unet(cec, False), small_unet("none", False)
    extended = with_first_cec(network, *inputs, feature)
    plain = jax.eval_shape(reference.init, KEY, *inputs)["params"]
    without = reference.apply({"params": _shared(extended, plain)}, *inputs)
    with_cec = network.apply({"params": extended}, *inputs, feature)
    np.testing.assert_array_equal(without, with_cec)
    grown = jax.tree_util.tree_map_with_path(
        lambda path, leaf: np.asarray(leaf) + 0.1 if "cec_" in str(path) else leaf, extended
    )
    changed = network.apply({"params": grown}, *inputs, feature)
    assert np.abs(changed - without).max() > 1e-3


def with_first_cec(module, *inputs):
    """Random weights, but for those of the CEC, which are as `init` makes them."""

    def first(key):
        flat = flatten_dict(module.init(key, *inputs)["params"])
        return {path: leaf for path, leaf in flat.items() if "cec_" in str(path)}

    flat = flatten_dict(drawn(module, *inputs)["params"])
    cec = jax.jit(first)(KEY)
    assert cec and cec.keys() < flat.keys()
    return unflatten_dict(flat | jax.device_get(cec))


def _shared(extended, plain):
    return {
        key: _shared(extended[key], value) if isinstance(value, dict) else extended[key]
        for key, value in plain.items()
    }


def test_cec_equals_one_convolution_over_concatenated_channels() -> None:
    model = unet.UNet((16,), 1, (False,), (1,), norm_num_groups=4, cec="conv_in")
    latents, feature, kernel = normal(1, 4, 4, 4), normal(1, 4, 4, 6), normal(3, 3, 10, 16)
    rest = np.array([1]), np.zeros((1, 2, 8), np.float32), feature
    fused = jax.lax.conv_general_dilated(
        jnp.concatenate([latents, feature], -1),
        kernel,
        (1, 1),
        ((1, 1), (1, 1)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    params = drawn(model, latents, *rest)["params"]
    params["conv_in"] = {"kernel": kernel[:, :, :4], "bias": np.zeros(16, np.float32)}
    params["cec_conv_in"]["kernel"] = kernel[:, :, 4:]
    _, state = applied(model, {"params": params}, latents, *rest, mutable=["intermediates"])
    (split,) = state["intermediates"]["conv_in"]["output"]
    np.testing.assert_allclose(split, fused, atol=1e-4)


def test_luminance_features_are_ten_and_zero_at_first() -> None:
    model = vae.LuminanceEncoder((8, 8, 16, 16), 2, 4)
    features, _ = jax.jit(model.init_with_output)(KEY, normal(1, 32, 64, 1))
    sizes = [f.shape[1:] for f in features]
    levels = [(32, 64, 8), (16, 32, 8), (8, 16, 16), (4, 8, 16)]
    assert sizes == [level for level in levels for _ in range(2)] + [(4, 8, 16)] * 2
    assert all((f == 0).all() for f in features)
    autoencoder = vae.AutoencoderKL((8, 8, 16, 16), 2, 4, 4)
    latents = normal(1, 4, 8, 4)
    weights = drawn(autoencoder, np.zeros((1, 32, 64, 3), np.float32))
    decode = jax.jit(functools.partial(autoencoder.apply, method="decode"))
    plain = decode(weights, latents)
    np.testing.assert_array_equal(plain, decode(weights, latents, features))
    # Every feature reaches the picture.
    for i in range(10):
        noise = normal(*features[i].shape)
        moved = tuple(f + noise if i == j else f for j, f in enumerate(features))
        changed = decode(weights, latents, moved)
        assert np.abs(changed - plain).max() > 1e-5, i


def test_area_resize_averages_cells() -> None:
    maps = jax.random.normal(KEY, (2, 8, 4, 3))
    expected = np.asarray(maps).reshape(2, 4, 2, 2, 2, 3).mean((2, 4))
    np.testing.assert_allclose(area_resize(maps, 4, 2), expected, atol=1e-6)


def test_timestep_features_follow_the_formula() -> None:
    features = np.asarray(unet.timestep_features(jnp.array([0, 7, 999]), 8))
    for row, t in zip(features, (0, 7, 999), strict=True):
        angles = [t * np.exp(-np.log(10000) * i / 4) for i in range(4)]
        np.testing.assert_allclose(row, [*np.cos(angles), *np.sin(angles)], atol=2e-4)


def test_text_is_read_causally_and_padding_is_attended() -> None:
    model = clip.CLIPTextModel(50, 16, 32, 2, 2, 8)
    ids = jnp.arange(8)[None]
    params = drawn(model, ids)
    read = jax.jit(model.apply)
    states, other = read(params, ids), read(params, ids.at[0, 5].set(30))
    np.testing.assert_array_equal(states[:, :5], other[:, :5])
    assert np.abs(states[:, 7] - other[:, 7]).max() > 1e-4


@pytest.mark.proof
def test_bfloat16_stays_near_float32() -> None:
    inputs = normal(1, 8, 8, 4), np.array([500]), normal(1, 5, 24)
    params = drawn(small_unet("none"), *inputs)
    exact = applied(small_unet("none"), params, *inputs)
    rough = applied(small_unet("none").clone(dtype=jnp.bfloat16), params, *inputs)
    assert rough.dtype == jnp.float32
    assert np.abs(rough - exact).max() < 0.05 * np.abs(exact).max()


def test_other_readings_of_cec_are_options() -> None:
    """Both convolutions of each block, fed a finer feature than the latents."""
    sizes = ((8, 16), 1, (False, True), (1, 2))
    net = unet.UNet(*sizes, norm_num_groups=4, cec_convolutions=("conv1", "conv2"), cec_feature=0)
    latents, time, context = jnp.ones((1, 4, 4, 4)), jnp.array([3]), jnp.ones((1, 5, 24))
    inputs = latents, time, context, jnp.ones((1, 16, 16, 6))
    params = jax.eval_shape(net.init, KEY, *inputs)["params"]
    for level, width in zip(("down_blocks_0", "down_blocks_1"), (8, 16)):
        block = params[level]["resnets_0"]
        assert block["cec_conv1"]["kernel"].shape == block["cec_conv2"]["kernel"].shape
        assert block["cec_conv2"]["kernel"].shape == (3, 3, 6, width)
    assert not any("cec" in name for name in params["mid_block"]["resnets_0"])


@pytest.mark.parametrize("rows", [16, 7])
@pytest.mark.parametrize("pictures", [1, 2, 3, 6])
def test_attention_in_pieces_is_attention(
    monkeypatch: pytest.MonkeyPatch, rows: int, pictures: int
) -> None:
    """Values and gradients, against jax's own, at any number of pictures in a piece."""
    rng = np.random.default_rng(0)
    shapes = ((6, 16, 3, 5), (6, rows, 3, 5), (6, rows, 3, 5))
    inputs = tuple(rng.normal(size=shape).astype(np.float32) for shape in shapes)
    cotangent = rng.normal(size=shapes[0]).astype(np.float32)

    def both(attend):
        def run(*inputs):
            out, back = jax.vjp(attend, *inputs)
            return out, back(cotangent)

        return jax.jit(run)(*inputs)

    wanted = both(jax.nn.dot_product_attention)
    one_head = 4 * 16 * rows
    monkeypatch.setattr(attention, "LARGE_LOGITS", 6 * 3 * one_head)
    monkeypatch.setattr(attention, "PIECE_OF_LOGITS", (pictures + 1) * one_head - 1)
    got = both(attention.attend_in_pieces)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=2e-6), got, wanted)

    def rounds() -> int:
        jaxpr = jax.make_jaxpr(lambda *of: attention.attend_in_pieces(*of))(*inputs).jaxpr
        return sum(eq.params["length"] for eq in jaxpr.eqns if eq.primitive.name == "scan")

    assert rounds() == 3 * 6 // pictures
    monkeypatch.setattr(attention, "LARGE_LOGITS", 6 * 3 * one_head + 1)
    assert rounds() == 0


@pytest.mark.parametrize(("rows", "sharpness"), [(16, 1.0), (7, 1.0), (16, 100.0)])
def test_attention_by_head_is_attention(rows: int, sharpness: float) -> None:
    """Values by the definition in float64, and gradients against jax's own."""
    rng = np.random.default_rng(0)
    shapes = ((2, 16, 3, 5), (2, rows, 3, 5), (2, rows, 3, 5))
    q, k, v = (rng.normal(size=shape).astype(np.float32) for shape in shapes)
    q *= sharpness  # the exponential of a logit of 100 is more than a float32 holds
    cotangent = rng.normal(size=shapes[0]).astype(np.float32)
    weights = np.exp(np.einsum("bqhd,bnhd->bhqn", q, k, dtype=np.float64) / np.sqrt(5.0))
    weights /= weights.sum(-1, keepdims=True)
    by_hand = np.einsum("bhqn,bnhd->bqhd", weights, v)
    got = jax.jit(attention.attend_by_head)(q, k, v)
    close = functools.partial(
        np.testing.assert_allclose, rtol=1e-6 * (sharpness - 1), atol=2e-6 * sharpness
    )
    close(got, by_hand)

    def gradients(attend):
        return jax.jit(lambda *inputs: jax.vjp(attend, *inputs)[1](cotangent))(q, k, v)

    ours, jaxs = gradients(attention.attend_by_head), gradients(jax.nn.dot_product_attention)
    jax.tree.map(close, ours, jaxs)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_attention_by_head_sums_in_float32(dtype) -> None:
    """The sum of 4,096 values of 20 is more than a float16 holds."""
    query, key = jnp.zeros((1, 2, 1, 8), dtype), jnp.zeros((1, 4096, 1, 8), dtype)
    mixed = attention.attend_by_head(query, key, jnp.full_like(key, 20.0))
    assert mixed.dtype == dtype and (mixed == 20.0).all()


def test_long_attention_goes_by_head_on_a_cpu_only() -> None:
    def loops(tokens: int, platform: str) -> bool:
        shape = jax.ShapeDtypeStruct((1, tokens, 8, 80), jnp.float32)
        traced = jax.jit(attention.attend).trace(shape, shape, shape)
        return "stablehlo.while" in traced.lower(lowering_platforms=(platform,)).as_text()

    assert loops(256, "cpu") and not loops(255, "cpu")
    assert not loops(1024, "tpu") and not loops(1024, "cuda")


def test_attention_in_pieces_counts_the_pictures_of_a_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Split over a mesh, nothing moves between devices, and each does what one alone would."""
    monkeypatch.setattr(attention, "LARGE_LOGITS", 4 * 4 * 3 * 16 * 16)
    monkeypatch.setattr(attention, "PIECE_OF_LOGITS", 4 * 2 * 16 * 16)
    mesh = sharding.make_mesh()
    rows = NamedSharding(mesh, sharding.BATCH)

    def program(count: int):
        shape = jax.ShapeDtypeStruct((count, 16, 3, 5), np.float32, sharding=rows)
        return jax.jit(attention.attend_in_pieces, out_shardings=rows).lower(*[shape] * 3)

    with jax.set_mesh(mesh):
        assert "while" not in program(2 * mesh.size).as_text()
        text = program(4 * mesh.size).compile().as_text()
    read = hlo.read(text)
    assert "while" in text and not read.collectives


@pytest.mark.parametrize(
    ("tokens", "width", "dtype", "calls"),
    [
        (1024, 40, jnp.bfloat16, True),
        (256, 80, jnp.bfloat16, True),
        (64, 40, jnp.bfloat16, False),  # too short to pay
        (1024, 160, jnp.bfloat16, False),  # too wide for it
        (1024, 40, jnp.float32, False),
    ],
)
def test_long_attention_in_half_precision_is_cudnns_on_a_gpu(
    tokens: int, width: int, dtype, calls: bool, monkeypatch
) -> None:
    """Lowered for CUDA, forwards and backwards, on a machine without; elsewhere it is as it was."""
    library = "jax._src.cudnn.fused_attention_stablehlo.check_cudnn_version"
    monkeypatch.setattr(library, lambda: 91000)
    monkeypatch.setattr(attention, "cudnn_is_there", lambda: True)
    shape = jax.ShapeDtypeStruct((2, tokens, 8, width), dtype)

    def total(*inputs):
        return attention.attend(*inputs).astype(jnp.float32).sum()

    def text(platform: str) -> str:
        traced = jax.jit(jax.grad(total, (0, 1, 2))).trace(shape, shape, shape)
        return traced.lower(lowering_platforms=(platform,)).as_text()

    on_gpu = text("cuda")
    assert ("__cudnn$fmhaSoftmax(" in on_gpu) == ("__cudnn$fmhaSoftmaxBackward(" in on_gpu) == calls
    assert "cudnn" not in text("cpu") and "cudnn" not in text("tpu")


def test_without_a_gpu_there_is_no_cudnn() -> None:
    assert not attention.cudnn_is_there()


def test_a_flat_pictures_norm_is_float64s() -> None:
    """Of maps whose mean is a hundred times their deviation E[x^2] - E[x]^2 keeps few digits."""
    maps = 100.0 + normal(1, 16, 16, 32)
    norm = layers.group_norm(8, 1e-5, jnp.float32, "norm")
    got = norm.apply({"params": {"scale": np.ones(32), "bias": np.zeros(32)}}, maps)
    exact = maps.astype(np.float64).reshape(1, -1, 8, 4)
    centred = exact - exact.mean((1, 3), keepdims=True)
    expected = centred / np.sqrt((centred**2).mean((1, 3), keepdims=True) + 1e-5)
    # Near 100 a float32 has steps of 8e-6, which the deviation of 1 does not make smaller.
    np.testing.assert_allclose(got, expected.reshape(maps.shape), rtol=0, atol=1e-4)
