"""Painters that no method of the package is: what the papers' methods are compared with."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from colorjax import release
from colorjax.colorize.colorizer import Colorizer
from colorjax.data.tokenizer import FILES, Tokenizer
from colorjax.evaluate import pictures
from colorjax.evaluate.painters import ModelPainter, Painter, Raw
from colorjax.evaluate.pictures import Batch
from colorjax.maths import color, guidance, samplers
from colorjax.maths.schedule import add_noise
from colorjax.methods import lcad, method, stable_diffusion, vividness

EVEN = "even"


def text_to_image_release(folder: Path) -> Path:
    """The bundled model as plain Stable Diffusion: its UNet from before it saw any luminance.

    With L-CAD's guided decoder beside, for those who ask for that: the ablation without luminance
    in the UNet.
    """
    config = release.read_config(release.BUNDLED)
    sizes = {key: value for key, value in config.items() if key not in ("format", "cold")}
    sizes["unet"] = config["unet"] | {"cec": "none"}
    sizes["colorize"] = config["colorize"] | {"decoder": "plain"}
    parts = {
        part: release.read_part(release.BUNDLED, part)
        for part in ("text_encoder", "vae", "luminance_encoder")
    }
    parts["unet"] = release.read_part(release.BUNDLED, "text_to_image_unet")
    tokens = release.tokenizer(release.BUNDLED, FILES)
    release.write(folder, sizes | {"method": "lcad"}, parts, tokens)
    return folder


class Averaged(NamedTuple):
    """The mean of several samples of one model, in sRGB before the lightness is put back."""

    painter: ModelPainter
    samples: int

    @property
    def name(self) -> str:
        return f"{self.painter.name}, mean of {self.samples}"

    def about(self) -> dict[str, Any]:
        return self.painter.about() | {"name": self.name, "samples": self.samples}

    def paint(self, batch: Batch, seed: int) -> Raw:
        total = sum(self.painter.paint(batch, seed + place) for place in range(self.samples))
        return np.asarray(total / self.samples, np.float32)


class SDEdit:
    """SDEdit (Meng et al. 2022): the gray picture noised to a strength, and denoised by text.

    With a UNet that has seen no luminance; all that it knows of the picture is what noise left.
    """

    def __init__(self, folder: Path, strength: float, num_steps: int, scale: float) -> None:
        self.strength, self.num_steps, self.scale = strength, num_steps, scale
        self.model, self.params = lcad.load(folder)
        config = release.read_config(folder)["text_encoder"]
        self.tokenize = Tokenizer(
            release.tokenizer(folder, FILES),
            config["max_position_embeddings"],
            config["vocab_size"],
        )
        self._run = jax.jit(self._edit)
        self.name = f"SDEdit {strength:g}"

    def about(self) -> dict[str, Any]:
        settings = {"strength": self.strength, "num_steps": self.num_steps}
        return {"name": self.name, "settings": settings | {"guidance_scale": self.scale}}

    def paint(self, batch: Batch, seed: int) -> Raw:
        nothing = np.repeat(self.tokenize([""]), len(batch.captions), axis=0)
        tokens = np.concatenate([nothing, self.tokenize(batch.captions)])
        seeds = pictures.seeds_of(batch.places, seed)
        image = self._run(self.params, color.lightness(batch.truth), tokens, seeds)
        return np.asarray(image, np.float32)

    def _edit(self, params: Any, lightness: Any, tokens: Any, seeds: Any) -> Any:
        model = self.model
        gray = vividness.gray_image(color.luminance_from_lightness(lightness))
        z_gray = stable_diffusion.encode_mean(model, params, gray)
        keys = method.noise_keys(seeds)
        noise = jax.vmap(lambda key: jax.random.normal(key, z_gray.shape[1:]))(keys)
        context = stable_diffusion.encode_text(model, params, tokens)

        def both(latents: Any, timesteps: Any) -> Any:
            return stable_diffusion.predict_eps(model, params, latents, timesteps, context, None)

        denoise = guidance.classifier_free(both, self.scale)
        grid = samplers.time_grid(model.schedule, self.num_steps, EVEN)
        left = grid.timesteps < self.strength * model.schedule.num_timesteps
        grid = samplers.Grid(*(column[left] for column in grid))
        first = jnp.full(len(z_gray), grid.timesteps[0], jnp.int32)
        start = add_noise(z_gray, noise, first, model.schedule)

        def step(z_t: Any, at: samplers.Grid) -> tuple[Any, None]:
            timesteps = jnp.full(len(z_t), at.timesteps, jnp.int32)
            return samplers.ddim_step(z_t, denoise(z_t, timesteps), at.alphas, at.alphas_prev), None

        latents = jax.lax.scan(step, start, jax.tree.map(jnp.asarray, grid))[0]
        return stable_diffusion.decode(model, params, latents, None)


class Constant(NamedTuple):
    """One chroma for all pictures: gray, or the training set's mean."""

    name: str
    ab: np.ndarray

    def about(self) -> dict[str, Any]:
        return {"name": self.name, "settings": {"ab": [float(value) for value in self.ab]}}

    def paint(self, batch: Batch, seed: int) -> Raw:
        from colorjax.evaluate.measuring import painted

        return color.from_unit(painted(color.lightness(batch.truth), self.ab))


Make = Callable[["Workplace"], Painter]


class Workplace(NamedTuple):
    """What rows are made with."""

    data: Path
    folder: Path  # where results and releases are kept
    batch_size: int

    def model(
        self, name: str, method_name: str, *, masks: bool = False, **settings: Any
    ) -> ModelPainter:
        """The bundled model by a method and settings."""
        settings.setdefault("batch_size", self.batch_size)
        colorizer = Colorizer(release.BUNDLED, method_name, **settings)
        return ModelPainter(name, colorizer, release.BUNDLED, masks)

    def text_to_image(self, name: str, **settings: Any) -> ModelPainter:
        """The bundled text-to-image model."""
        folder = text_to_image_release(self.folder / "text_to_image")
        colorizer = Colorizer(folder, "lcad", batch_size=self.batch_size, **settings)
        return ModelPainter(name, colorizer, folder)
