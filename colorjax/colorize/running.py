"""What colours pictures at the few sizes that it has programs for, wherever these come from."""

import abc
import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from colorjax.colorize import batching
from colorjax.colorize.buckets import Size
from colorjax.data.tokenizer import Tokenizer
from colorjax.inputs import AUTO, Pictures, Table, Value

Raw = Float[np.ndarray, "n h w 3"]
Own = TypeVar("Own", bound="PictureColorizer")


class Candidates(NamedTuple):
    """One colouring at the vividnesses of `inputs.CANDIDATES`, and what the ranker says."""

    images: Float[np.ndarray, "n k h w 3"]  # [-1,1], with the input's lightness
    scores: Float[np.ndarray, "n k"]
    chosen: Int[np.ndarray, " n"]
    raw: Float[np.ndarray, "n k h w 3"]  # at the model's own lightness, unclamped


@runtime_checkable
class Sampling(Protocol):
    """A sampling run in pieces, in whose seats pictures come and go; see `colorize.sampling`."""

    @property
    def places(self) -> Int[np.ndarray, " seats"]:
        """How many steps the picture in each seat has behind it; `num_steps` where none is."""

    def enter(self, pictures: Pictures, seats: Sequence[int]) -> None:
        """Gives pictures seats, from the first step."""

    def leave(self, seat: int) -> None:
        """Frees a seat, whether its picture is done or not."""

    def advance(self, count: int) -> None:
        """Takes every picture so many steps further, or to its end."""

    def images(self) -> Raw:
        """The pictures of all seats in [-1,1]; of those that are not at their end, a preview."""


class PictureColorizer(abc.ABC):
    """A model in memory with its settings: a release's networks, or the programs of a file.

    Attributes:
        method: the table of its settings.
        methods: the tables of all methods, by which a foreign setting is told.
        settings: the value of every setting of the method.
        batch_size: pictures at a time, over all devices.
        buckets: the (height, width) that pictures are coloured at.
        image_size: the side of the square one.
        has_ranker: whether there is one to choose a vividness.
        takes_singles: whether a single picture has a program of its own, or shares that of a full
            batch.
        num_steps: of a sampling run that can be made in pieces, see `sampling`; 1: it cannot.
    """

    method: Table
    methods: Sequence[Table]
    settings: dict[str, Value]
    tokenize: Tokenizer
    buckets: tuple[Size, ...]
    batch_size: int
    image_size: int
    has_ranker: bool
    takes_singles: bool = True
    num_steps: int = 1
    _devices: int = 1

    def changed(self: Own, **chosen: object) -> Own:
        """This colorizer with other values of traced settings: same weights, same programs.

        Raises:
            UserError: a setting is static, another method's, or cannot have its value.
        """
        other = copy.copy(self)
        other.settings = self.method.changed(self.settings, chosen, self.methods)
        other._check(other.settings)
        return other

    def in_batches(self: Own) -> Own:
        """This colorizer for many pictures: one program for each bucket, whatever is left for last.

        A batch that is not full is filled up, so a picture's bytes do not depend on how many others
        there are, nor on where a run was stopped and begun again.
        """
        other = copy.copy(self)
        other.takes_singles = False
        return other

    def __call__(self, pictures: Pictures) -> Raw:
        """Decoded pictures in [-1,1] for up to a batch of inputs.

        At the model's own lightness; with vividness "auto" the candidate that the ranker takes.
        """
        if self.settings["vividness"] == AUTO:
            candidates = self.candidates(pictures)
            image: Raw = candidates.raw[np.arange(len(pictures.lightness)), candidates.chosen]
        else:
            image = self._run("colorize", pictures)
        return image

    def candidates(self, pictures: Pictures) -> Candidates:
        """All candidates of one sampling run, their scores and which one to take.

        Raises:
            UserError: the release has no ranker.
        """
        return Candidates(*self._run("candidates", pictures))

    @abc.abstractmethod
    def enhance(self, pictures: Pictures) -> Raw:
        """Pictures in [-1,1] with more colour than `faded`, from where that stands, `t_start`.

        Raises:
            UserError: the method begins with gray only.
        """

    @abc.abstractmethod
    def starting_times(self, faded: Raw) -> Float[np.ndarray, " n"]:
        """Where faded pictures in [-1,1] stand between their own colours, 0, and gray, 1.

        By `methods.fading`: what the ranker says of gains, if there is one, and the training set's
        mean colourfulness.

        Raises:
            UserError: the method begins with gray only, or nothing says how colourful pictures are.
        """

    @property
    @abc.abstractmethod
    def compilations(self) -> int:
        """How many programs were compiled so far, by this colorizer and its copies."""

    @abc.abstractmethod
    def _check(self, values: Mapping[str, Value]) -> None:
        """Raises `UserError` for values that go beyond what the table tells of."""

    @abc.abstractmethod
    def _run(self, name: str, pictures: Pictures) -> Any:
        """The results of a program for up to a batch of inputs, as host arrays."""

    def sampling(self, seats: int) -> "Sampling":
        """A sampling run that is made in pieces, where `num_steps` is more than 1.

        Args:
            seats: how many pictures can be in it: one, or a full batch.
        """
        raise NotImplementedError("sampling in pieces")

    def _filled(self, pictures: Pictures, count: int | None = None) -> Pictures:
        """One picture on each device, or a full batch, with the settings that its program reads.

        `count` is how many pictures it is filled up to, where that is known.
        """
        if count is None:
            least = self._devices if self.takes_singles else self.batch_size
            count = batching.size(len(pictures.lightness), least, self.batch_size)
        negative = self.tokenize([str(self.settings["negative_prompt"])])
        guidance_scale = self._traced("guidance_scale")
        return batching.filled(pictures, count)._replace(
            uncond_input_ids=(
                None if guidance_scale is None else np.repeat(negative, count, axis=0)
            ),
            guidance_scale=guidance_scale,
            temperature=self._traced("temperature"),
            vividness=self._traced("vividness"),
            fidelity=self._traced("fidelity"),
        )

    def _traced(self, name: str) -> np.float32 | None:
        """A traced number; None where its value means that nothing is computed for it."""
        value = self.method.traced(name, self.settings)
        return None if value is None else np.float32(value)
