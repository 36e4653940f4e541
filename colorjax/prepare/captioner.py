"""Captions by machine, as Diffusing Colors trains with: transformers' BLIP, when data is prepared.

That the paper captions the colour picture automatically is known; by which captioner is not, BLIP
is our choice. PyTorch is needed here and nowhere else: `pip install colorjax[caption]`.
"""

import dataclasses
import functools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from colorjax import files
from colorjax.data import transforms
from colorjax.data.records import Record
from colorjax.errors import UserError, first_line, one_of

Picture = UInt8[np.ndarray, "_ _ 3"]
Describe = Callable[[Sequence[Picture]], list[str]]
SEEN = ("colour", "gray")
BATCH_SIZE = 16
MOST_TOKENS = 30

# What captioners say first of a picture without colours; it is no part of the scene.
_MEDIUM = re.compile(
    r"^(an? |the )?(old |vintage )?(black and white|black - and - white|black-and-white|"
    r"gr[ae]yscale|monochrome) (photo(graph)?|picture|image|shot|view)( of)? ",
    re.IGNORECASE,
)


class Captioner(NamedTuple):
    """A captioner and what it is shown: "colour" or "gray"."""

    describe: Describe
    sees: str


@functools.lru_cache(maxsize=1)
def load(path: str, sees: str = "colour") -> Captioner:
    """A BLIP captioner of transformers' format, once in every process.

    Args:
        path: its folder, or the name by which `python -m colorjax.fetch` has put it into the cache.

    Raises:
        UserError: no PyTorch, or no such model.
    """
    one_of("what a captioner sees", sees, SEEN)
    try:
        import torch
    except ImportError as error:
        raise UserError(
            f"--captioner needs PyTorch ({error}): pip install 'colorjax[caption]'"
        ) from error
    try:
        from transformers import BlipForConditionalGeneration, BlipProcessor
    except Exception as error:  # a torchvision of another torch's fails as RuntimeError
        raise UserError(
            f"--captioner needs transformers, which cannot be loaded here ({first_line(error)}): "
            "pip install 'colorjax[caption]', and if torchvision is installed, the one of this "
            f"torch {torch.__version__}, or none"
        ) from error
    folder = folder_of(path)
    try:
        processor = BlipProcessor.from_pretrained(folder, local_files_only=True)
        model = BlipForConditionalGeneration.from_pretrained(folder, local_files_only=True).eval()
    except (OSError, ValueError) as error:
        raise UserError(
            f"--captioner={path!r} is no folder with a BLIP captioner in transformers' format "
            f"({first_line(error)}); python -m colorjax.fetch blip gets one for --captioner=blip"
        ) from error

    @torch.inference_mode()
    def describe(images: Sequence[Picture]) -> list[str]:
        inputs = processor(images=[np.ascontiguousarray(i) for i in images], return_tensors="pt")
        tokens = model.generate(**inputs, max_new_tokens=MOST_TOKENS)
        return [text.strip() for text in processor.batch_decode(tokens, skip_special_tokens=True)]

    return Captioner(describe, sees)


def folder_of(path: str) -> str:
    """The folder that is meant: the path itself, or what was fetched under this name."""
    return path if Path(path).is_dir() else str(files.cache_folder("weights", path))


def add_captions(records: Iterable[Record], captioner: Captioner) -> Iterator[Record]:
    """The records with the captioner's sentences, made batch by batch.

    Sentences about the colour picture replace those of the source, as the paper trains. A captioner
    that sees gray is shown the gray picture; that this is black and white is left out of the
    sentence, which is added to the others as level "uncoloured".
    """
    remaining = iter(records)
    while batch := list(islice(remaining, BATCH_SIZE)):
        images = [transforms.decode(record.image) for record in batch]
        if captioner.sees == "gray":
            images = [transforms.without_colours(image) for image in images]
        for record, sentence in zip(batch, captioner.describe(images), strict=True):
            if captioner.sees == "gray":
                sentences = {**record.captions, "uncoloured": [without_medium(sentence)]}
                yield dataclasses.replace(record, captions=sentences)
            else:
                yield dataclasses.replace(record, captions={"complete": [sentence]}, pairs=None)


def without_medium(sentence: str) -> str:
    """The sentence without its beginning if that says that the picture is black and white.

    "a black and white photo of a dog" is "a dog".
    """
    return _MEDIUM.sub("", sentence.strip())
