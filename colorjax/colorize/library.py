"""The library's face: photographs in, pictures out. `colorjax.load` makes one of these."""

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax.numpy as jnp
from jax.sharding import Mesh
from PIL import Image

from colorjax import release
from colorjax.colorize import photos, saving
from colorjax.colorize import prompts as language
from colorjax.colorize.colorizer import Colorizer
from colorjax.colorize.finished import INPUT, made_by
from colorjax.colorize.instances import Instances, MaskSource
from colorjax.colorize.jobs import Outcome, Request, check_seed, process
from colorjax.colorize.metadata import Metadata
from colorjax.colorize.painters import Colouring
from colorjax.data import captions
from colorjax.devices import replicas
from colorjax.errors import UserError
from colorjax.methods import registry
from colorjax.methods.method import Value

Said = tuple[dict[str, Any], dict[str, Any]]  # what results say of themselves, and their files


@dataclass(frozen=True)
class Result:
    """A coloured photograph and everything that made it, or why it could not be coloured.

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

    def save(self, path: str | os.PathLike[str], quality: int = 95) -> None:
        """Writes a PNG or a JPEG, by the suffix, with what the photograph's file carried.

        The file appears complete or not at all, and its folder is made.

        Args:
            quality: of a JPEG, 1..95.

        Raises:
            UserError: the result is an error, the suffix is another one, or the disk refuses.
        """
        if self.image is None:
            raise self.error or UserError("there is no picture to save")
        saving.save_photo(path, self.image, self._metadata, quality, self._note)


class PhotoColorizer:
    """A loaded model that colours photographs.

    Compiles a program the first time that it meets one of a few aspect ratios, and none for
    another photograph. The same photograph, prompt, seed and settings give the same picture,
    alone or among others.
    """

    def __init__(self, colorizer: Colorizer, model: str, directory: Path) -> None:
        """`model` is what it is called in the settings of results, `directory` is its release."""
        self.colorizer = colorizer
        self._model, self._directory = model, directory

    @property
    def settings(self) -> dict[str, Value]:
        """The value of every setting of the method, where a call gives no other."""
        return dict(self.colorizer.settings)

    def __call__(
        self,
        photo: photos.Source,
        prompt: str | None = None,
        *,
        seed: int = 0,
        masks: MaskSource | None = None,
        **settings: Value,
    ) -> Result:
        """Colours one photograph.

        Args:
            photo: a path, a picture of Pillow's, or an array: uint8, or fractions in [0,1], of
                shape [h,w], [h,w,1] or [h,w,3]. Of a colour photograph the lightness counts.
            prompt: what it shows, in which colours; None says nothing.
            seed: in 0..2**32-1; another seed, other colours.
            masks: ties the prompt's phrases ("the red car, the blue truck") to their parts of the
                picture: an array [k,h,w] with a mask for each, a path to masks, "clipseg" or
                "attention".
            settings: settings of the method that cost no compilation, such as `guidance_scale`,
                `negative_prompt`, `temperature` and `vividness`, instead of those of `load`.

        Raises:
            UserError: the photograph cannot be read, or a value cannot be.
        """
        results = self.many([photo], prompt, seed=seed, masks=masks, **settings)
        (result,) = results
        if result.error is not None:
            raise result.error
        return result

    def many(
        self,
        photos: Iterable[photos.Source],
        prompts: str | Sequence[str] | None = None,
        *,
        seed: int = 0,
        masks: MaskSource | None = None,
        **settings: Value,
    ) -> Iterator[Result]:
        """Colours photographs in batches; results come in the order of the photographs.

        A photograph that cannot be read is a result with its `error` set, and no exception.

        Args:
            prompts: one for all, or one for each.
            masks: of one photograph as in a call; of several, "clipseg", "attention" or a folder
                with an entry for each, called like the photograph.

        Raises:
            UserError: a value cannot be, or there are not as many prompts as photographs.
        """
        check_seed(seed)
        sources = list(photos)
        given = _texts(prompts, len(sources))
        texts = [language.plain(text) for text in given]
        for text, plain in dict.fromkeys(zip(given, texts)):
            for remark in language.remarks(text, plain, self.colorizer.tokenize):
                warnings.warn(remark, stacklevel=3)
        if "negative_prompt" in settings:
            settings["negative_prompt"] = language.plain(str(settings["negative_prompt"]))
        colorizer = self.colorizer.changed(**settings)
        instances = {
            text: self._instances(text, masks, len(sources) > 1) for text in dict.fromkeys(texts)
        }
        requests = [Request(source, text, instances[text]) for source, text in zip(sources, texts)]
        about = {"model": self._model, "method": colorizer.method.name, "seed": seed}
        about |= {"masks": _described(masks), **colorizer.settings}
        made = made_by(self._directory, colorizer.method.name, seed, masks, colorizer.settings)
        note = made | {"painter": repr(Colouring())}
        return _in_order(colorizer, requests, seed, (about, note))

    def _instances(self, prompt: str, masks: MaskSource | None, many: bool) -> Instances | None:
        if masks is None:
            return None
        return Instances(prompt, masks, self.colorizer.tokenize, many=many)


def load(
    model: str | os.PathLike[str] = "bundled",
    method: str = registry.DEFAULT,
    *,
    mesh: str | Mesh | None = None,
    dtype: Any = "float32",
    **settings: Value,
) -> PhotoColorizer:
    """See `colorjax.load`."""
    directory = release.locate(os.fspath(model))
    if isinstance(mesh, str):
        mesh = replicas.mesh_of(mesh)
    colorizer = Colorizer(directory, method, dtype=jnp.dtype(dtype), mesh=mesh, **settings)
    return PhotoColorizer(colorizer, os.fspath(model), directory)


def _texts(prompts: str | Sequence[str] | None, count: int) -> list[str]:
    if prompts is None:
        return [captions.SCARCE[0]] * count
    if isinstance(prompts, str):
        return [prompts] * count
    if len(prompts) != count:
        raise UserError(f"{len(prompts)} prompts for {count} photographs; give one for each")
    return list(prompts)


def _described(masks: MaskSource | None) -> str | None:
    if masks is None:
        return None
    return os.fspath(masks) if isinstance(masks, str | os.PathLike) else "an array"


def _in_order(
    colorizer: Colorizer, requests: Sequence[Request], seed: int, said: Said
) -> Iterator[Result]:
    """Results in the requests' order, as `said`; those that are ready too early wait."""
    places = {id(request): place for place, request in enumerate(requests)}
    ready: dict[int, Result] = {}
    due = 0

    def kept_pixels() -> int:
        images = [result.image for result in ready.values() if result.image is not None]
        return sum(image.width * image.height for image in images)

    for outcome in process(colorizer, requests, Colouring(), seed, kept_pixels):
        ready[places[id(outcome.request)]] = _result(outcome, *said)
        while due in ready:
            yield ready.pop(due)
            due += 1


def _result(outcome: Outcome, about: dict[str, Any], note: dict[str, Any]) -> Result:
    request = outcome.request
    whole = {**note, "prompt": request.prompt, INPUT: outcome.digest}
    settings = {**about, "photo": photos.name_of(request.source), "prompt": request.prompt}
    image = None if outcome.rgb is None else saving.to_picture(outcome.rgb)
    return Result(image, settings, outcome.error, outcome.metadata, whole)
