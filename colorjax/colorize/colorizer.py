"""Colorization of any number of pictures with one compiled program per size bucket."""

import argparse
import functools
import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int32

from colorjax import release
from colorjax.data.tokenizer import Tokenizer
from colorjax.devices import replicas
from colorjax.errors import UserError
from colorjax.maths import samplers
from colorjax.maths.color import luminance, luminance_from_lightness
from colorjax.methods import lcad

PHRASES = 8
BATCHED = (False, True, True, True, False, False, False, True, True)  # inputs of `_colorize`
ASPECTS = (1 / 2, 2 / 3, 1.0, 3 / 2, 2.0)  # width over height


def buckets(image_size: int, multiple: int) -> tuple[tuple[int, int], ...]:
    """The few (height, width) a model works at: multiples of `multiple`, about one area."""
    side = image_size / multiple
    sizes = []
    for aspect in ASPECTS:
        height = max(1, round(side / math.sqrt(aspect)))
        width = max(1, round(side * math.sqrt(aspect)))
        sizes.append((height * multiple, width * multiple))
    return tuple(dict.fromkeys(sizes))


def bucket_for(height: int, width: int, sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The bucket whose aspect ratio is nearest."""
    aspect = math.log(width / height)
    return min(sizes, key=lambda size: abs(math.log(size[1] / size[0]) - aspect))


def fingerprint(lightness: Float[np.ndarray, "h w"]) -> int:
    """32 bits of what a picture shows: SHA-256 of its size and lightness, in 1/100 of L."""
    digest = hashlib.sha256(np.asarray(lightness.shape, "<i4").tobytes())
    digest.update(np.round(lightness * 100.0).astype("<i2").tobytes())
    return int.from_bytes(digest.digest()[:4], "little")


def add_sampling_flags(parser: argparse.ArgumentParser) -> None:
    """What the release's own values for sampling can be overridden by."""
    parser.add_argument("--guidance_scale", type=float, help="how strictly to follow the prompt")
    parser.add_argument("--num_steps", type=int, help="sampling steps")
    parser.add_argument("--spacing", choices=("released", "even"), help="which timesteps")
    parser.add_argument("--sampler", choices=sorted(samplers.SAMPLERS))
    parser.add_argument("--temperature", type=float, help="below 1: less variety, fewer mistakes")
    parser.add_argument("--decoder", choices=("guided", "plain"), help="by the luminance, or not")
    parser.add_argument("--refine_step_size", type=float, help="how strictly masks are kept")
    parser.add_argument("--batch_size", type=int, help="pictures at a time, on each device")
    parser.add_argument("--mesh", metavar="N", help="devices that share the work, or 'all'")


def sampling(args: argparse.Namespace) -> dict[str, Any]:
    """The values of `add_sampling_flags`, for `Colorizer`."""
    return {
        "mesh": args.mesh,
        "guidance_scale": args.guidance_scale,
        "temperature": args.temperature,
        "num_steps": args.num_steps,
        "spacing": args.spacing,
        "sampler": args.sampler,
        "decoder": args.decoder,
        "refine_step_size": args.refine_step_size,
    }


class Colorizer:
    """A release, ready to run: compiles once for each bucket, whatever pictures come.

    A picture's noise depends on the seed and on what it shows, not on its neighbours, and a batch
    is always full: the result is the same alone, in a folder, in any order.
    """

    def __init__(
        self,
        directory: Path,
        batch_size: int | None = None,
        dtype: Any = jnp.float32,
        mesh: str | None = None,
        **sampling: Any,
    ) -> None:
        """`mesh` (see `spread.mesh_of`) gives each of several devices `batch_size` pictures: the
        bytes are those of one device. `sampling` overrides the release's `guidance_scale`,
        `temperature` and the options of `methods.lcad.Options`."""
        config = release.read_config(directory)
        if missing := [key for key in ("colorize", "image_size") if key not in config]:
            raise UserError(f"'{directory}/config.json' lacks {', '.join(missing)}")
        defaults = config["colorize"] | {k: v for k, v in sampling.items() if v is not None}
        self.batch_size = defaults["batch_size"] if batch_size is None else batch_size
        if self.batch_size < 1:
            raise UserError(f"batch_size is {self.batch_size}; it must be 1 or more")
        self.guidance_scale = float(defaults["guidance_scale"])
        self.temperature = float(defaults["temperature"])
        for name in ("guidance_scale", "temperature", "refine_step_size"):
            if not math.isfinite(float(defaults.get(name, 0.0))):
                raise UserError(f"{name} is {defaults[name]}; it must be a number")
        known = {name: defaults[name] for name in lcad.Options._fields if name in defaults}
        self.options = lcad.Options(**known)
        self.model, self._params = lcad.load(directory, dtype)
        lcad.check(self.model, self.options)
        self.tokenize = Tokenizer(
            directory / "tokenizer", config["text_encoder"]["max_position_embeddings"]
        )
        levels = len(self.model.unet.block_out_channels)
        self.image_size = int(config["image_size"])
        self.buckets = buckets(self.image_size, self.model.vae.factor * 2 ** (levels - 1))
        run = functools.partial(_colorize, self.model, self.options)
        self._spread: replicas.Spread | None = None
        if mesh is not None:
            devices = replicas.mesh_of(mesh)
            self.batch_size *= devices.size
            self._spread = replicas.Spread(run, devices, BATCHED)
            self._params = self._spread.place(0, self._params)
        self._run = self._spread.jitted if self._spread else jax.jit(run)
        self._reconstruct = jax.jit(functools.partial(reconstruct, self.model))

    def __call__(
        self,
        lightness: Float[np.ndarray, "n h w"],
        input_ids: Int32[np.ndarray, "n tokens"],
        fingerprints: Sequence[int],
        seed: int,
        spans: Bool[np.ndarray, "n k tokens"] | None = None,
        masks: Float[np.ndarray, "n k h w"] | None = None,
    ) -> Float[np.ndarray, "n h w 3"]:
        """Decoded pictures in [-1,1], at the model's own lightness, for up to a batch of inputs.

        `fingerprints` are those of the photographs at full size. Instance-aware sampling needs
        the phrases' `spans`; without `masks` it takes them from attention.
        """
        count, pad = len(lightness), self.batch_size - len(lightness)
        if pad < 0:
            raise ValueError(f"{count} pictures for batches of {self.batch_size}")
        fill = [(0, pad)]
        instances = {}
        if self.options.instance_aware:
            if spans is None:
                raise ValueError("instance-aware sampling needs the spans of the phrases")
            instances["spans"] = _padded(spans, self.batch_size)
            if masks is not None:
                instances["masks"] = _padded(masks, self.batch_size)
        inputs = (
            self._params,
            np.pad(lightness, [*fill, (0, 0), (0, 0)])[..., None],
            np.pad(input_ids, [*fill, (0, 0)]),
            np.repeat(self.tokenize([""]), self.batch_size, axis=0),
            np.float32(self.guidance_scale),
            np.float32(self.temperature),
            np.uint32(seed),
            np.pad(np.asarray(fingerprints, np.uint32), fill),
            instances,
        )
        image = self._spread(*inputs) if self._spread else self._run(*inputs)
        return np.asarray(image)[:count]

    def reconstruct(
        self, image: Float[np.ndarray, "n h w 3"]
    ) -> tuple[Float[np.ndarray, "n h w 3"], Float[np.ndarray, "n h w 3"]]:
        """Pictures in [-1,1] through the autoencoder: by the plain and by the guided decoder."""
        plain, guided = self._reconstruct(self._params, image)
        return np.asarray(plain), np.asarray(guided)

    @property
    def compilations(self) -> int:
        """How many programs were compiled so far."""
        return self._run._cache_size()  # type: ignore[attr-defined]


def _padded(phrases: np.ndarray, batch_size: int) -> np.ndarray:
    """To a full batch, of a multiple of `PHRASES` each: few numbers of them compile anew."""
    missing = -phrases.shape[1] % PHRASES
    return np.pad(
        phrases, [(0, batch_size - len(phrases)), (0, missing), (0, 0), (0, 0)][: phrases.ndim]
    )


def picture_keys(seed, fingerprints):
    """A key for each picture, from the seed and from what it shows."""
    return jax.vmap(lambda bits: jax.random.fold_in(jax.random.key(seed), bits))(fingerprints)


def reconstruct(model, params, image):
    """Through the plain and through the guided decoder, which is the plain one where none is."""
    plain = lcad.reconstruct(model, params, image)
    if "luminance_encoder" not in params:
        return plain, plain
    features = lcad.encode_luminance(model, params, luminance(image))
    return plain, lcad.reconstruct(model, params, image, features)


def _colorize(
    model,
    options,
    params,
    lightness,
    ids,
    uncond_ids,
    scale,
    temperature,
    seed,
    fingerprints,
    instances,
):
    keys = picture_keys(seed, fingerprints)
    light = luminance_from_lightness(lightness)
    inputs = lcad.Inputs(light, ids, uncond_ids, scale, keys, temperature=temperature, **instances)
    return lcad.colorize(model, params, inputs, options)
