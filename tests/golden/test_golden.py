"""Our networks against the reference L-CAD modules; bounds relative to each array's maximum."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from colorjax import release
from colorjax.data import phrases
from colorjax.data.tokenizer import Tokenizer
from colorjax.errors import UserError
from colorjax.maths import color, losses, samplers
from colorjax.maths.schedule import sample_posterior, scaled_linear
from colorjax.methods import lcad
from colorjax.models import unet as unet_module
from tests.golden import weights

HERE = Path(__file__).parent
CONFIG = json.loads((HERE / "tiny_config.json").read_text())
BOUND = 2e-5  # measured: 7e-6 at most, see README.md


def arrays(name: str) -> dict[str, np.ndarray]:
    """Pictures and maps to our channel order."""
    loaded = np.load(HERE / f"{name}.npz")
    return {
        key: (
            np.moveaxis(loaded[key], 1, -1)
            if loaded[key].ndim == 4 and loaded[key].dtype == np.float32
            else loaded[key]
        )
        for key in loaded.files
    }


def close(got, of: dict[str, np.ndarray], name: str) -> None:
    """The largest difference from an array, as a share of its largest value."""
    got, expected = np.asarray(got), of[name]
    assert got.shape == expected.shape
    error = np.abs(got - expected).max() / np.abs(expected).max()
    print(f"{name}: {error:.1e} of the maximum")
    assert error <= BOUND


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    directory = tmp_path_factory.mktemp("golden")
    return lcad.load(weights.release(directory, "state_dict_shapes_tiny.tsv"))


@pytest.fixture(scope="module")
def width64(tiny, tmp_path_factory):
    """Sizes from the shapes: only the heads are told."""
    directory = tmp_path_factory.mktemp("golden")
    config = json.loads((HERE / "tiny_config.json").read_text())
    parts = ("vae", "luminance_encoder", "unet")
    told = directory / "heads.json"
    told.write_text(json.dumps({"unet": {"num_heads": config["unet"]["num_heads"]}}))
    path = weights.release(
        directory, "state_dict_shapes_width64.tsv", f"--parts={','.join(parts)}", config=told
    )
    sizes = release.read_config(path)
    sizes["text_encoder"] = {}
    return lcad.build(sizes), {part: release.read_part(path, part) for part in parts}


def jitted(function, model, params, *inputs):
    return jax.jit(lambda p, *a: function(model, p, *a))(params, *inputs)


@pytest.fixture(scope="module")
def tokenize():
    return Tokenizer(HERE / "tokenizer")


def test_tokens(tokenize) -> None:
    tokens = arrays("tokens")
    for kind in ("", "unicode_"):
        ids = tokenize(tokens[f"{kind}captions"].tolist())
        np.testing.assert_array_equal(ids, tokens[f"{kind}input_ids"])
    for name in ("phrases0", "phrases1", "phrases2"):
        prompt, splits = str(tokens[f"{name}_caption"]), tokens[f"{name}_split"]
        spans = phrases.spans(tokenize, prompt, phrases.instance_phrases(prompt))
        expected = np.zeros_like(spans)
        for row, first, stop in zip(expected, [1, *splits[:-1] + 1], splits, strict=True):
            row[first:stop] = True
        np.testing.assert_array_equal(spans, expected)


def test_text_encoder(tiny, tokenize) -> None:
    text = arrays("text")
    np.testing.assert_array_equal(tokenize(text["captions"].tolist()), text["input_ids"])
    close(jitted(lcad.encode_text, *tiny, text["input_ids"]), text, "last_hidden_state")


def test_vae_and_luminance_encoder(tiny) -> None:
    vae = arrays("vae")
    image = vae["rgb_u8"].astype(np.float32) / 255 * 2 - 1
    moments = jitted(lcad.encode_image, *tiny, image)
    close(moments, vae, "moments")
    close(losses.kl_to_standard_normal(moments), vae, "kl")
    z = sample_posterior(moments, vae["noise"]) * CONFIG["scale_factor"]
    close(z, vae, "z_scaled")
    features = jitted(lcad.encode_luminance, *tiny, color.luminance(image))
    assert len(features) == 10
    for i, feature in enumerate(features):
        stride = max(1, feature.shape[1] // 8)
        close(feature[:, ::stride, ::stride, ::4], vae, f"gray_feat_{i}")
    close(jitted(lcad.decode, *tiny, z, features), vae, "decoded")
    close(jitted(lcad.decode, *tiny, z, None), vae, "decoded_no_gray")


def unet_outputs(case: dict[str, np.ndarray], blocks: dict[str, str], model, params, *inputs):
    """eps and the blocks' outputs, in one program."""

    def both(model, params, *inputs):
        eps = lcad.predict_eps(model, params, *inputs)
        return eps, lcad.capture(model, params, *inputs, paths=tuple(blocks))

    eps, captured = jitted(both, model, params, *inputs)
    close(eps, case, "eps")
    for path, name in blocks.items():
        close(captured[path], case, name)


def test_unet(tiny, tokenize) -> None:
    unet = arrays("unet")
    context = jitted(lcad.encode_text, *tiny, tokenize(unet["captions"].tolist()))
    close(context, unet, "context")
    close(unet_module.timestep_features(unet["t"], 32), unet, "t_emb")
    inputs = unet["x_t"], unet["t"], unet["context"], (unet["control"],)
    blocks = {
        "time_embedding": "emb",
        "conv_in": "input_blocks.0",
        "mid_block": "middle_block",
        "up_blocks_3": "output_blocks.11",
    }
    unet_outputs(unet, blocks, *tiny, *inputs)
    with pytest.raises(UserError, match="no module 'up_blocks_4'"):
        jax.eval_shape(lambda: lcad.capture(*tiny, *inputs, paths=["conv_in", "up_blocks_4"]))


@pytest.mark.proof
def test_second_width_not_square(width64) -> None:
    wide = arrays("width64")
    image = wide["rgb_u8"].astype(np.float32) / 255 * 2 - 1
    close(jitted(lcad.encode_image, *width64, image), wide, "moments")
    features = jitted(lcad.encode_luminance, *width64, color.luminance(image))
    close(features[-1], wide, "control")
    z = wide["z"] * np.float32(CONFIG["scale_factor"])
    close(jitted(lcad.decode, *width64, z, features), wide, "decoded")
    close(jitted(lcad.decode, *width64, z, None), wide, "decoded_no_gray")
    inputs = wide["x_t"], wide["t"], wide["context"], features
    blocks = {"down_blocks_0/attentions_0": "input_blocks.1", "mid_block": "middle_block"}
    unet_outputs(wide, blocks, *width64, *inputs)


def test_schedule_and_steps() -> None:
    table = np.load(HERE / "schedule.npz")
    schedule = scaled_linear()
    np.testing.assert_array_equal(schedule.alphas_cumprod, table["alphas_cumprod"])
    for count in (2, 4, 5, 10, 20, 25, 50):
        grid = samplers.time_grid(schedule, count, "released")
        np.testing.assert_array_equal(grid.timesteps[::-1], table[f"ddim{count}_timesteps"])
        np.testing.assert_array_equal(grid.alphas[::-1], table[f"ddim{count}_alphas"])
        np.testing.assert_array_equal(grid.alphas_prev[::-1], table[f"ddim{count}_alphas_prev"])


def test_artifact_weighted_loss() -> None:
    case = arrays("artifact_loss")
    target, reconstruction = jnp.asarray(case["gt"]), jnp.asarray(case["rec"])
    weigh = jax.jit(lambda *pair: losses.artifact_weights(*pair, "released"))
    got = weigh(target, reconstruction)
    close(got, case, "artifact_map")

    def loss(image):
        return losses.artifact_l1(target, image, "released")

    value, gradient = jax.jit(jax.value_and_grad(loss))(reconstruction)
    assert float(value) == pytest.approx(float(case["loss"]), rel=1e-5)
    close(gradient, case, "grad_rec")


@pytest.mark.parametrize("kind", ["from_u8", "float"])
def test_lab_and_luminance(kind) -> None:
    """Pictures of bytes, and floats: random, very dark, and the corners of the gamut."""
    case = np.load(HERE / "lab.npz")
    rgb = np.moveaxis(case["rgb_from_u8" if kind == "from_u8" else "rgb"], 0, -1)
    lab = color.srgb_to_lab(rgb)
    for i, name in enumerate("Lab"):
        close(lab[..., i], case, f"{name}_{kind}")
    close(color.luminance(rgb * 2 - 1)[..., 0], {"hint": case[f"hint_{kind}"][0]}, "hint")
