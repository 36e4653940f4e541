"""Captions for pictures that have none: what a release's image tower sees, in measured colours.

The tower is shown the gray picture and names it by a list of captions, as `--prompt auto` does of a
photograph that is to be coloured (`methods.naming`); the words of its colours are measured, so that
there are sentences of all of L-CAD's levels. A picture that it is not sure of stays without, and is
trained with a scarce caption.
"""

import dataclasses
import functools
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from colorjax import release
from colorjax.data import captions, transforms
from colorjax.data.records import Record
from colorjax.maths import color
from colorjax.prepare import vocabulary

AUTO = "auto"
_PREFIX = "release:"  # before a release's directory, where else the folder of a captioner stands
_ARTICLE = re.compile("^(an?|the) ")

Name = Callable[[UInt8[np.ndarray, "h w 3"]], str | None]


def of_release(model: str) -> str:
    """What `shards.Options.captioner` is for the image tower of a release.

    Raises:
        UserError: there is no such release.
    """
    return _PREFIX + str(release.locate(model).resolve())


def model_of(text: str) -> Path | None:
    """The release's directory of `of_release`; None for another captioner."""
    return Path(text.removeprefix(_PREFIX)) if text.startswith(_PREFIX) else None


@functools.lru_cache(maxsize=1)
def load(directory: Path) -> Name:
    """What names a picture by a release's towers, once in every process.

    Raises:
        UserError: the release has no image tower, or no tokenizer.
    """
    # Only this needs jax: whoever prepares pictures does without.
    from colorjax.methods import naming

    classify = naming.Classifier(directory, vocabulary.tokenizer_of(directory))

    def name(image: UInt8[np.ndarray, "h w 3"]) -> str | None:
        small = transforms.for_evaluation(image, classify.side, "resize")
        light = color.lightness(color.unit_from_bytes(small))[..., 0]
        return classify(np.asarray(light, np.float32))

    return name


def add_captions(records: Iterable[Record], name: Name) -> Iterator[Record]:
    """The records; those without sentences have some, where `name` knows what they show."""
    for record in records:
        if not any(record.captions.values()):
            image = transforms.decode(record.image)
            subject = name(image)
            if subject is not None:
                sentences = captions.describe(image, _ARTICLE.sub("", subject))
                sentences["uncoloured"] = [subject]
                record = dataclasses.replace(record, captions=sentences)
        yield record
