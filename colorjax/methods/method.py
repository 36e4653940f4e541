"""A method of colorization as a value, and the settings that methods share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

import jax
from jaxtyping import Key, UInt

from colorjax.inputs import AUTO, Pictures, Setting, Table, Value
from colorjax.maths import guidance, integrators
from colorjax.maths.integrators import Integrator
from colorjax.maths.types import Array, Image, Latents, Luminance, Params, PRNGKey
from colorjax.methods.stable_diffusion import StableDiffusion

__all__ = [
    "AUTO",
    "BATCH_SIZE",
    "DECODER",
    "GUIDANCE_SCALE",
    "LORA",
    "MASK_STEPS",
    "NEGATIVE_PROMPT",
    "NUM_STEPS",
    "OF_MASKS",
    "REFINE_OBJECTIVE",
    "REFINE_STEP_SIZE",
    "RELEASED",
    "REPLAY",
    "TEMPERATURE",
    "VIVIDNESS",
    "Course",
    "Method",
    "Pictures",
    "Setting",
    "Value",
    "Walk",
    "noise_keys",
    "section",
]

# Settings that methods share: a method's table holds them as they are or with another default.
NUM_STEPS = Setting("num_steps", int, "sampling steps", 50, least=1)
GUIDANCE_SCALE = Setting(
    "guidance_scale",
    float,
    "how strictly to follow the prompt; 1 is without guidance",
    5.0,
    traced=True,
)
NEGATIVE_PROMPT = Setting(
    "negative_prompt", str, "what the picture shall not look like", "", traced=True
)
VIVIDNESS = Setting(
    "vividness",
    float,
    "scales the colours, 0 is gray; auto: the ranker chooses",
    1.0,
    traced=True,
    words=(AUTO,),
)
TEMPERATURE = Setting(
    "temperature", float, "of the noise; below 1: less variety, fewer mistakes", 1.0, traced=True
)
DECODER = Setting(
    "decoder", str, "guided by the luminance, or plain", "guided", choices=("guided", "plain")
)
RELEASED = "released"
REFINE_STEP_SIZE = Setting(
    "refine_step_size",
    float,
    "how strictly masks are kept; released: L-CAD's, next to none",
    10.0,
    least=0.0,
    words=(RELEASED,),
)
REFINE_OBJECTIVE = Setting(
    "refine_objective",
    str,
    "what masks ask of attention",
    "inside",
    choices=guidance.OBJECTIVES,
)
REPLAY = Setting("replay", str, "which attention masks replay", "cross", choices=("cross", "all"))
MASK_STEPS = Setting(
    "mask_steps", int, "first steps whose attention makes masks, where none are given", 2, least=1
)
LORA = Setting("lora", str, "PATH[:WEIGHT] of a LoRA, several between commas", "")
BATCH_SIZE = Setting("batch_size", int, "pictures at a time, on each device", 4, least=1)
# What says how strictly masks are kept: without masks it is without effect.
OF_MASKS = (REFINE_STEP_SIZE, REFINE_OBJECTIVE, REPLAY, MASK_STEPS)


def noise_keys(seed: UInt[Array, "b"]) -> Key[Array, "b"]:
    """A key for each picture's noise, from its seed alone.

    So a retouched copy and the next frame of a film have the same noise and get the same colours,
    and neither a picture's place in the batch nor its neighbours matter.
    """
    return jax.vmap(jax.random.key)(seed)


class Walk(NamedTuple):
    """Where a sampling run ended, and the gray latents that its colours are a distance from."""

    latents: Latents
    z_gray: Latents


@runtime_checkable
class Course(Protocol):
    """What a sampling run has besides its latents: computed before the first step, read in all.

    A tree of arrays whose first axis is the batch's, and of numbers for all pictures.
    """

    @property
    def start(self) -> Latents:
        """Where the run begins."""


def section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """What a release's `config.json` says about a method's settings; it may say nothing."""
    values = dict(config.get(name, {}))
    values.pop("lora", None)  # a release does not say what else is read of this disk
    if "instance_aware" in values:
        # Of a release from before the step size meant the same for attention maps of every size.
        values.pop("refine_step_size", None)
    return values


Model = TypeVar("Model")
Options = TypeVar("Options", bound=Any)


@dataclass(frozen=True)
class Method(Table, Generic[Model, Options]):
    """A way to colour pictures, for a colorizer to run and for commands to offer.

    Adding a method is writing a module with one of these, and its line in `registry`.
    """

    # Of a `config.json`, to go with the settings that were chosen.
    release_settings: Callable[[Mapping[str, Any], Mapping[str, object]], Mapping[str, Any]]
    build: Callable[[Mapping[str, Any], Any], Model]  # by a `config.json`, in a type
    init: Callable[[Model, PRNGKey], Params]  # random weights of the parts that `load` reads
    load: Callable[[Path, Any], tuple[Model, Params]]  # a release directory, and a type
    options: type[Options]  # a NamedTuple of the static settings, and what else it has
    validate: Callable[[Model, Mapping[str, Value]], None]  # raises UserError
    base: Callable[[Model], StableDiffusion]
    # A sampling run as its parts, for a program that makes it whole or for some that share it.
    begin: Callable[[Model, Params, Pictures, Options], Any]  # a `Course`
    integrator: Callable[[Model, Params, Any, Options], Integrator]
    finish: Callable[[Model, Params, Any, Latents, Options], Image]  # decoded, unclamped
    gray: Callable[[Model, Params, Any], Latents]  # the z_gray of `Walk`
    num_steps: Callable[[Options], int]
    # Of pictures of a luminance, by "plain" or "guided".
    decoder: Callable[[Model, Params, Luminance, str], Callable[[Latents], Image]]
    # Mean colourfulness of the training pictures, of a method that can begin with faded colours.
    colourfulness: Callable[[Model], float] | None = None

    def colorize(self, model: Model, params: Params, pictures: Pictures, options: Options) -> Image:
        """The decoded pictures of one sampling run, unclamped."""
        course = self.begin(model, params, pictures, options)
        integrator = self.integrator(model, params, course, options)
        latents = integrators.run(integrator, course.start)
        return self.finish(model, params, course, latents, options)

    def walk(self, model: Model, params: Params, pictures: Pictures, options: Options) -> Walk:
        """One sampling run, not decoded."""
        course = self.begin(model, params, pictures, options)
        integrator = self.integrator(model, params, course, options)
        latents = integrators.run(integrator, course.start)
        return Walk(latents, self.gray(model, params, course))

    def static(self, values: Mapping[str, Value]) -> Options:
        """The options of which a change compiles another program."""
        fields = self.options._fields
        options: Options = self.options(**{k: values[k] for k in fields if k in values})
        return options

    def resolve(self, config: Mapping[str, Any], chosen: Mapping[str, object]) -> dict[str, Value]:
        """Every setting's value: the chosen one, else the release's, else the table's.

        Raises:
            UserError: a value that a setting cannot have.
        """
        values = dict(self.release_settings(config, chosen)) | dict(chosen)
        return {row.name: row.parse(values.get(row.name, row.default)) for row in self.settings}
