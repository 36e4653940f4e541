"""Diffusing Colors on any number of pictures: the counterpart of `inference` for this method."""

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, Int32

from colorjax import release
from colorjax.colorize.colorizer import buckets, picture_keys, reconstruct
from colorjax.data.tokenizer import Tokenizer
from colorjax.errors import UserError
from colorjax.maths import cold_diffusion, metrics
from colorjax.maths.color import luminance_from_lightness
from colorjax.methods import diffusing_colors

AUTO = "auto"
SETTINGS = ("num_steps", "solver", "guidance_scale", "vividness", "negative_prompt", "decoder")


class Candidates(NamedTuple):
    """One colouring at the vividnesses of `diffusing_colors.CANDIDATES`, and what a ranker says."""

    images: Float[np.ndarray, "n k h w 3"]  # [-1,1], with the input's lightness
    scores: Float[np.ndarray, "n k"]
    chosen: Int[np.ndarray, " n"]


class ColdColorizer:
    """A release with a cold UNet, ready to run: compiles once for each bucket.

    As `inference.Colorizer` a picture's result does not depend on its neighbours.
    """

    def __init__(
        self,
        directory: Path,
        batch_size: int | None = None,
        dtype: Any = jnp.float32,
        **sampling: Any,
    ) -> None:
        """`sampling` overrides the release's `SETTINGS`; `vividness` is a number or "auto".

        Raises:
            UserError: a release without the method's parts, or a setting that cannot be.
        """
        config = release.read_config(directory)
        self.model, self.params = diffusing_colors.load(directory, dtype)
        given = {k: v for k, v in sampling.items() if v is not None}
        defaults = {"decoder": self.model.cold.decoder} | config["cold_colorize"] | given
        self.model = diffusing_colors.with_decoder(self.model, self.params, defaults["decoder"])
        self.batch_size = defaults["batch_size"] if batch_size is None else batch_size
        if self.batch_size < 1:
            raise UserError(f"batch_size is {self.batch_size}; it must be 1 or more")
        self.guidance_scale = _number("guidance_scale", defaults["guidance_scale"])
        self.automatic = defaults["vividness"] == AUTO
        self.vividness = 1.0 if self.automatic else _number("vividness", defaults["vividness"])
        if self.automatic and not self.has_ranker:
            raise UserError(f"vividness is 'auto', but '{directory}' has no ranker; give a number")
        options = diffusing_colors.Options(int(defaults["num_steps"]), defaults["solver"])
        diffusing_colors.check(self.model, options)
        length = config["text_encoder"]["max_position_embeddings"]
        self.tokenize = Tokenizer(directory / "tokenizer", length)
        self._uncond_ids = self.tokenize([defaults["negative_prompt"]])
        levels = len(self.model.base.unet.block_out_channels)
        self.image_size = int(config["image_size"])
        self.buckets = buckets(self.image_size, self.model.base.vae.factor * 2 ** (levels - 1))
        run = functools.partial
        self._run = jax.jit(run(_colorize, self.model, options))
        self._candidates = jax.jit(run(_candidates, self.model, options))
        self._enhance = jax.jit(run(_enhance, self.model, options))
        self._reconstruct = jax.jit(run(reconstruct, self.model.base))

    @property
    def has_ranker(self) -> bool:
        return "ranker" in self.params

    def __call__(
        self,
        lightness: Float[np.ndarray, "n h w"],
        input_ids: Int32[np.ndarray, "n tokens"],
        fingerprints: Sequence[int],
        seed: int,
    ) -> Float[np.ndarray, "n h w 3"]:
        """Decoded pictures in [-1,1] for up to a batch of inputs; the ranker's choice if automatic.

        `fingerprints` are those of the photographs at full size.
        """
        if self.automatic:
            found = self.candidates(lightness, input_ids, fingerprints, seed)
            return found.images[np.arange(len(lightness)), found.chosen]
        image = self._run(
            self.params,
            *self._common(lightness, input_ids, fingerprints, seed),
            np.float32(self.vividness),
        )
        return np.asarray(image)[: len(lightness)]

    def candidates(
        self,
        lightness: Float[np.ndarray, "n h w"],
        input_ids: Int32[np.ndarray, "n tokens"],
        fingerprints: Sequence[int],
        seed: int,
    ) -> Candidates:
        """All candidates of one sampling run, their scores and which one to take.

        Raises:
            UserError: the release has no ranker.
        """
        if not self.has_ranker:
            raise UserError("the model has no ranker to score vividnesses with; give a number")
        made = self._candidates(
            self.params, *self._common(lightness, input_ids, fingerprints, seed)
        )
        return Candidates(*(np.asarray(part)[: len(lightness)] for part in made))

    def enhance(
        self,
        lightness: Float[np.ndarray, "n h w"],
        input_ids: Int32[np.ndarray, "n tokens"],
        fingerprints: Sequence[int],
        seed: int,
        faded: Float[np.ndarray, "n h w 3"],
        t_start: Float[np.ndarray, " n"],
    ) -> tuple[Float[np.ndarray, "n h w 3"], Float[np.ndarray, "n h w 3"]]:
        """Pictures in [-1,1] with more colour than `faded`, and `faded` through the autoencoder.

        What the second lacks is the autoencoder's doing: their difference is what to add.
        """
        fill = self._fill(len(lightness))
        made = self._enhance(
            self.params,
            *self._common(lightness, input_ids, fingerprints, seed),
            np.float32(self.vividness),
            np.pad(faded, [fill, (0, 0), (0, 0), (0, 0)]),
            np.pad(np.asarray(t_start, np.float32), [fill], constant_values=1.0),
        )
        enhanced, before = (np.asarray(image)[: len(lightness)] for image in made)
        return enhanced, before

    def starting_times(self, faded: Float[np.ndarray, "n h w 3"]) -> Float[np.ndarray, " n"]:
        """Where faded pictures in [-1,1] stand between gray and the training set's mean colour.

        Raises:
            UserError: the release does not say what that mean is.
        """
        usual = self.model.cold.colourfulness
        if usual <= 0:
            raise UserError("the model does not say how colourful pictures are; give --enhance T0")
        found = metrics.colourfulness((jnp.asarray(faded) + 1.0) / 2.0)
        return np.asarray(cold_diffusion.starting_time(found, usual))

    def reconstruct(
        self, image: Float[np.ndarray, "n h w 3"]
    ) -> tuple[Float[np.ndarray, "n h w 3"], Float[np.ndarray, "n h w 3"]]:
        """Pictures in [-1,1] through the autoencoder: by the plain and by the guided decoder."""
        plain, guided = self._reconstruct(self.params, image)
        return np.asarray(plain), np.asarray(guided)

    @property
    def compilations(self) -> int:
        """How many programs were compiled so far."""
        programs = (self._run, self._candidates, self._enhance)
        return sum(program._cache_size() for program in programs)  # type: ignore[attr-defined]

    def _fill(self, count: int) -> tuple[int, int]:
        if count > self.batch_size:
            raise ValueError(f"{count} pictures for batches of {self.batch_size}")
        return 0, self.batch_size - count

    def _common(self, lightness, input_ids, fingerprints, seed) -> tuple[Any, ...]:
        fill = self._fill(len(lightness))
        guided = self.guidance_scale != 1.0  # 1 is off: half the work
        return (
            np.pad(lightness, [fill, (0, 0), (0, 0)])[..., None],
            np.pad(input_ids, [fill, (0, 0)]),
            np.repeat(self._uncond_ids, self.batch_size, axis=0) if guided else None,
            np.float32(self.guidance_scale),
            np.uint32(seed),
            np.pad(np.asarray(fingerprints, np.uint32), [fill]),
        )


def _number(name: str, value: Any) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"{name} is {value!r}; it must be a number")
    return number


def _inputs(lightness, ids, uncond_ids, scale, seed, fingerprints):
    return diffusing_colors.Inputs(
        luminance_from_lightness(lightness),
        ids,
        uncond_ids,
        scale,
        keys=picture_keys(seed, fingerprints),
    )


def _colorize(model, options, params, *given):
    *common, vividness = given
    inputs = _inputs(*common)._replace(vividness=vividness)
    return diffusing_colors.colorize(model, params, inputs, options)


def _candidates(model, options, params, *common):
    inputs = _inputs(*common)
    latents, z_gray = diffusing_colors.walk(model, params, inputs, options)
    scales = jnp.asarray(diffusing_colors.CANDIDATES)
    each = jnp.broadcast_to(scales, (len(latents), len(scales)))
    images = diffusing_colors.versions(model, params, latents, z_gray, inputs.luminance, each)
    scores = diffusing_colors.rank(model, params, images)
    return images, scores, diffusing_colors.choose(scores, scales)


def _enhance(model, options, params, *given):
    *common, vividness, faded, t_start = given
    inputs = _inputs(*common)._replace(vividness=vividness, faded=faded, t_start=t_start)
    enhanced = diffusing_colors.colorize(model, params, inputs, options)
    latents = diffusing_colors.encode(model, params, faded)
    return enhanced, diffusing_colors.decode(model, params, latents, inputs.luminance)
