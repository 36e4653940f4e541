"""A method of colorization as a value, its settings as a table, and what it is asked to colour."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import jax
from jaxtyping import Bool, Float, Key, UInt

from colorjax.errors import UserError, one_of
from colorjax.maths import guidance
from colorjax.maths.types import Array, Image, Latents, Luminance, Params, PRNGKey, TokenIds
from colorjax.methods.stable_diffusion import StableDiffusion

Value = float | int | str
AUTO = "auto"


class Setting(NamedTuple):
    """A row of a method's table: flags, checks, defaults and help texts are all made of it."""

    name: str
    kind: type[float] | type[int] | type[str]
    help: str
    default: Value  # where neither the release nor a person says anything
    traced: bool = False  # a change costs nothing; of a static setting it compiles another program
    least: float = -math.inf
    most: float = math.inf
    choices: tuple[str, ...] = ()  # what a str can be; () is any text
    words: tuple[str, ...] = ()  # what may stand in a number's place
    neutral: Value | None = None  # at this value the setting is left out of the program

    def parse(self, value: object) -> Value:
        """A value of a command line, of a release or of a caller, checked.

        Raises:
            UserError: it is of another kind, not finite, out of range or none of the choices.
        """
        if self.kind is str or value in self.words:
            return self._text(value)
        number = self._number(value)
        if not math.isfinite(number) or not self.least <= number <= self.most:
            raise UserError(f"{self.name} is {number}; it must be {self._allowed}")
        return number

    def _text(self, value: object) -> str:
        if self.choices:
            one_of(self.name, value, self.choices)
        if not isinstance(value, str):
            raise UserError(f"{self.name} is {value!r}; it must be a text")
        return value

    def _number(self, value: object) -> float | int:
        mistake = UserError(f"{self.name} is {value!r}; it must be {self._allowed}")
        if isinstance(value, bool):
            raise mistake
        try:
            number = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            raise mistake from None
        if self.kind is not int:
            return number
        if not number.is_integer():
            raise mistake
        return int(number)

    @property
    def _allowed(self) -> str:
        number = "a whole number" if self.kind is int else "a number"
        if self.most < math.inf:
            number = f"{number} from {self.least:g} to {self.most:g}"
        elif self.least > -math.inf:
            number = f"{number}, {self.least:g} or more"
        return " or ".join([number, *map(repr, self.words)])

    @property
    def metavar(self) -> str:
        """What can be given, as help texts show it."""
        if self.kind is str:
            return "|".join(self.choices) or "TEXT"
        return "|".join(["N" if self.kind is int else "FLOAT", *self.words])


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
    "what masks ask of attention: as L-CAD's release, paper, earlier",
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


class Pictures(NamedTuple):
    """What a batch is coloured from: the only input of every program beside the parameters.

    A caller gives lightness to seed, and of the rest what it wants; the colorizer fills in its
    settings and the missing rows. What is None is left out of the program.
    """

    lightness: Float[Array, "b h w 1"] | Float[Array, "b h w"]  # L in 0..100, at the model's size
    input_ids: TokenIds
    seed: UInt[Array, "b"] | int  # of the noise: one for all, or one for each
    spans: Bool[Array, "b k n"] | None = None  # the tokens of each phrase that has a mask
    masks: Float[Array, "b k h w"] | None = None  # of the phrases; None: by attention
    faded: Image | None = None  # colours to begin with instead of gray
    t_start: Float[Array, "b"] | None = None  # where `faded` stands: 1 is gray
    uncond_input_ids: TokenIds | None = None
    guidance_scale: Float[Array, ""] | float | None = None
    temperature: Float[Array, ""] | float | None = None
    vividness: Float[Array, ""] | float | None = None
    fidelity: Float[Array, ""] | float | None = None


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
class Method(Generic[Model, Options]):
    """A way to colour pictures, for a colorizer to run and for commands to offer.

    Adding a method is writing a module with one of these, and its line in `registry`.
    """

    name: str  # what --method and `colorjax.load` take
    title: str
    settings: tuple[Setting, ...]
    # Of a `config.json`, to go with the settings that were chosen.
    release_settings: Callable[[Mapping[str, Any], Mapping[str, object]], Mapping[str, Any]]
    build: Callable[[Mapping[str, Any], Any], Model]  # by a `config.json`, in a type
    init: Callable[[Model, PRNGKey], Params]  # random weights of the parts that `load` reads
    load: Callable[[Path, Any], tuple[Model, Params]]  # a release directory, and a type
    options: type[Options]  # a NamedTuple of the static settings, and what else it has
    validate: Callable[[Model, Mapping[str, Value]], None]  # raises UserError
    base: Callable[[Model], StableDiffusion]
    colorize: Callable[[Model, Params, Pictures, Options], Image]  # decoded, unclamped
    walk: Callable[[Model, Params, Pictures, Options], Walk]
    # Of pictures of a luminance, by "plain" or "guided".
    decoder: Callable[[Model, Params, Luminance, str], Callable[[Latents], Image]]
    # Mean colourfulness of the training pictures, of a method that can begin with faded colours.
    colourfulness: Callable[[Model], float] | None = None

    def setting(self, name: str) -> Setting | None:
        """The row of the table, or None if another method has it or none."""
        return next((row for row in self.settings if row.name == name), None)

    def defaults(self) -> dict[str, Value]:
        """Every setting's value where nobody says anything."""
        return {row.name: row.default for row in self.settings}

    def static(self, values: Mapping[str, Value]) -> Options:
        """The options of which a change compiles another program."""
        fields = self.options._fields
        options: Options = self.options(**{k: values[k] for k in fields if k in values})
        return options

    def traced(self, name: str, values: Mapping[str, Value]) -> float | None:
        """A traced number; None where its value means that nothing is computed for it."""
        row, value = self.setting(name), values.get(name)
        if row is None or value is None or value in (AUTO, row.neutral):
            return None
        return float(value)

    def resolve(self, config: Mapping[str, Any], chosen: Mapping[str, object]) -> dict[str, Value]:
        """Every setting's value: the chosen one, else the release's, else the table's.

        Raises:
            UserError: a value that a setting cannot have.
        """
        values = dict(self.release_settings(config, chosen)) | dict(chosen)
        return {row.name: row.parse(values.get(row.name, row.default)) for row in self.settings}
