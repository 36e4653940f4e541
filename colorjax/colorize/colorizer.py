"""A release and a method, ready to colour batches: one compiled program for each size bucket."""

import copy
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int

from colorjax import release
from colorjax.colorize import batching
from colorjax.colorize.buckets import buckets
from colorjax.colorize.programs import PROGRAMS, Networks, reconstruct
from colorjax.data.tokenizer import FILES, Tokenizer
from colorjax.devices import replicas
from colorjax.errors import UserError
from colorjax.maths import cold_diffusion, metrics
from colorjax.maths.color import to_unit
from colorjax.maths.types import Params
from colorjax.methods import lora, registry, vividness
from colorjax.methods.method import AUTO, Method, Pictures
from colorjax.methods.stable_diffusion import StableDiffusion

# How a batch lies over several devices, in the structure of the batch.
SPECS = Pictures(
    **dict.fromkeys(Pictures._fields, replicas.CUT)
    | dict.fromkeys(("guidance_scale", "temperature", "vividness", "fidelity"), replicas.WHOLE)
)
Raw = Float[np.ndarray, "n h w 3"]


class Candidates(NamedTuple):
    """One colouring at the vividnesses of `vividness.CANDIDATES`, and what the ranker says."""

    images: Float[np.ndarray, "n k h w 3"]  # [-1,1], with the input's lightness
    scores: Float[np.ndarray, "n k"]
    chosen: Int[np.ndarray, " n"]
    raw: Float[np.ndarray, "n k h w 3"]  # at the model's own lightness, unclamped


class Colorizer:
    """A release, ready to run: compiles twice for each bucket, whatever pictures come.

    One program is for a single picture, which does not pay for a batch, the other for a full batch.
    A picture's noise depends on its seed alone: the result is the same alone, in a folder, in any
    order, up to what the two programs round differently, and hardly another for a retouched copy.

    Attributes:
        settings: the value of every setting of the method.
        batch_size: pictures at a time, over all devices.
        buckets: the (height, width) that pictures are coloured at.
        image_size: the side of the square one.
    """

    def __init__(
        self,
        directory: Path,
        method: str | None = None,
        *,
        dtype: Any = jnp.float32,
        mesh: Mesh | None = None,
        **chosen: object,
    ) -> None:
        """Loads a release directory; nothing is compiled yet.

        Args:
            directory: of a release that has the method's parts.
            method: a name of `methods.registry`; None is the release's own.
            dtype: of the parameters, and what the networks compute in.
            mesh: gives each of its devices `batch_size` pictures, whose bytes are those of one
                device.
            chosen: settings of the method instead of the release's own; None is as not given.

        Raises:
            UserError: a part is missing, a setting is another method's or has a value that it
                cannot have.
        """
        config = release.read_config(directory)
        name = registry.of_release(config) if method is None else method
        self.method: Method[Any, Any] = registry.find(name)
        overrides = {name: value for name, value in chosen.items() if value is not None}
        registry.refuse_foreign(self.method, overrides)
        if "image_size" not in config:
            raise UserError(f"'{directory}/config.json' lacks image_size")
        self.settings = self.method.resolve(config, overrides)
        self.model, params = self.method.load(directory, dtype)
        self.params = lora.with_adapters(params, str(self.settings["lora"]))
        self._check_decoder(overrides)
        self.method.validate(self.model, self.settings)
        self.has_ranker = "ranker" in release.parts_in(directory)
        ranker = vividness.build_ranker(config, dtype) if self.has_ranker else None
        options, decoder = self.method.static(self.settings), str(self.settings["decoder"])
        self._networks = Networks(self.method, self.model, options, decoder, ranker)
        self._mesh = mesh
        self._devices = mesh.size if mesh else 1
        # The same for all copies, and read when one of them first asks for it.
        self._ranker_params = functools.cache(lambda: self._load_ranker(directory, dtype))
        self._check_vividness()
        text = config["text_encoder"]
        self.tokenize = Tokenizer(
            release.tokenizer(directory, FILES),
            text["max_position_embeddings"],
            text["vocab_size"],
        )
        base = self.base
        self.image_size = int(config["image_size"])
        multiple = base.vae.factor * 2 ** (len(base.unet.block_out_channels) - 1)
        self.buckets = buckets(self.image_size, multiple)
        self.batch_size = int(self.settings["batch_size"]) * self._devices
        self.params = self._resident(self.params)
        self._programs = {name: self._program(run) for name, run in PROGRAMS.items()}
        self._reconstruct = jax.jit(functools.partial(reconstruct, base))

    @property
    def base(self) -> StableDiffusion:
        """The networks that all methods share."""
        return self.method.base(self.model)

    def changed(self, **chosen: object) -> "Colorizer":
        """This colorizer with other values of traced settings: same weights, same programs.

        Raises:
            UserError: a setting is static, another method's, or cannot have its value.
        """
        registry.refuse_foreign(self.method, chosen)
        values = dict(self.settings)
        for name, value in chosen.items():
            row = self.method.setting(name)
            assert row is not None
            if not row.traced:
                raise UserError(f"{name} is fixed when a model is loaded: give it there")
            values[name] = row.parse(value)
        other = copy.copy(self)
        other.settings = values
        self.method.validate(self.model, values)
        other._check_vividness()
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

    def enhance(self, pictures: Pictures) -> tuple[Raw, Raw]:
        """Pictures in [-1,1] with more colour than `faded`, and `faded` through the autoencoder.

        What the second lacks is the autoencoder's doing: their difference is what to add.

        Raises:
            UserError: the method begins with gray only.
        """
        self._refuse_faded()
        enhanced, before = self._run("enhance", pictures)
        return enhanced, before

    def starting_times(self, faded: Raw) -> Float[np.ndarray, " n"]:
        """Where faded pictures in [-1,1] stand between gray and the training set's mean colour.

        Raises:
            UserError: the method begins with gray only, or the release does not say how
                colourful pictures are.
        """
        usual = self._refuse_faded()(self.model)
        if not usual:
            raise UserError("the model does not say how colourful pictures are; give --enhance T0")
        measured = metrics.colourfulness(to_unit(jnp.asarray(faded)))
        return np.asarray(cold_diffusion.starting_time(measured, usual))

    def reconstruct(self, image: Raw) -> tuple[Raw, Raw]:
        """Pictures in [-1,1] through the autoencoder: by the plain and by the guided decoder."""
        plain, guided = self._reconstruct(self.params, image)
        return np.asarray(plain), np.asarray(guided)

    def lower(self, pictures: Pictures) -> Any:
        """The program that colours pictures, lowered and not run: to look at what it is."""
        return self._programs["colorize"].lower(self.params, self._placed(self._filled(pictures)))

    @property
    def compilations(self) -> int:
        """How many programs were compiled so far, by this colorizer and its copies."""
        return sum(program._cache_size() for program in self._programs.values())

    def _check_decoder(self, overrides: Mapping[str, object]) -> None:
        if self.settings["decoder"] != "guided" or "luminance_encoder" in self.params:
            return
        if "decoder" in overrides:
            raise UserError(
                "decoder is 'guided', but the model has no luminance encoder; take 'plain'"
            )
        self.settings["decoder"] = "plain"  # of plain Stable Diffusion, whose release says nothing

    def _check_vividness(self) -> None:
        if self.settings["vividness"] == AUTO:
            self._ranker_params()

    def _load_ranker(self, directory: Path, dtype: Any) -> Params:
        if not self.has_ranker:
            raise UserError(f"'{directory}' has no ranker to choose a vividness; give a number")
        return self._resident(vividness.load_ranker(directory, dtype)[1])

    def _resident(self, params: Params) -> Params:
        """Parameters on the devices, once: a program would fetch them from the host every time."""
        if self._mesh is not None:
            placed: Params = replicas.place(params, self._mesh, replicas.WHOLE)
            return placed
        return batching.moved(params)

    def _refuse_faded(self) -> Callable[[Any], float]:
        if self.method.colourfulness is None:
            raise UserError(f"{self.method.title} begins with gray only, not with faded colours")
        return self.method.colourfulness

    def _program(self, run: Callable[..., Any]) -> Any:
        function = functools.partial(run, self._networks)
        if self._mesh is None:
            return jax.jit(function)
        return replicas.program(function, self._mesh, replicas.WHOLE, SPECS)

    def _run(self, name: str, pictures: Pictures) -> Any:
        params = self.params
        if name == "candidates":
            params = params | {"ranker": self._ranker_params()}
        results = self._programs[name](params, self._placed(self._filled(pictures)))
        count = len(pictures.lightness)
        return jax.tree.map(lambda rows: rows[:count], replicas.to_host(results))

    def _placed(self, pictures: Pictures) -> Pictures:
        if self._mesh is None:
            return pictures
        placed: Pictures = replicas.place(pictures, self._mesh, SPECS)
        return placed

    def _filled(self, pictures: Pictures) -> Pictures:
        """One picture on each device, or a full batch, with the settings that its program reads."""
        count = batching.size(len(pictures.lightness), self._devices, self.batch_size)
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
