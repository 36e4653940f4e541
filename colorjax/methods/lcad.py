"""L-CAD (Chang et al., NeurIPS 2023): the networks put together, and colorization with them.

Everything is a pure function of a `model` (sizes, schedule) and `params` (a dict of parts).
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict
from jaxtyping import Float, Key

from colorjax import release
from colorjax.errors import UserError
from colorjax.maths import guidance, samplers
from colorjax.maths.schedule import (
    PREDICTION_TYPES,
    Schedule,
    eps_from_v,
    scaled_linear,
    split_moments,
)
from colorjax.models.clip import CLIPTextModel
from colorjax.models.layers import apply
from colorjax.models.unet import CEC_CHOICES, UNet
from colorjax.models.vae import AutoencoderKL, LuminanceEncoder
from colorjax.types import (
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

PARTS = ("text_encoder", "vae", "luminance_encoder", "unet")
SIZES = ("text_encoder", "vae", "unet", "schedule", "scaling_factor")


class LCAD(NamedTuple):
    text_encoder: CLIPTextModel
    vae: AutoencoderKL
    luminance_encoder: LuminanceEncoder
    unet: UNet
    schedule: Schedule
    scaling_factor: float  # latents are divided by their standard deviation: SD's 0.18215
    prediction_type: str = "eps"  # what the UNet estimates; "v" in Stable Diffusion 2's 768 models


class Options(NamedTuple):
    """Static: a change compiles another program."""

    num_steps: int = 50
    spacing: samplers.Spacing = "released"
    sampler: str = "ddim"
    decoder: str = "guided"  # "plain" is without the luminance features
    instance_aware: bool = False  # phrases tied to masks; twice the conditional passes
    refine_step_size: float = 1.0  # lambda of the refinement; 1 is the release's
    refine_objective: str = "inside"
    replay: str = "cross"  # "all" replays self-attention's logits too, as the release
    mask_steps: int = 2  # where no masks are given, the first steps whose attention makes them


CHOICES = {
    "sampler": tuple(samplers.SAMPLERS),
    "decoder": ("guided", "plain"),
    "refine_objective": guidance.OBJECTIVES,
    "replay": ("cross", "all"),
}


class Inputs(NamedTuple):
    """Traced: a change costs nothing."""

    luminance: Luminance
    input_ids: TokenIds
    uncond_input_ids: TokenIds  # of the empty, or a negative, prompt
    guidance_scale: Float[Array, ""] | float
    keys: Key[Array, "b"] | None = None  # the noise of each picture
    initial_latents: Latents | None = None  # given noise instead
    temperature: Float[Array, ""] | float = 1.0  # the noise of `keys` is multiplied by it
    masks: guidance.Masks | None = None  # of each phrase, at the picture's or the latents' size
    spans: guidance.Spans | None = None  # the tokens of each phrase


def build(config: Mapping[str, Any], dtype: Any = jnp.float32, remat: str = "none") -> LCAD:
    """The modules of a release's `config.json` or of a training configuration's `model`.

    `remat` is what training saves memory by, see `models.unet`: it changes no number.

    Raises:
        UserError: a size that is missing, or one that no network has.
    """
    missing = [key for key in SIZES if key not in config]
    if missing:
        raise UserError(f"the model's configuration lacks {', '.join(missing)}")
    kind = config.get("prediction_type", "eps")
    if kind not in PREDICTION_TYPES:
        allowed = ", ".join(PREDICTION_TYPES)
        raise UserError(f"prediction_type is {kind!r}; it must be one of {allowed}")
    cec = config["unet"].get("cec", CEC_CHOICES[-1])
    if cec not in CEC_CHOICES:
        raise UserError(f"cec is {cec!r}; it must be one of {', '.join(CEC_CHOICES)}")
    if not set(config["unet"].get("cec_convolutions", ())) <= {"conv1", "conv2"}:
        names = config["unet"]["cec_convolutions"]
        raise UserError(f"cec_convolutions are {names}; they can be 'conv1' and 'conv2'")
    taps = len(config["vae"]["block_out_channels"]) * config["vae"]["layers_per_block"] + 2
    if not -taps <= (feature := config["unet"].get("cec_feature", -1)) < taps:
        raise UserError(f"cec_feature is {feature}; the luminance encoder has {taps} features")

    def sizes(part: str) -> dict[str, Any]:
        return {k: tuple(v) if isinstance(v, list | tuple) else v for k, v in config[part].items()}

    vae = AutoencoderKL(**sizes("vae"), dtype=dtype)
    encoder = LuminanceEncoder(
        vae.block_out_channels, vae.layers_per_block, vae.norm_num_groups, dtype=dtype
    )
    return LCAD(
        CLIPTextModel(**sizes("text_encoder"), dtype=dtype),
        vae,
        encoder,
        UNet(**sizes("unet"), dtype=dtype, remat=remat),
        scaled_linear(**config["schedule"]),
        config["scaling_factor"],
        config.get("prediction_type", "eps"),
    )


def init(model: LCAD, key: PRNGKey) -> Params:
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


def load(directory: str | Path, dtype: Any = jnp.float32) -> tuple[LCAD, Params]:
    """A release directory's model and float parameters of the given type.

    Raises:
        UserError: a missing, damaged or incomplete release.
    """
    path = release.locate(str(directory))
    model = build(release.read_config(path), dtype)
    # Plain Stable Diffusion has no luminance encoder, and its UNet does not ask for one.
    plain = model.unet.cec == "none" and "luminance_encoder" not in release.parts_in(path)
    parts = [part for part in PARTS if part != "luminance_encoder" or not plain]
    params = {part: release.read_part(path, part, dtype) for part in parts}
    expected = jax.eval_shape(lambda key: init(model, key), jax.random.key(0))
    for part in parts:
        release.fit(expected[part], params[part], f"part {part!r} of '{path}'")
    return model, params


def check(model: LCAD, options: Options) -> None:
    """Raises `UserError` for options that do not exist or that the schedule cannot take."""
    samplers.time_grid(model.schedule, options.num_steps, options.spacing)
    for name, allowed in CHOICES.items():
        if getattr(options, name) not in allowed:
            raise UserError(
                f"{name} is {getattr(options, name)!r}; it must be one of {', '.join(allowed)}"
            )


def encode_text(model: LCAD, params: Params, input_ids: TokenIds) -> Context:
    return apply(model.text_encoder, params["text_encoder"], input_ids)


def encode_image(model: LCAD, params: Params, image: Image) -> Moments:
    return apply(model.vae, params["vae"], image, method="encode")


def encode_luminance(model: LCAD, params: Params, luminance: Luminance) -> Features:
    return apply(model.luminance_encoder, params["luminance_encoder"], luminance)


def decode(
    model: LCAD, params: Params, latents: Latents, luminance_features: Features | None
) -> Image:
    """Scaled latents to the unclamped image."""
    unscaled = latents / model.scaling_factor
    return apply(model.vae, params["vae"], unscaled, luminance_features, method="decode")


def reconstruct(
    model: LCAD, params: Params, image: Image, luminance_features: Features | None = None
) -> Image:
    """Through the VAE and back, by the posterior's mean: what the latents can hold at best."""
    mean, _ = split_moments(encode_image(model, params, image))
    return decode(model, params, mean * model.scaling_factor, luminance_features)


def predict_eps(
    model: LCAD,
    params: Params,
    latents: Latents,
    timesteps: Timesteps,
    context: Context,
    luminance_features: Features | None,
) -> Latents:
    """The noise estimate; of the features the UNet reads one, and none without CEC."""
    features = luminance_features
    return predict_and_capture(model, params, latents, timesteps, context, features, capture=())[0]


def predict_and_capture(
    model: LCAD,
    params: Params,
    latents: Latents,
    timesteps: Timesteps,
    context: Context,
    luminance_features: Features | None,
    replay: Mapping[str, Params] | None = None,
    capture: tuple[str, ...] = ("capture",),
) -> tuple[Latents, dict[str, Params]]:
    """The noise estimate, with attention replayed or captured (`models.attention.Attention`)."""
    feature = luminance_features[model.unet.cec_feature] if luminance_features else None
    predicted, captured = model.unet.apply(
        {"params": params["unet"], **(replay or {})},
        latents,
        timesteps,
        context,
        feature,
        mutable=list(capture),
    )
    if model.prediction_type == "v":
        predicted = eps_from_v(latents, predicted, timesteps, model.schedule)
    return predicted, dict(captured)


def capture(
    model: LCAD,
    params: Params,
    latents: Latents,
    timesteps: Timesteps,
    context: Context,
    luminance_features: Features | None,
    paths: Collection[str],
) -> dict[str, Array]:
    """What modules inside the UNet give, by their diffusers paths, in the model's type.

    A path is the one of the module's parameters: `conv_in` (the CEC part is in it), `mid_block`,
    `up_blocks_3`, `down_blocks_0/attentions_0`. Nothing is kept that was not asked for.

    Raises:
        UserError: a path that no module has.
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
    kept = flatten_dict(state["intermediates"], sep="/")

    def output(path: str) -> Array:
        for name in ("output", "__call__"):
            if f"{path}/{name}" in kept:
                return kept[f"{path}/{name}"][0]
        raise UserError(
            f"the UNet has no module {path!r}; give paths of its parameters, such as "
            "'conv_in', 'mid_block' or 'up_blocks_0/resnets_0'"
        )

    return {path: output(path) for path in paths}


def initial_noise(model: LCAD, inputs: Inputs) -> Latents:
    """Normal noise of each picture's own key, whatever its place in the batch.

    A temperature below 1 shortens it: samples gather nearer to the mode, with less variety and
    fewer wild colours. 1 is what the model was trained for.
    """
    if inputs.initial_latents is not None:
        return inputs.initial_latents
    height, width = (size // model.vae.factor for size in inputs.luminance.shape[1:3])
    shape = (height, width, model.vae.latent_channels)
    noise = jax.vmap(lambda key: jax.random.normal(key, shape))(inputs.keys)
    return inputs.temperature * noise


def colorize(model: LCAD, params: Params, inputs: Inputs, options: Options) -> Image:
    """Classifier-free guidance, instance-aware by choice, then the luminance-guided decoder.

    The luminance stays in the unconditional branch, as released. Returns the raw decoded image,
    unclamped; `colorjax.color.with_lightness` puts the photograph's lightness back. Without a
    luminance encoder this is plain Stable Diffusion, which sees the text only.
    """
    features = None
    if "luminance_encoder" in params:
        features = encode_luminance(model, params, inputs.luminance)
    noise = initial_noise(model, inputs)
    guided = _instance_aware if options.instance_aware else _guided
    latents = samplers.SAMPLERS[options.sampler](
        guided(model, params, inputs, options, features, noise),
        noise,
        model.schedule,
        options.num_steps,
        options.spacing,
    )
    return decode(model, params, latents, features if options.decoder == "guided" else None)


def _guided(model, params, inputs, options, features, noise) -> samplers.Denoise:
    tokens = jnp.concatenate([inputs.uncond_input_ids, inputs.input_ids])
    context = encode_text(model, params, tokens)
    twice = jax.tree.map(lambda feature: jnp.concatenate([feature] * 2), features)

    def denoise(latents: Latents, timesteps: Timesteps) -> Latents:
        return predict_eps(model, params, latents, timesteps, context, twice)

    return guidance.classifier_free(denoise, inputs.guidance_scale)


def _instance_aware(model, params, inputs, options, features, noise) -> samplers.Denoise:
    """Both branches apart: only the conditional one is captured, refined and replayed.

    In the release the unconditional branch replays its own unchanged logits, which is the
    ordinary pass.
    """
    uncond_context = encode_text(model, params, inputs.uncond_input_ids)
    context = encode_text(model, params, inputs.input_ids)
    everything = options.replay == "all"

    def uncond(latents: Latents, timesteps: Timesteps) -> Latents:
        return predict_eps(model, params, latents, timesteps, uncond_context, features)

    def capture(latents: Latents, timesteps: Timesteps) -> tuple[Latents, Params]:
        kinds = ("capture", "capture_self")[: 1 + everything]
        return predict_and_capture(
            model, params, latents, timesteps, context, features, capture=kinds
        )

    def replay(latents: Latents, timesteps: Timesteps, captured: Params) -> Latents:
        given = {kind.replace("capture", "replay"): tree for kind, tree in captured.items()}
        return predict_and_capture(model, params, latents, timesteps, context, features, given, ())[
            0
        ]

    masks = inputs.masks
    if masks is None:
        masks = _masks_by_attention(model, inputs, options, capture, noise)
    cond = guidance.instance_aware(
        capture, replay, masks, inputs.spans, options.refine_step_size, options.refine_objective
    )
    return guidance.branches(uncond, cond, inputs.guidance_scale)


def _masks_by_attention(model, inputs, options, capture, noise) -> guidance.Masks:
    """From the conditional branch's first steps, without guidance."""
    grid = samplers.time_grid(model.schedule, options.num_steps, options.spacing)
    first = jax.tree.map(lambda column: jnp.asarray(column[: options.mask_steps]), grid)
    height, width = noise.shape[1:3]

    def step(z_t: Latents, at: samplers.Grid) -> tuple[Latents, Float[Array, "b k h w"]]:
        eps, captured = capture(z_t, jnp.full(len(z_t), at.timesteps, jnp.int32))
        maps = guidance.attention_maps(captured["capture"], inputs.spans, height, width)
        return samplers.ddim_step(z_t, eps, at), maps

    return guidance.attention_masks(jax.lax.scan(step, noise, first)[1].sum(0))
