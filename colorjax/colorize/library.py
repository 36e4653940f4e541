"""The library's face: photographs in, pictures out. `colorjax.load` makes one of these."""

import copy
import dataclasses
import functools
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from colorjax.colorize import painters
from colorjax.colorize.chroma import doubt, hints
from colorjax.colorize.files import photos
from colorjax.colorize.finished import batched, made_by, of_photograph, of_request
from colorjax.colorize.jobs import Caption, Outcome, Ready, Request, check_seed, ready
from colorjax.colorize.painters import Colouring
from colorjax.colorize.processing import process
from colorjax.colorize.results import Base, Doubt, Result, picture_of
from colorjax.colorize.running import PictureColorizer
from colorjax.colorize.words import prompts as language
from colorjax.colorize.words.instances import Instances, MaskSource
from colorjax.colorize.words.masks import Source as MaskFile
from colorjax.data import captions
from colorjax.errors import UserError
from colorjax.inputs import AUTO, Value

Said = tuple[dict[str, Any], dict[str, Any]]  # what results say of themselves, and their files


class PhotoColorizer:
    """A loaded model that colours photographs.

    Compiles a program the first time that it meets one of a few aspect ratios, and none for
    another photograph. The same photograph, prompt, seed and settings give the same picture,
    alone or among others.
    """

    def __init__(
        self,
        colorizer: PictureColorizer,
        model: str,
        digest: str,
        captioner: Callable[[], Caption] | None = None,
        unprompted: Callable[[], PictureColorizer] | None = None,
    ) -> None:
        """A model in memory, under a name.

        Args:
            model: what it is called in the settings of results.
            digest: stands for its weights in the notes of saved results, see
                `finished.digest_of_model`.
            captioner: loads what says what photographs show, for the prompt "auto".
            unprompted: loads what colours photographs of which nobody says what they show; None
                is `colorizer`, too.
        """
        self.colorizer, self.digest = colorizer, digest
        self.unprompted = unprompted
        self._model, self._captioner = model, captioner

    @property
    def settings(self) -> dict[str, Value]:
        """The value of every setting of the method, where a call gives a prompt and no other."""
        return dict(self.colorizer.settings)

    def of_one_method(self) -> "PhotoColorizer":
        """The same for whoever names its method: it colours photographs without a prompt, too."""
        other = copy.copy(self)
        other.unprompted = None
        return other

    def __call__(
        self,
        photo: photos.Source,
        prompt: str | None = None,
        *,
        seed: int = 0,
        masks: MaskSource | None = None,
        hints: hints.HintSource | None = None,
        only_masked: MaskFile | None = None,
        **settings: Value,
    ) -> Result:
        """Colours one photograph.

        Args:
            photo: a path, a picture of Pillow's, or an array: uint8, or fractions in [0,1], of
                shape [h,w], [h,w,1] or [h,w,3]. Of a colour photograph the lightness counts.
            prompt: what it shows, in which colours; "auto" what the model takes it for, which is
                then the result's `settings["prompt"]`. None says nothing. For both a release may
                have another method and settings, the result's `settings["method"]`.
            seed: in 0..2**32-1; another seed, other colours.
            masks: ties the prompt's phrases ("the red car, the blue truck") to their parts of the
                picture: an array [k,h,w] with a mask for each, a path to masks, "clipseg" or
                "attention".
            hints: this colour, here: a transparent picture of strokes, or points as
                `[{"x": 40, "y": 25, "color": "#7a2b1f"}]`, or a path to either.
            only_masked: a mask outside of which the photograph stays as it is: an array [h,w] or
                a path.
            settings: settings of the method that cost no compilation, such as `guidance_scale`,
                `negative_prompt`, `temperature` and `vividness`, instead of those of `load`.

        Raises:
            UserError: the photograph cannot be read, or a value cannot be.
        """
        return self.variations(
            photo,
            1,
            prompt,
            seed=seed,
            masks=masks,
            hints=hints,
            only_masked=only_masked,
            **settings,
        )[0]

    def variations(
        self,
        photo: photos.Source,
        count: int,
        prompt: str | None = None,
        *,
        seed: int = 0,
        masks: MaskSource | None = None,
        hints: hints.HintSource | None = None,
        only_masked: MaskFile | None = None,
        **settings: Value,
    ) -> list[Result]:
        """One photograph coloured by so many seeds from `seed` on; the rest is as in a call."""
        batch = self.batch([photo], prompt, seed, masks, settings)
        (request,) = batch.requests
        request = dataclasses.replace(request, hints=hints, inside=only_masked)
        painter = Colouring(variations=count)
        batch = batch if count == 1 else batch.of_many()
        outcome = batch.outcome(request, painter)
        return [
            batch.result(outcome, painter, i, {"seed": painters.seed_of(seed, i)})
            for i in range(count)
        ]

    def doubt(
        self,
        photo: photos.Source,
        prompt: str | None = None,
        samples: int = doubt.SAMPLES,
        *,
        seed: int = 0,
        masks: MaskSource | None = None,
        **settings: Value,
    ) -> Doubt:
        """Where the colours of a photograph are a guess: how far its samples lie apart.

        Args:
            samples: seeds from `seed` on, 2 or more; the rest is as in a call.
        """
        if samples < 2:
            raise UserError(f"samples is {samples}; it must be 2 or more")
        batch = self.batch([photo], prompt, seed, masks, settings)
        painter = Colouring(doubt=samples)
        outcome = batch.of_many().outcome(batch.requests[0], painter)
        assert outcome.job is not None
        spread = painter.spread(outcome.job, outcome.computed[1])
        said = doubt.figures(spread)
        drawn = doubt.drawn(spread, *outcome.job.lightness.shape)
        return Doubt(spread, Image.fromarray(drawn), said["doubt_mean"], said["doubt_95"])

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
        batch = self.batch(photos, prompts, seed, masks, settings)
        return (batch if len(batch.requests) == 1 else batch.of_many()).in_order()

    def batch(
        self,
        photos: Iterable[photos.Source],
        prompts: str | Sequence[str] | None,
        seed: int,
        masks: MaskSource | None,
        settings: dict[str, Value],
    ) -> "Batch":
        """Photographs to be coloured alike, checked and not yet read; arguments as `many`."""
        check_seed(seed)
        sources = list(photos)
        given = _texts(prompts, len(sources))
        texts = [language.plain(text) for text in given]
        for text, plain in dict.fromkeys(zip(given, texts)):
            if plain == AUTO:
                continue
            for remark in language.remarks(text, plain, self.colorizer.tokenize):
                warnings.warn(remark, stacklevel=4)
        if "negative_prompt" in settings:
            settings["negative_prompt"] = language.plain(str(settings["negative_prompt"]))
        is_described = masks is not None or not (
            prompts is None or (isinstance(prompts, str) and language.plain(prompts) == AUTO)
        )
        colorizer = self._colorizer_for(is_described, settings).changed(**settings)
        instances = {
            text: self._instances(text, masks, len(sources) > 1) for text in dict.fromkeys(texts)
        }
        requests = [Request(source, text, instances[text]) for source, text in zip(sources, texts)]
        name = colorizer.method.name
        about = {"model": self._model, "method": name, "seed": seed}
        about |= {"masks": _described(masks), **colorizer.settings}
        note = made_by(self.digest, name, seed, colorizer.settings, self._model)
        captioner = self._caption if AUTO in texts else None
        return Batch(colorizer, requests, masks, seed, (about, note), captioner)

    def _colorizer_for(self, is_described: bool, settings: Iterable[str]) -> PictureColorizer:
        """What colours by these settings: the unprompted one where it takes all of them."""
        if is_described or self.unprompted is None:
            return self.colorizer
        unprompted = self.unprompted()
        return unprompted if unprompted.method.is_taking(settings) else self.colorizer

    @functools.cached_property
    def _caption(self) -> Caption:
        if self._captioner is None:
            raise UserError("prompt is 'auto', for which a release must be loaded")
        return self._captioner()

    def _instances(self, prompt: str, masks: MaskSource | None, many: bool) -> Instances | None:
        if masks is None:
            return None
        if prompt == AUTO:
            raise UserError("masks tie a prompt's phrases to the picture, and 'auto' has none yet")
        return Instances(prompt, masks, self.colorizer.tokenize, many=many)


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


@dataclass(frozen=True)
class Batch:
    """Photographs that are to be coloured alike, and what is said of all of them."""

    colorizer: PictureColorizer
    requests: Sequence[Request]
    masks: MaskSource | None
    seed: int
    said: Said
    captioner: Caption | None = None

    def of_many(self) -> "Batch":
        """The same, by the programs of full batches, and their results say so."""
        about, note = self.said
        many = note | batched(int(self.colorizer.settings["batch_size"]))
        colorizer = self.colorizer.in_batches()
        return dataclasses.replace(self, colorizer=colorizer, said=(about, many))

    def of_read(self, request: Request) -> tuple["Batch", Request]:
        """The same of one request that was read: without its masks and hints, as large as they are.

        What notes say of them is kept.
        """
        about, note = self.said
        said = about, note | of_request(request, self.masks)
        instances = request.instances and request.instances.read()
        bare = dataclasses.replace(request, hints=None, inside=None, instances=instances)
        return dataclasses.replace(self, requests=[bare], masks=None, said=said), bare

    def _ready(self, requests: Sequence[Request], painter: Colouring) -> Iterator[Ready]:
        return ready(requests, self.colorizer.buckets, painter, self.captioner)

    def outcome(self, request: Request, painter: Colouring) -> Outcome:
        """What becomes of one photograph.

        Raises:
            UserError: it cannot be coloured.
        """
        prepared = self._ready([request], painter)
        (outcome,) = process(self.colorizer, prepared, painter, self.seed)
        if outcome.error is not None:
            raise outcome.error
        return outcome

    def result(
        self, outcome: Outcome, painter: Colouring, number: int = 0, more: Any = None
    ) -> Result:
        """The result of a photograph's sample of a number."""
        request, job = outcome.request, outcome.job
        about = {**self.said[0], "photo": photos.name_of(request.source)}
        settings = {**about, "prompt": outcome.prompt, **(more or {})}
        if job is None:
            return Result(None, settings, outcome.error)
        note = {**self.said[1], **of_request(request, self.masks), **of_photograph(outcome)}
        base = Base(job, painter.chroma(job, outcome.computed[1][number]))
        note |= more or {}
        return Result(picture_of(*base), settings, None, outcome.metadata, note, base)

    def in_order(self) -> Iterator[Result]:
        """Results in the requests' order; those that are ready too early wait."""
        places = {id(request): place for place, request in enumerate(self.requests)}
        waiting: dict[int, Result] = {}
        due, painter = 0, Colouring()

        def kept_pixels() -> int:
            images = [result.image for result in waiting.values() if result.image is not None]
            return 2 * sum(image.width * image.height for image in images)  # and their lightness

        prepared = self._ready(self.requests, painter)
        outcomes = process(self.colorizer, prepared, painter, self.seed, kept_pixels=kept_pixels)
        for outcome in outcomes:
            waiting[places[id(outcome.request)]] = self.result(outcome, painter)
            while due in waiting:
                yield waiting.pop(due)
                due += 1
