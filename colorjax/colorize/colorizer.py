"""A release and a method, ready to colour batches: one compiled program for each size bucket."""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

from colorjax import release
from colorjax.colorize import batching
from colorjax.colorize.buckets import buckets
from colorjax.colorize.programs import PROGRAMS, Networks, reconstruct
from colorjax.colorize.running import PictureColorizer, Raw
from colorjax.colorize.sampling import Pieces, SeatedSampling
from colorjax.data.tokenizer import FILES, Tokenizer
from colorjax.devices import program_store, replicas
from colorjax.errors import UserError
from colorjax.inputs import AUTO, Pictures, Value
from colorjax.maths.types import Params
from colorjax.methods import fading, lora, registry, vividness
from colorjax.methods.method import Method
from colorjax.methods.stable_diffusion import StableDiffusion

# How a batch lies over several devices, in the structure of the batch.
SPECS = Pictures(
    **dict.fromkeys(Pictures._fields, replicas.CUT)
    | dict.fromkeys(("guidance_scale", "temperature", "vividness", "fidelity"), replicas.WHOLE)
)


class Colorizer(PictureColorizer):
    """A release, ready to run: compiles once for each bucket, whatever pictures come.

    A single picture, which does not pay for a batch, has a program of its own: who colours both
    kinds compiles for both, see `in_batches`.
    A picture's noise depends on its seed alone: the result is the same alone, in a folder, in any
    order, up to what the two programs round differently, and hardly another for a retouched copy.
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
        self.methods = tuple(registry.METHODS.values())
        overrides = {name: value for name, value in chosen.items() if value is not None}
        registry.refuse_foreign(self.method, overrides)
        if "image_size" not in config:
            raise UserError(f"'{directory}/config.json' lacks image_size")
        self.settings = self.method.resolve(config, overrides)
        self.dtype: str = jnp.dtype(dtype).name
        self.model, params = self.method.load(directory, dtype)
        self.params = lora.with_adapters(params, str(self.settings["lora"]))
        self._check_decoder(overrides)
        self.has_ranker = "ranker" in release.parts_in(directory)
        ranker = vividness.build_ranker(config, dtype) if self.has_ranker else None
        options, decoder = self.method.static(self.settings), str(self.settings["decoder"])
        knows_gains = self.has_ranker and bool(config.get(fading.SECTION, {}).get("by_ranker"))
        measured = config.get(vividness.BELIEFS, {}).get(self.method.name)
        self._networks = Networks(
            *(self.method, self.model, options, decoder, ranker, knows_gains),
            None if measured is None else vividness.Beliefs(**measured),
        )
        self._mesh = mesh
        self._devices = mesh.size if mesh else 1
        # The same for all copies, and read when one of them first asks for it.
        self.load_ranker = functools.cache(lambda: self._read_ranker(directory, dtype))
        self._check(self.settings)
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
        deciding = [self.method.name, config, options, decoder, self.dtype]
        self._programs = {
            name: self._program(run, [name, self.has_ranker, *deciding])
            for name, run in PROGRAMS.items()
        }
        # Over several devices a run is one program.
        self.num_steps = self.method.num_steps(options) if mesh is None else 1
        self._pieces = Pieces(self._networks, [self.has_ranker, *deciding])
        self._reconstruct = jax.jit(functools.partial(reconstruct, base))

    @property
    def base(self) -> StableDiffusion:
        """The networks that all methods share."""
        return self.method.base(self.model)

    def enhance(self, pictures: Pictures) -> Raw:
        """See `PictureColorizer`."""
        self._refuse_faded()
        enhanced: Raw = self._run("enhance", pictures)
        return enhanced

    def starting_times(self, faded: Raw) -> Float[np.ndarray, " n"]:
        """See `PictureColorizer`."""
        usual = self._refuse_faded()(self.model)
        if not usual:
            raise UserError("the model does not say how colourful pictures are; give --enhance T0")
        tokens = self.tokenize([""] * len(faded))
        times: Float[np.ndarray, " n"] = self._run(
            "starting_times", Pictures(faded[..., 0], tokens, 0, faded=faded)
        )
        return times

    def sampling(self, seats: int) -> SeatedSampling:
        """See `PictureColorizer`."""
        ranked = self.settings["vividness"] == AUTO
        params = self._params_of("candidates" if ranked else "colorize")
        finish = "finish_ranked" if ranked else "finish"
        return SeatedSampling(self._pieces, finish, params, self._filled, seats)

    def reconstruct(self, image: Raw) -> tuple[Raw, Raw]:
        """Pictures in [-1,1] through the autoencoder: by the plain and by the guided decoder."""
        plain, guided = self._reconstruct(self.params, image)
        return np.asarray(plain), np.asarray(guided)

    def lower(self, pictures: Pictures) -> Any:
        """The program that colours pictures, lowered and not run: to look at what it is."""
        return self._programs["colorize"].lower(self.params, self._placed(self._filled(pictures)))

    def function(self, name: str) -> tuple[Callable[[Params, Pictures], Any], Params]:
        """A program of `PROGRAMS`, not compiled, and its parameters: to be compiled elsewhere."""
        return functools.partial(PROGRAMS[name], self._networks), self._params_of(name)

    def example(self, count: int, height: int, width: int, **more: Any) -> Pictures:
        """What a program takes of so many pictures, by the settings there are.

        Args:
            more: fields of `Pictures` that there shall be.
        """
        lightness = np.zeros((count, height, width), np.float32)
        return self._filled(Pictures(lightness, self.tokenize([""] * count), 0, **more))

    @property
    def compilations(self) -> int:
        """How many programs were compiled so far, by this colorizer and its copies."""
        programs = [*self._programs.values(), *self._pieces.compiled]
        return sum(program._cache_size() for program in programs)

    def _check_decoder(self, overrides: Mapping[str, object]) -> None:
        if self.settings["decoder"] != "guided" or "luminance_encoder" in self.params:
            return
        if "decoder" in overrides:
            raise UserError(
                "decoder is 'guided', but the model has no luminance encoder; take 'plain'"
            )
        self.settings["decoder"] = "plain"  # of plain Stable Diffusion, whose release says nothing

    def _check(self, values: Mapping[str, Value]) -> None:
        self.method.validate(self.model, values)
        if values["vividness"] == AUTO:
            self.load_ranker()

    def _read_ranker(self, directory: Path, dtype: Any) -> Params:
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

    def _program(self, run: Callable[..., Any], deciding: list[Any]) -> Any:
        function = functools.partial(run, self._networks)
        if self._mesh is None:
            return program_store.Program(function, deciding)
        return replicas.program(function, self._mesh, replicas.WHOLE, SPECS)

    def _run(self, name: str, pictures: Pictures) -> Any:
        results = self._programs[name](self._params_of(name), self._placed(self._filled(pictures)))
        count = len(pictures.lightness)
        return jax.tree.map(lambda rows: rows[:count], replicas.to_host(results))

    def _params_of(self, name: str) -> Params:
        heard = self._networks.ranker_knows_gains
        if name == "candidates" or (name == "starting_times" and heard):
            return self.params | {"ranker": self.load_ranker()}
        return self.params

    def _placed(self, pictures: Pictures) -> Pictures:
        if self._mesh is None:
            return pictures
        placed: Pictures = replicas.place(pictures, self._mesh, SPECS)
        return placed
