"""Who colours the pictures that are measured: a model, or another program whose results are files.

A painter gives the picture as it left it, in [-1,1], at the size of the truth.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int32

from colorjax import release
from colorjax.colorize.colorizer import Colorizer
from colorjax.data import transforms
from colorjax.errors import UserError, first_line
from colorjax.evaluate import pictures
from colorjax.evaluate.pictures import Batch
from colorjax.maths import color
from colorjax.methods.method import AUTO

Raw = Float[np.ndarray, "n h w 3"]
SUFFIXES = (".png", ".jpg", ".jpeg")
_NAMED = 3  # missing files that a sentence lists


@runtime_checkable
class Painter(Protocol):
    """What colours a batch."""

    @property
    def name(self) -> str:
        """What its rows are called."""

    def about(self) -> dict[str, Any]:
        """What a result says of it."""

    def paint(self, batch: Batch, seed: int) -> Raw:
        """The pictures coloured, at its own lightness."""


class ModelPainter(NamedTuple):
    """A release, by a method and its settings."""

    name: str
    colorizer: Colorizer
    directory: Path
    by_attention: bool = False  # instance-aware, by the model's own masks
    captioner: Callable[[np.ndarray], str] | None = None  # from CIE L*, instead of captions

    def about(self) -> dict[str, Any]:
        """Method, settings, and the digests of the weights."""
        parts = sorted(release.parts_in(self.directory))
        dtype = self.colorizer.dtype
        # float32 goes without saying: rows of before there was another are still known.
        narrower = {} if dtype == "float32" else {"dtype": dtype}
        return {
            **narrower,
            "name": self.name,
            "method": self.colorizer.method.name,
            "settings": dict(self.colorizer.settings),
            "masks": "attention" if self.by_attention else None,
            "prompt": AUTO if self.captioner else None,
            "weights": {part: release.digest(self.directory, part) for part in parts},
        }

    def told(self, batch: Batch) -> list[str]:
        """What the model is told of each picture: the set's captions, or its own."""
        if self.captioner is None:
            return batch.captions
        return [self.captioner(light) for light in color.lightness(batch.truth)[..., 0]]

    def paint(self, batch: Batch, seed: int) -> Raw:
        """By each picture's caption, with noise by its place in the split."""
        lightness = color.lightness(batch.truth)
        captions = self.told(batch)
        spans = None
        if self.by_attention:
            spans = pictures.phrase_spans(self.colorizer.tokenize, captions)
        tokens = self.colorizer.tokenize(captions)
        seeds = pictures.seeds_of(batch.places, seed)
        return pictures.coloured(self.colorizer, lightness, tokens, seeds, spans)


class OutputsPainter(NamedTuple):
    """A folder of pictures that any program made, called like the list's."""

    name: str
    directory: Path

    def about(self) -> dict[str, Any]:
        """That nothing is known of who made them."""
        return {"name": self.name, "outputs": str(self.directory)}

    def paint(self, batch: Batch, seed: int) -> Raw:
        """The files of these pictures; another size than the truth's is brought to it.

        Raises:
            UserError: some are missing, or one is no picture.
        """
        paths = {key: _file_of(self.directory, key) for key in batch.keys}
        if missing := [key for key, path in paths.items() if path is None]:
            more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
            raise UserError(
                f"'{self.directory}' has no picture called {', '.join(missing[:_NAMED])}{more}: "
                f"give one of each of the list's, with the suffix {', '.join(SUFFIXES)}"
            )
        size = batch.truth.shape[1]
        images = [_decoded(path, size) for path in paths.values() if path is not None]
        raw: Raw = color.from_bytes(np.stack(images))
        return raw


def _file_of(directory: Path, key: str) -> Path | None:
    """`000001.png` of the record `000001.jpg` or `000001`, whatever the suffix."""
    stem = str(Path(key).with_suffix("")) if Path(key).suffix.lower() in SUFFIXES else key
    candidates = (directory / f"{stem}{suffix}" for suffix in SUFFIXES)
    return next((path for path in candidates if path.is_file()), None)


def _decoded(path: Path, size: int) -> transforms.Image:
    try:
        return transforms.resize(transforms.decode(path.read_bytes()), size)
    except (UserError, OSError) as error:
        raise UserError(f"'{path}' is no picture ({first_line(error)}); make it again") from None


def no_tokens(texts: Any) -> Int32[np.ndarray, "n 1"]:
    """The tokenizer where every painter reads captions by its own."""
    return np.zeros((len(texts), 1), np.int32)


@functools.cache
def outputs(directory: str) -> OutputsPainter:
    """The folder of another program's results.

    Raises:
        UserError: there is none.
    """
    path = Path(directory)
    if not path.is_dir():
        raise UserError(f"--outputs={directory!r} is no folder; give the one with the pictures")
    return OutputsPainter(path.name or directory, path)
