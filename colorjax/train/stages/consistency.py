"""L-CAD in few steps: the UNet's guided walk is distilled into one that knows where it ends.

`colorjax.maths.consistency` derives what is learned. The student starts from the teacher, reads the
guidance scale that it shall have inside, and learns from its own moving average, which is also what
the release gets. With an `adversarial_weight` the stage finishes a student instead, see
`adversarial`. Neither the paper of L-CAD nor its release has this.
"""

from collections.abc import Collection
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int
from ml_collections import ConfigDict

from colorjax import release
from colorjax.errors import UserError
from colorjax.maths import consistency as maths
from colorjax.maths import guidance
from colorjax.maths.samplers import Denoise
from colorjax.maths.schedule import add_noise, sample_posterior, sample_timesteps
from colorjax.maths.types import (
    Array,
    Context,
    Features,
    Image,
    ImageBytes,
    Latents,
    Moments,
    Params,
    PRNGKey,
    Timesteps,
    TokenIds,
)
from colorjax.methods import consistency, lcad
from colorjax.methods.stable_diffusion import Consistency
from colorjax.train import optim
from colorjax.train.stages import adversarial, latent
from colorjax.train.stages.stage import (
    Batch,
    Stage,
    Weights,
    image_and_luminance,
    single_loss_stage,
)

PART, TEACHER, AVERAGE = consistency.PART, "unet", "average"
COUNTS = (1, 4)  # of steps, in a grid of samples


class Draws(NamedTuple):
    """What a loss takes from outside: all randomness."""

    timesteps: Timesteps
    eps: Latents
    posterior_noise: Latents
    guidance_scale: Float[Array, "b"]


def loss(
    model: lcad.LCAD,
    params: Params,
    pixels: ImageBytes,
    ids: tuple[TokenIds, Int[Array, "1 n"]],
    draws: Draws,
    options: Any,
    *,
    moments: Moments | None = None,
    context: Context | None = None,
) -> Float[Array, ""]:
    """How far the student is from its own average one guided step of the teacher further.

    Args:
        params: parts by name, the student and the teacher among them, and the student's `average`.
        ids: of the captions, and of what guidance leads away from, which is one for all.
        options: a mapping with `skip` and `width`, see `maths.consistency`.
        moments: of the pictures, where they are known.
        context: of the captions, where it is known.
    """
    image, luminance = image_and_luminance(pixels)
    if moments is None:
        moments = lcad.encode_image(model, params, image)
    z_0 = sample_posterior(moments, draws.posterior_noise) * model.scaling_factor
    features = None
    if model.unet.cec != "none":
        features = lcad.encode_luminance(model, params, luminance)
    z_t = add_noise(z_0, draws.eps, draws.timesteps, model.schedule)
    if context is None:
        context = lcad.encode_text(model, params, ids[0])
    uncond = jnp.broadcast_to(lcad.encode_text(model, params, ids[1]), context.shape)
    both = jnp.concatenate([uncond, context])
    teacher = _teacher(model, params, both, draws.guidance_scale, features)

    def student(of: Params) -> Denoise:
        def eps(latents: Latents, timesteps: Timesteps) -> Latents:
            inputs = (latents, timesteps, context, features, draws.guidance_scale)
            return consistency.predict_eps(model, of, inputs)[0]

        return eps

    wanted = maths.target(
        student(params[AVERAGE]), teacher, z_t, draws.timesteps, model.schedule, options["skip"]
    )
    said = maths.end(student(params[PART]), z_t, draws.timesteps, model.schedule)
    return maths.distance(said, wanted, options["width"])


def _teacher(
    model: lcad.LCAD,
    params: Params,
    context: Float[Array, "both n d"],
    scale: Float[Array, "b"],
    features: Features | None,
) -> Denoise:
    """The teacher's guided estimate; the unconditional half of the text states comes first."""
    twice = jax.tree.map(lambda part: jnp.concatenate([part] * 2), features)

    def pair(latents: Latents, timesteps: Timesteps) -> Latents:
        return lcad.predict_eps(model, params, latents, timesteps, context, twice)

    return guidance.classifier_free(pair, scale[:, None, None, None])


def check(config: ConfigDict, options: ConfigDict, parts: Collection[str]) -> None:
    """Raises `UserError` for settings by which nothing can be learned, or nothing to finish."""
    adversarial.check(config, options, PART)
    if not options.ema_decay:
        raise UserError(
            "consistency.ema_decay is 0, but the student learns from its moving average: set "
            "--config.consistency.ema_decay=0.95"
        )
    if options.least_guidance > options.most_guidance:
        raise UserError(
            f"consistency.least_guidance is {options.least_guidance}; it must be at most "
            f"most_guidance, {options.most_guidance}"
        )


def build(config: ConfigDict, options: ConfigDict, weights: Weights, total_steps: int) -> Stage:
    """The student; its teacher and everything else of the model stay as they are."""
    about = Consistency(options.least_guidance, options.most_guidance, options.negative_prompt)
    sizes = config.model.to_dict() | {consistency.SECTION: about._asdict()}
    model = lcad.build(sizes, jnp.dtype(config.dtype), config.remat)
    assert weights.tokenize is not None  # whoever trains has captions
    negative = weights.tokenize([options.negative_prompt])
    side = config.model.image_size // model.vae.factor
    latents = (side, side, model.vae.latent_channels)

    def init(key: PRNGKey, start: Params) -> Params:
        fresh = consistency.init(model, key)
        # What reads the guidance scale is new, and begins at zero.
        return release.conform(fresh, start[PART], "the UNet to start from", may_lack="cond_proj")

    def draw(key: PRNGKey, count: int) -> Draws:
        keys = jax.random.split(key, 5)
        shape = (count, *latents)
        # Temperatures from `temperature` to 1: samples are drawn at those below 1, too.
        length = jax.random.uniform(keys[3], (count, 1, 1, 1), minval=options.temperature)
        scales = (options.least_guidance, options.most_guidance)
        return Draws(
            sample_timesteps(keys[0], count, model.schedule),
            length * jax.random.normal(keys[1], shape),
            jax.random.normal(keys[2], shape),
            jax.random.uniform(keys[4], (count,), minval=scales[0], maxval=scales[1]),
        )

    def batch_loss(
        params: Params, frozen: Params, batch: Batch, key: PRNGKey
    ) -> tuple[Array, optim.Metrics]:
        ids = batch["input_ids"]
        value = loss(
            model,
            frozen | {PART: params},
            batch["image"],
            (ids, jnp.asarray(negative)),
            draw(key, len(ids)),
            options,
            moments=batch.get("moments"),
            context=batch.get("context"),
        )
        return value, {}

    def predict(params: Params, frozen: Params, batch: Batch, key: PRNGKey) -> dict[str, Image]:
        columns: dict[str, Image] = {}
        for count in COUNTS:
            sampling = config.model.colorize.copy_and_resolve_references()
            sampling.update(num_steps=count, sampler=consistency.SAMPLER, spacing="even")
            images = latent.samples(model, frozen | {PART: params}, batch, key, sampling)
            columns |= {f"{level}, steps {count}": column for level, column in images.items()}
        return columns

    def finish(params: Params, frozen: Params, batch: Batch) -> tuple[Params, dict[str, Any]]:
        return {PART: params}, {consistency.SECTION: about._asdict()}

    def colour(parts: Params, batch: Batch, key: PRNGKey) -> Image:
        _, luminance = image_and_luminance(batch["image"])
        noise_key, scale_key = jax.random.split(key)
        count, least = len(luminance), options.least_guidance
        inputs = lcad.Inputs(
            luminance,
            batch["input_ids"],
            None,
            jax.random.uniform(scale_key, (), minval=least, maxval=options.most_guidance),
            keys=jax.random.split(noise_key, count),
            temperature=config.model.colorize.temperature,
        )
        one = lcad.Options(1, "even", consistency.SAMPLER, config.model.colorize.decoder)
        return lcad.colorize(model, parts, inputs, one)

    if adversarial.is_wanted(options):
        finished = adversarial.Student(PART, init, colour, predict, finish)
        return adversarial.build(config, options, weights, total_steps, finished)
    stage = single_loss_stage(
        init=init,
        loss=batch_loss,
        start=weights.start if config.start_part == PART else {PART: weights.parts[TEACHER]},
        frozen=weights.parts,
        options=options,
        total_steps=total_steps,
        predict=predict,
        finish=finish,
        dtype=config.dtype,
    )

    def step(
        state: optim.TrainState, frozen: Params, batch: Batch, key: PRNGKey
    ) -> tuple[optim.TrainState, optim.Metrics]:
        # A loss sees no state, but this one learns from its average.
        return stage.step(state, frozen | {AVERAGE: state.ema}, batch, key)

    return stage._replace(step=step)
