"""The VAE's decoder learns that a mean of latents shows a mean of colours (ours).

Where a photograph may have many colours, a regression, few steps and little noise all give about
the mean of what is likely, and they take it in the latent space. A decoder has only seen latents of
pictures. What it makes of a mean is another colour: of one picture in eight evenly turned hues,
whose mean is gray, the bundled model's decoder showed a green of a* = -4.4, b* = 2.1, and so
everything that had no prompt came out a little green.

Here the latents of a picture and of versions of it with turned hues are mixed by random weights,
and the decoder, guided by luminance in half of the pictures and plain in the others, is to show the
same mixture of their a* and b* at the picture's own lightness. The encoder stays, and with it all
that was trained on its latents.
"""

from collections.abc import Collection
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float
from ml_collections import ConfigDict

from colorjax.errors import UserError
from colorjax.maths import color, losses
from colorjax.maths.schedule import sample_posterior
from colorjax.maths.types import Array, Image, ImageBytes, Latents, Params, PRNGKey
from colorjax.methods import lcad
from colorjax.train import optim
from colorjax.train.stages.luminance import samples
from colorjax.train.stages.stage import (
    Batch,
    Stage,
    Weights,
    image_and_luminance,
    single_loss_stage,
)

ENCODERS = ("encoder", "quant_conv")  # of the VAE: what makes latents


class Draws(NamedTuple):
    """What the loss takes from outside: all randomness."""

    angles: Float[Array, "versions b"]  # by which the hues of further versions are turned
    chroma: Float[Array, "versions b"]  # by which their chroma is scaled
    shares: Float[Array, "b more"]  # of the picture and of each version; they sum to 1
    guided: Float[Array, " b"]  # 1 where luminance guides the decoder, 0 where nothing does
    posterior_noise: Latents  # the same for all versions


def turned(
    lab: Float[Array, "b H W 3"], angle: Float[Array, " b"], chroma: Float[Array, " b"]
) -> Float[Array, "b H W 3"]:
    """The Lab pictures with their hues turned and their chroma scaled, at the same lightness.

    Chroma that no screen shows at that lightness is reduced to what one does.
    """
    cos, sin = (chroma * part(angle) for part in (jnp.cos, jnp.sin))
    a, b = lab[..., 1], lab[..., 2]
    cos, sin = cos[:, None, None], sin[:, None, None]
    mixed = jnp.stack([lab[..., 0], cos * a - sin * b, sin * a + cos * b], axis=-1)
    return color.fit_gamut(mixed)


def loss(
    model: lcad.LCAD, params: Params, pixels: ImageBytes, draws: Draws, shown_weight: float
) -> Float[Array, ""]:
    """L1 against the mixture, plus `shown_weight` times `losses.shown_mse`.

    Args:
        params: `vae`, and `luminance_encoder` where `draws.guided` is not zero everywhere.
    """
    image, luminance = image_and_luminance(pixels)
    lab = color.srgb_to_lab(color.to_unit(image))
    labs = [lab]
    labs += [turned(lab, *draw) for draw in zip(draws.angles, draws.chroma, strict=True)]
    versions = [image] + [color.from_unit(color.lab_to_srgb(version)) for version in labs[1:]]
    moments = lcad.encode_image(model, params, jnp.concatenate(versions))
    noise = jnp.concatenate([draws.posterior_noise] * len(labs))
    latents = jnp.split(sample_posterior(moments, noise), len(labs))
    shares = draws.shares.T[..., None, None, None]
    # A mixture of what a screen can show is not always shown by one, but nearly.
    mixed = color.fit_gamut(sum(share * version for share, version in zip(shares, labs)))
    target = color.from_unit(jnp.clip(color.lab_to_srgb(mixed), 0.0, 1.0))
    mean = sum(share * latent for share, latent in zip(shares, latents))
    features = None
    if "luminance_encoder" in params:
        # What guides is added in the decoder: zeros are the plain one.
        features = [
            draws.guided[:, None, None, None] * feature
            for feature in lcad.encode_luminance(model, params, luminance)
        ]
    decoded = model.vae.apply({"params": params["vae"]}, mean, features, method="decode")
    return jnp.abs(decoded - target).mean() + shown_weight * losses.shown_mse(target, decoded)


def draw(key: PRNGKey, like: Latents, options: Any) -> Draws:
    """Of `mixed_share` of the pictures a mixture, uniform among all; of the others no version."""
    count, versions = len(like), options["versions"]
    keys = jax.random.split(key, 6)
    shares = jax.random.dirichlet(keys[2], jnp.ones(versions + 1), (count,))
    alone = jnp.zeros_like(shares).at[:, 0].set(1.0)
    is_mixed = jax.random.uniform(keys[3], (count, 1)) < options["mixed_share"]
    return Draws(
        jax.random.uniform(keys[0], (versions, count), maxval=2.0 * jnp.pi),
        jnp.exp(jax.random.uniform(keys[1], (versions, count), minval=-0.5, maxval=0.5)),
        jnp.where(is_mixed, shares, alone),
        jax.random.bernoulli(keys[4], 0.5, (count,)).astype(jnp.float32),
        jax.random.normal(keys[5], like.shape),
    )


def check(config: ConfigDict, options: ConfigDict, parts: Collection[str]) -> None:
    """Raises `UserError` where there is no trained VAE, or nothing to mix."""
    if "start" not in parts:
        raise UserError(
            "stage 'decoder' goes on with a trained VAE: give a release that has one by "
            "--config.init_from=DIR"
        )
    if options.versions < 1:
        raise UserError(f"decoder.versions is {options.versions}; it must be 1 or more")


def build(config: ConfigDict, options: ConfigDict, weights: Weights, total_steps: int) -> Stage:
    """The VAE's decoder; its encoder and the luminance encoder stay as they are."""
    model = lcad.build(config.model.to_dict(), jnp.dtype(config.dtype))
    side = config.model.image_size // model.vae.factor
    start = {part: tree for part, tree in weights.start["vae"].items() if part not in ENCODERS}
    frozen = weights.parts | {
        "vae": {
            part: weights.start["vae"][part] for part in ENCODERS if part in weights.start["vae"]
        }
    }

    def whole(params: Params, frozen: Params) -> Params:
        return frozen | {"vae": frozen["vae"] | params}

    def batch_loss(
        params: Params, frozen: Params, batch: Batch, key: PRNGKey
    ) -> tuple[Array, optim.Metrics]:
        pixels = batch["image"]
        like = jnp.zeros((len(pixels), side, side, model.vae.latent_channels))
        draws = draw(key, like, options)
        return loss(model, whole(params, frozen), pixels, draws, options.shown_weight), {}

    def predict(params: Params, frozen: Params, batch: Batch, key: PRNGKey) -> dict[str, Image]:
        if "luminance_encoder" not in frozen:
            image, _ = image_and_luminance(batch["image"])
            return {"plain": lcad.reconstruct(model, whole(params, frozen), image)}
        return samples(model, whole(params, frozen), batch)

    def finish(params: Params, frozen: Params, batch: Batch) -> tuple[Params, dict[str, Any]]:
        return {"vae": whole(params, frozen)["vae"]}, {}

    return single_loss_stage(
        init=lambda key, start: start,
        loss=batch_loss,
        start=start,
        frozen=frozen,
        options=options,
        total_steps=total_steps,
        predict=predict,
        finish=finish,
        dtype=config.dtype,
    )
