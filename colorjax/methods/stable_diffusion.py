"""Stable Diffusion's networks put together (Rombach et al. 2022): what both methods stand on.

Text encoder, VAE, UNet and noise schedule, and beside them L-CAD's luminance encoder, whose
features can guide the decoder of either method. Everything is a pure function of a `model`
(sizes, schedule) and `params` (a dict of parts).
"""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict
from jaxtyping import Float

from colorjax import release
from colorjax.errors import UserError, one_of
from colorjax.maths.schedule import (
    PREDICTION_TYPES,
    Schedule,
    eps_from_v,
    scaled_linear,
    split_moments,
)
from colorjax.maths.types import (
    Array,
    Context,
    Features,
    Image,
    Latents,
    Luminance,
    Moments,
    Params,
    PRNGKey,
    Timesteps,
    TokenIds,
)
from colorjax.models.clip import CLIPTextModel
from colorjax.models.layers import apply
from colorjax.models.unet import UNet
from colorjax.models.vae import AutoencoderKL, LuminanceEncoder

PARTS = ("text_encoder", "vae", "luminance_encoder", "unet")
SIZES = ("text_encoder", "vae", "unet", "schedule", "scaling_factor")
# The UNet's settings that only L-CAD's channel-extended convolutions have.
EXTENSIONS = ("cec", "cec_convolutions", "cec_feature")

Captured = dict[str, Params]  # by collection: what attention sowed, or what it is to replay


class Consistency(NamedTuple):
    """How a UNet was distilled to few steps: the guidance that it can be asked for."""

    least_guidance: float
    most_guidance: float
    negative_prompt: str = ""  # what it leads away from
    channels: int = 256  # in which it reads the scale


class StableDiffusion(NamedTuple):
    """The modules and constants of a latent diffusion model; no parameters are in it."""

    text_encoder: CLIPTextModel
    vae: AutoencoderKL
    luminance_encoder: LuminanceEncoder
    unet: UNet
    schedule: Schedule
    scaling_factor: float  # latents are divided by their standard deviation: SD's 0.18215
    prediction_type: str = "eps"  # what the UNet estimates; "v" in Stable Diffusion 2's 768 models
    consistency: Consistency | None = None  # of a second UNet that was distilled, if there is one


def build(
    config: Mapping[str, Any], dtype: Any = jnp.float32, remat: str = "none"
) -> StableDiffusion:
    """The modules that a release's `config.json` or a training configuration's `model` describes.

    The UNet is the plain one: what the configuration says of channel-extended convolutions is
    L-CAD's, and `lcad.build` adds it. `remat` is what training saves memory by, see
    `models.unet`: it changes no number.

    Raises:
        UserError: a size is missing, or the prediction type does not exist.
    """
    missing = [key for key in SIZES if key not in config]
    if missing:
        raise UserError(f"the model's configuration lacks {', '.join(missing)}")
    prediction_type = config.get("prediction_type", "eps")
    one_of("prediction_type", prediction_type, PREDICTION_TYPES)
    plain = {k: v for k, v in sizes(config["unet"]).items() if k not in EXTENSIONS}
    vae = AutoencoderKL(**sizes(config["vae"]), dtype=dtype)
    encoder = LuminanceEncoder(
        vae.block_out_channels, vae.layers_per_block, vae.norm_num_groups, dtype=dtype
    )
    return StableDiffusion(
        CLIPTextModel(**sizes(config["text_encoder"]), dtype=dtype),
        vae,
        encoder,
        UNet(**plain, cec="none", dtype=dtype, remat=remat),
        scaled_linear(**config["schedule"]),
        config["scaling_factor"],
        prediction_type,
    )


def sizes(section: Mapping[str, Any]) -> dict[str, Any]:
    """A section of a configuration with JSON's lists as tuples, which modules can be hashed by."""
    return {k: tuple(v) if isinstance(v, list | tuple) else v for k, v in section.items()}


def init(model: StableDiffusion, key: PRNGKey) -> Params:
    """Random weights of every part, as their papers initialise them."""
    side = 2 ** (len(model.unet.block_out_channels) - 1)
    pixels = side * model.vae.factor
    tokens = jnp.zeros((1, model.text_encoder.max_position_embeddings), jnp.int32)
    context = jnp.zeros((*tokens.shape, model.text_encoder.hidden_size))
    latents = jnp.zeros((1, side, side, model.vae.latent_channels))
    keys = dict(zip(PARTS, jax.random.split(key, len(PARTS)), strict=True))
    image = jnp.zeros((1, pixels, pixels, 3))
    time = jnp.zeros(1, jnp.int32)
    encoder = model.luminance_encoder
    features, tree = encoder.init_with_output(keys["luminance_encoder"], image[..., :1])
    trees = {
        "text_encoder": model.text_encoder.init(keys["text_encoder"], tokens),
        "vae": model.vae.init(keys["vae"], image),
        "luminance_encoder": tree,
        "unet": model.unet.init(
            keys["unet"], latents, time, context, features[model.unet.cec_feature]
        ),
    }
    return {part: tree["params"] for part, tree in trees.items()}


def unet_inputs(model: StableDiffusion) -> tuple[Array, Array, Array, Array | None]:
    """Zeros that shape a UNet's weights: latents of the smallest picture, time, context, feature.

    The feature is None for a UNet without extended channels.
    """
    side = 2 ** (len(model.unet.block_out_channels) - 1)
    text, vae = model.text_encoder, model.vae
    latents = jnp.zeros((1, side, side, vae.latent_channels))
    context = jnp.zeros((1, text.max_position_embeddings, text.hidden_size))
    feature = None
    if model.unet.cec != "none":
        image = jnp.zeros((1, side * vae.factor, side * vae.factor, 1))
        # Only its channels shape weights, so that nothing is computed.
        taps = jax.eval_shape(
            lambda: model.luminance_encoder.init_with_output(jax.random.key(0), image)[0]
        )
        feature = jnp.zeros(taps[model.unet.cec_feature].shape)
    return latents, jnp.zeros(1, jnp.int32), context, feature


def load_parts(path: Path, parts: Iterable[str], expected: Params, dtype: Any) -> Params:
    """Parts of a release directory, each checked against the shapes that the model expects.

    Raises:
        UserError: a part is missing or damaged, or belongs to another model.
    """
    params = {}
    for part in parts:
        what = f"part {part!r} of '{path}'"
        params[part] = release.read_model(path, [part], expected[part], what, dtype=dtype)
    return params


def encode_text(model: StableDiffusion, params: Params, input_ids: TokenIds) -> Context:
    """The text encoder's last hidden states, which the UNet attends to."""
    context: Context = apply(model.text_encoder, params["text_encoder"], input_ids)
    return context


def encode_image(model: StableDiffusion, params: Params, image: Image) -> Moments:
    """Mean and log variance of the VAE's posterior, unscaled."""
    moments: Moments = apply(model.vae, params["vae"], image, method="encode")
    return moments


def encode_mean(model: StableDiffusion, params: Params, image: Image) -> Latents:
    """The scaled mean of the VAE's posterior: latents without sampling noise."""
    mean, _ = split_moments(encode_image(model, params, image))
    return mean * model.scaling_factor


def encode_luminance(model: StableDiffusion, params: Params, luminance: Luminance) -> Features:
    """The luminance features, from the finest to the coarsest."""
    features: Features = apply(model.luminance_encoder, params["luminance_encoder"], luminance)
    return features


def decode(
    model: StableDiffusion, params: Params, latents: Latents, luminance_features: Features | None
) -> Image:
    """The unclamped image of scaled latents, by the guided decoder if there are features."""
    unscaled = latents / model.scaling_factor
    image: Image = apply(model.vae, params["vae"], unscaled, luminance_features, method="decode")
    return image


def reconstruct(
    model: StableDiffusion,
    params: Params,
    image: Image,
    luminance_features: Features | None = None,
) -> Image:
    """Through the VAE and back, by the posterior's mean: what the latents can hold at best."""
    return decode(model, params, encode_mean(model, params, image), luminance_features)


def predict_eps(
    model: StableDiffusion,
    params: Params,
    latents: Latents,
    timesteps: Timesteps,
    context: Context,
    luminance_features: Features | None,
) -> Latents:
    """The noise estimate; the UNet reads one of the features, and none without CEC."""
    features = luminance_features
    return predict_and_capture(model, params, latents, timesteps, context, features, capture=())[0]


def predict_and_capture(
    model: StableDiffusion,
    params: Params,
    latents: Latents,
    timesteps: Timesteps,
    context: Context,
    luminance_features: Features | None,
    *,
    replay: Captured | None = None,
    capture: tuple[str, ...] = ("capture",),
) -> tuple[Latents, Captured]:
    """The noise estimate, with attention replayed or captured (`models.attention.Attention`)."""
    feature = luminance_features[model.unet.cec_feature] if luminance_features else None
    inputs = (latents, timesteps, context, feature)
    predicted, captured = run_unet(
        model.unet, params["unet"], inputs, replay=replay, capture=capture
    )
    if model.prediction_type == "v":
        predicted = eps_from_v(latents, predicted, timesteps, model.schedule)
    return predicted, captured


def run_unet(
    unet: UNet,
    params: Params,
    inputs: tuple[Float[Array, "b h w _"], Timesteps, Context, Array | None, *tuple[Array, ...]],
    *,
    replay: Captured | None = None,
    capture: tuple[str, ...] = (),
) -> tuple[Latents, Captured]:
    """The UNet's own output, with attention replayed or captured in the collections named.

    `inputs` are latents, or latents and what is concatenated to them, timesteps, text states, the
    luminance feature, if it reads one, and the guidance scales of one that reads these.
    """
    output, captured = unet.apply(
        {"params": params, **(replay or {})}, *inputs, mutable=list(capture)
    )
    return output, dict(captured)


def capture(
    model: StableDiffusion,
    params: Params,
    latents: Latents,
    timesteps: Timesteps,
    context: Context,
    luminance_features: Features | None,
    *,
    paths: Collection[str],
) -> dict[str, Array]:
    """The outputs of modules inside the UNet, by their diffusers paths, in the model's type.

    A path is the one of the module's parameters: `conv_in` (the CEC part is in it), `mid_block`,
    `up_blocks_3`, `down_blocks_0/attentions_0`. Nothing is kept that was not asked for.

    Raises:
        UserError: no module has one of the paths.
    """
    feature = luminance_features[model.unet.cec_feature] if luminance_features else None
    _, state = model.unet.apply(
        {"params": params["unet"]},
        latents,
        timesteps,
        context,
        feature,
        capture_intermediates=lambda module, _: "/".join(module.path) in paths,
    )
    kept: dict[str, Any] = flatten_dict(state["intermediates"], sep="/")  # type: ignore[no-untyped-call]

    def output(path: str) -> Array:
        for name in ("output", "__call__"):
            if f"{path}/{name}" in kept:
                return kept[f"{path}/{name}"][0]
        raise UserError(
            f"the UNet has no module {path!r}; give paths of its parameters, such as "
            "'conv_in', 'mid_block' or 'up_blocks_0/resnets_0'"
        )

    return {path: output(path) for path in paths}
