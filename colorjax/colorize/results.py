"""What a program gets: coloured photographs, and where their colours are a guess."""

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image

from colorjax.colorize import painters
from colorjax.colorize.chroma.looks import Look
from colorjax.colorize.chroma.recombine import Chroma
from colorjax.colorize.files import encoding, saving
from colorjax.colorize.files.metadata import Metadata
from colorjax.colorize.jobs import Job
from colorjax.errors import UserError


class Base(NamedTuple):
    """What a result's picture is made of: it can be made again, otherwise or deeper."""

    job: Job
    chroma: Chroma


class Doubt(NamedTuple):
    """Where a photograph's colours are a guess.

    Attributes:
        spread: the standard deviation of ab over the samples in each pixel, in CIE Lab's units, at
            the size that colours are computed at.
        image: the same as a picture with its scale, of the photograph's shape.
        mean: of the spread.
        most: what 95 percent of the pixels stay below.
    """

    spread: Float[np.ndarray, "h w"]
    image: Image.Image
    mean: float
    most: float


@dataclass(frozen=True)
class Result:
    """A coloured photograph and everything that made it, or why it could not be coloured.

    Keeps the photograph's lightness beside the picture, four bytes a pixel, so as to be changed.

    Attributes:
        image: at the photograph's full size, with its lightness; None if there is an error.
        settings: model, method, photo, prompt, seed, masks and every setting of the method.
        error: what is wrong with the photograph, in one sentence; None for a coloured one.
    """

    image: Image.Image | None
    settings: dict[str, Any]
    error: UserError | None = None
    _metadata: Metadata = field(default=Metadata(), repr=False)
    _note: Mapping[str, Any] | None = field(default=None, repr=False)
    _base: Base | None = field(default=None, repr=False)

    def adjusted(self, vividness: float = 1.0, tint: tuple[float, float] = (0.0, 0.0)) -> "Result":
        """The same colouring with other strength and balance of its colours, without the model.

        Relative to how the model coloured it, however often it was adjusted before.

        Args:
            vividness: scales the colours, in 0..5; 0 is gray.
            tint: what is added to all colours, in CIE Lab's units within 50: warm (below 0: cold)
                and magenta (below 0: green).

        Raises:
            UserError: the result is an error, or a value cannot be.
        """
        if self._base is None:
            raise self.error or UserError("there is no picture to adjust")
        look = Look(vividness, *tint)
        job, chroma = self._base
        shown = chroma._replace(ab=look.applied(chroma.ab))
        return replace(
            self,
            image=picture_of(job, shown),
            settings=look.noted(self.settings),
            _note=look.noted(self._note or {}),
            _base=Base(job, chroma),
        )

    def save(
        self,
        path: str | os.PathLike[str],
        quality: int = encoding.QUALITY,
        *,
        plain: bool = False,
    ) -> None:
        """Writes a PNG, JPEG, WebP, TIFF or AVIF, by the suffix, with what the photograph's file
        carried, as deep as it is (8 or 16 bits) where the format can be.

        The file appears complete or not at all, and its folder is made. It says what made it.
        Warns of metadata that the format has no place for.

        Args:
            quality: of a JPEG (1..95), WebP or AVIF.
            plain: whether nothing is written about what made the picture.

        Raises:
            UserError: the result is an error, the suffix is another one, or the disk refuses.
        """
        picture, note = self._to_write(quality, plain)
        for lost in saving.save_photo(path, picture, self._metadata, quality, note):
            warnings.warn(f"'{path}' has no place for {lost}", stacklevel=2)

    def encoded(
        self, suffix: str = ".png", quality: int = encoding.QUALITY, *, plain: bool = False
    ) -> bytes:
        """The bytes of the file that `save` writes under a name that ends so.

        Raises:
            UserError: the result is an error, or the format has no place for so large a picture.
        """
        picture, note = self._to_write(quality, plain)
        return saving.encoded(suffix, picture, self._metadata, quality, note).data

    def _to_write(
        self, quality: int, plain: bool
    ) -> tuple[Image.Image | np.ndarray, dict[str, Any] | None]:
        """The picture, as deep as its photograph, and what is noted in its file."""
        if self.image is None:
            raise self.error or UserError("there is no picture to save")
        picture: Image.Image | np.ndarray = self.image
        if self._base is not None and self._base.job.dtype == np.uint16:
            look = Look.of_note(self._note or {})
            job, chroma = self._base
            picture = painters.levels(job, chroma._replace(ab=look.applied(chroma.ab)))
        note = None if plain or self._note is None else dict(self._note)
        if note is not None and quality != encoding.QUALITY:
            note["quality"] = quality
        return picture, note


def picture_of(job: Job, chroma: Chroma) -> Image.Image:
    levels = painters.levels(job, chroma)
    if levels.dtype == np.uint16:
        levels = np.round(levels / np.float32(257.0)).astype(np.uint8)
    return Image.fromarray(levels)
