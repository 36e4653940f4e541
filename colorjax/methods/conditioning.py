"""What text and masks make of a UNet: the guided denoiser that a sampler takes, for any method."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Float

from colorjax.maths import guidance
from colorjax.maths.samplers import Denoise
from colorjax.maths.types import Array, Context, Latents, Timesteps, TokenIds
from colorjax.methods.stable_diffusion import Captured

Encode = Callable[[TokenIds], Context]
Capture = Callable[[Latents, Timesteps], tuple[Latents, Captured]]


@runtime_checkable
class Predict(Protocol):
    """A method's estimate, with attention captured in collections or replayed from them.

    `beside` is what the UNet sees besides latents, time and text: a tree of arrays whose first
    axis is the batch's, or None.
    """

    def __call__(
        self,
        latents: Latents,
        timesteps: Timesteps,
        context: Context,
        beside: Any,
        *,
        replay: Captured | None = None,
        capture: tuple[str, ...] = (),
    ) -> tuple[Latents, Captured]: ...


class Text(NamedTuple):
    """What each picture of a batch shall show, and where."""

    input_ids: TokenIds
    uncond_input_ids: TokenIds | None  # the empty or a negative prompt; None: no guidance
    guidance_scale: Float[Array, ""] | float
    masks: guidance.Masks | None = None  # one for each phrase, at the picture's or latents' size
    spans: guidance.Spans | None = None  # the tokens of each phrase


class Refinement(NamedTuple):
    """How instance-aware sampling ties phrases to masks, see `guidance.refine_logits`."""

    step_size: float | Float[Array, ""]
    objective: str
    replay: str  # "all" replays self-attention's logits too, as L-CAD's release
    released: bool = False

    @classmethod
    def of(
        cls, step_size: float | str | Float[Array, ""], objective: str, replay: str
    ) -> "Refinement":
        """By a number, or with "released" by the step of 1 on a mean that L-CAD's release takes."""
        if isinstance(step_size, str):
            return cls(1.0, objective, replay, released=True)
        return cls(step_size, objective, replay)

    @classmethod
    def where(cls, spans: guidance.Spans | None, options: Any) -> "Refinement | None":
        """As a method's options say, of the settings `method.OF_MASKS`; None without phrases."""
        if spans is None:
            return None
        return cls.of(options.refine_step_size, options.refine_objective, options.replay)


class Network(NamedTuple):
    """A method's networks for one batch: how text is read, and what the UNet says."""

    encode: Encode
    predict: Predict
    beside: Any  # see `Predict`


class Conditions(NamedTuple):
    """What text and masks come to for one batch: computed once, read in every step."""

    context: Context
    uncond_context: Context | None  # None: no guidance
    guidance_scale: Float[Array, ""] | float
    masks: guidance.Masks | None
    spans: guidance.Spans | None


def denoiser(
    network: Network,
    text: Text,
    refinement: Refinement | None,
    masks_from: Callable[[Capture], guidance.Masks],
) -> Denoise:
    """The estimate that a sampler asks for, guided as `text` says; see `conditions`."""
    return denoiser_of(network, conditions(network, text, refinement, masks_from), refinement)


def conditions(
    network: Network,
    text: Text,
    refinement: Refinement | None,
    masks_from: Callable[[Capture], guidance.Masks],
) -> Conditions:
    """Reads a batch's text, and makes its masks.

    Args:
        refinement: makes sampling instance-aware; None leaves it as it is.
        masks_from: makes masks by the conditional branch's attention, where `text` has none.
    """
    if refinement is None:
        uncond_context, context = _contexts(network, text)
        return Conditions(context, uncond_context, text.guidance_scale, None, None)
    uncond_context = None
    if text.uncond_input_ids is not None:
        uncond_context = network.encode(text.uncond_input_ids)
    context = network.encode(text.input_ids)
    masks = text.masks
    if masks is None:
        masks = masks_from(_captured(network, context, refinement))
    return Conditions(context, uncond_context, text.guidance_scale, masks, text.spans)


def _contexts(network: Network, text: Text) -> tuple[Context | None, Context]:
    """Of both branches in one batch."""
    if text.uncond_input_ids is None:
        return None, network.encode(text.input_ids)
    both = network.encode(jnp.concatenate([text.uncond_input_ids, text.input_ids]))
    uncond_context, context = jnp.split(both, 2)
    return uncond_context, context


def denoiser_of(network: Network, conditions: Conditions, refinement: Refinement | None) -> Denoise:
    """The estimate that a sampler asks for, under conditions made with the same refinement."""
    if refinement is None:
        return _guided(network, conditions)
    return _instance_aware(network, conditions, refinement)


def _guided(network: Network, conditions: Conditions) -> Denoise:
    """Classifier-free guidance with both branches in one batch, or the conditional one alone."""
    contexts = [conditions.context]
    if conditions.uncond_context is not None:
        contexts = [conditions.uncond_context, conditions.context]
    context = jnp.concatenate(contexts)
    beside = jax.tree.map(lambda part: jnp.concatenate([part] * len(contexts)), network.beside)

    def denoise(latents: Latents, timesteps: Timesteps) -> Latents:
        return network.predict(latents, timesteps, context, beside)[0]

    if conditions.uncond_context is None:
        return denoise
    return guidance.classifier_free(denoise, conditions.guidance_scale)


def _captured(network: Network, context: Context, refinement: Refinement) -> Capture:
    """The conditional estimate, and the attention that the refinement works on."""
    collections = ("capture", "capture_self")[: 1 + (refinement.replay == "all")]

    def captured(latents: Latents, timesteps: Timesteps) -> tuple[Latents, Captured]:
        return network.predict(latents, timesteps, context, network.beside, capture=collections)

    return captured


def _instance_aware(network: Network, conditions: Conditions, refinement: Refinement) -> Denoise:
    """Guidance with the branches apart: only the conditional one is captured, refined, replayed.

    In L-CAD's release the unconditional branch replays its own unchanged logits, which is the
    ordinary pass.
    """
    predict, beside = network.predict, network.beside
    context, uncond_context, scale, masks, spans = conditions

    def replayed(latents: Latents, timesteps: Timesteps, logits: Captured) -> Latents:
        renamed = {kind.replace("capture", "replay"): tree for kind, tree in logits.items()}
        return predict(latents, timesteps, context, beside, replay=renamed)[0]

    def uncond(latents: Latents, timesteps: Timesteps) -> Latents:
        return predict(latents, timesteps, uncond_context, beside)[0]

    step_size, objective = refinement.step_size, refinement.objective

    def refine(logits: guidance.Logits, pixels: int) -> guidance.Logits:
        released = pixels if refinement.released else None
        return guidance.refine_logits(logits, masks, spans, step_size, objective, released)

    captured = _captured(network, context, refinement)
    cond = guidance.instance_aware(captured, replayed, refine)
    if uncond_context is None:
        return cond
    return guidance.branches(uncond, cond, scale)


def attention_masks(
    step: Callable[[Latents, Any], tuple[Latents, Captured]],
    start: Latents,
    steps: Any,
    spans: guidance.Spans,
) -> guidance.Masks:
    """Masks from what the first sampling steps attend to.

    Args:
        step: takes latents and one of `steps` to the next latents and the captured logits.
        start: where sampling begins.
        steps: a tree of arrays with one row for each step.
    """
    height, width = start.shape[1:3]

    def collect(z_t: Latents, at: Any) -> tuple[Latents, Float[Array, "b k h w"]]:
        advanced, captured = step(z_t, at)
        return advanced, guidance.attention_maps(captured["capture"], spans, height, width)

    return guidance.attention_masks(jax.lax.scan(collect, start, steps)[1].sum(0))
